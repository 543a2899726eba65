// The shards of the topology on this host: are they here, are they the right ones, and what lies in their dead letters.
// Each is opened and asked for its identity and its running figures; reading every counter is the work of `verify`.

import RedisQueue
import ServiceKit
import ShardConsumer
import ShardStore
import TallyCore

struct ShardChecks {
    private(set) var checks: [DoctorCheck] = []
    /// The shards that are here.
    private(set) var here: [UInt32] = []

    /// - Parameters:
    ///   - groups: of the partitions that have keys in Redis; empty if it could not be asked.
    ///   - lacking: what shards lack that their queues have seen committed.
    init(
        _ folder: DataFolder, _ topology: Topology, groups: [UInt32: Inspection], missing lacking: [MissingBatches]
    ) {
        var found: [DoctorCheck] = []
        var (missing, elsewhere): ([UInt32], [UInt32]) = ([], [])
        var letters = 0
        for partition in topology.partitionIDs {
            let location = folder.shard(partition.number, of: topology)
            let group = groups[partition.number]
            if Folder.isMissing(location.path) {
                let isConsumed = group?.lease?.isLive ?? false
                if isConsumed { elsewhere.append(partition.number) } else { missing.append(partition.number) }
                continue
            }
            here.append(partition.number)
            do throws(Failure) {
                let (finding, count) = try Self.look(location, group)
                if let finding { found.append(finding) }
                letters += count
            } catch {
                found.append(.error(.shards, error, otherwise: "`tallymill verify --offline` says more."))
            }
        }
        if !missing.isEmpty {
            found.append(Self.missing(missing, of: topology, folder, isConsumedKnown: !groups.isEmpty))
        }
        found += ReaderChecks(folder: folder, topology: topology, here: here).found()
        found += topology.partitionIDs.compactMap { partition in
            Self.older(lacking.filter { $0.partition == partition }, folder.shard(partition.number, of: topology))
        }
        let others = elsewhere.isEmpty ? "" : ", \(elsewhere.count) on other hosts"
        let known = here.isEmpty ? "none here" : "partitions \(PartitionList.text(here)) are here"
        checks = found.orOK(.shards, known + others)
        checks.append(Self.deadLetters(letters))
    }

    private static func look(_ location: ShardLocation, _ group: Inspection?) throws(Failure) -> (DoctorCheck?, Int) {
        try onStore { () throws(StoreError) in
            let reader = try ShardReader(at: location.path, expecting: location.expected)
            let count = try reader.statistics().deadLetters
            if reader.state == .retired {
                return (
                    .error(
                        .shards, "\(location.path): a rebalance has closed it, and the cluster file calls it current",
                        DoctorCheck.Mend(
                            advice: "This copy of the cluster file is older than a rebalance: put the newest one here.")
                    ), count
                )
            }
            guard let group, group.shard != reader.identity.uuid else { return (nil, count) }
            return (
                .error(
                    .shards,
                    "\(location.path): it is shard \(reader.identity.uuid), its list in Redis feeds \(group.shard)",
                    DoctorCheck.Mend(
                        "tallymill verify",
                        advice: "Another copy of it is in use: put that one back.")), count
            )
        }
    }

    /// A file that is older than its queue, or than what web nodes know of it; nil if it is not.
    private static func older(_ lacking: [MissingBatches], _ location: ShardLocation) -> DoctorCheck? {
        guard !lacking.isEmpty else { return nil }
        let ranges = lacking.map { "\($0): they \($0.cause)" }.joined(separator: "; ")
        return .error(
            .shards, "\(location.path): the file is older than what was counted: \(ranges)",
            DoctorCheck.Mend(
                "tallymill repair" + lacking.map { " --accept-loss \($0.option)" }.joined(),
                advice: "That declares them lost, for good. If there is a newer copy of the file, put it in place"
                    + " instead."))
    }

    private static func missing(
        _ numbers: [UInt32], of topology: Topology, _ folder: DataFolder, isConsumedKnown: Bool
    ) -> DoctorCheck {
        let first = folder.shard(numbers[0], of: topology).path
        let nobody = isConsumedKnown ? ", and nobody consumes \(numbers.count == 1 ? "it" : "them") elsewhere" : ""
        return .error(
            .shards, "\(QueueChecks.named(numbers)) no shard here (\(first))\(nobody)",
            DoctorCheck.Mend(
                "tallymill restore BACKUP",
                advice: "Put the newest copy back: that of its last host, else the last backup. What is consumed"
                    + " on another host is missing only while its consumer stands still."))
    }

    private static func deadLetters(_ count: Int) -> DoctorCheck {
        if count == 0 { return .ok(.deadLetters, "none") }
        return .warning(
            .deadLetters,
            "\(count == 1 ? "1 dead letter holds" : "\(Humanized.count(count)) dead letters hold")"
                + " what could not be counted",
            DoctorCheck.Mend("tallymill dead-letters list"))
    }
}
