// The cluster file against Redis: is there a cluster, was a change of epoch interrupted, has Redis everything that the
// file says, does somebody consume every list, and does the list get shorter.

import RedisQueue
import ServiceKit
import TallyCore

struct ClusterChecks {
    let folder: DataFolder
    /// nil if there is none here.
    let file: ClusterFile?
    /// What Redis publishes, nil if nothing or it does not answer.
    let published: Topology?

    /// The file itself, and whether a change of epoch is under way.
    func fileChecks() throws(Failure) -> [DoctorCheck] {
        guard let file else { return [missingFile, .skipped(.rebalance, "there is no cluster file")] }
        let topology = file.topology
        let seen = "epoch \(topology.epoch), \(Humanized.count(topology.partitions, "partition"))"
        return [.ok(.clusterFile, seen), try rebalance(file)]
    }

    private var missingFile: DoctorCheck {
        guard let published else {
            return .error(
                .clusterFile, "there is no cluster in \(folder.path)",
                DoctorCheck.Mend(
                    "tallymill init --partitions 4",
                    advice: "--data-dir or --config names the folder of one that is there."))
        }
        return .warning(
            .clusterFile,
            "there is no cluster file in \(folder.path), and Redis publishes epoch \(published.epoch) with"
                + " \(published.partitions) partitions",
            DoctorCheck.Mend(
                advice: "--data-dir or --config names the folder of the shards. A host of web nodes alone needs none."))
    }

    private func rebalance(_ file: ClusterFile) throws(Failure) -> DoctorCheck {
        let epoch = file.topology.epoch
        guard file.state == .building else { return .ok(.rebalance, "epoch \(epoch) is ready") }
        if let pid = try FileLock.holder(folder.clusterLockPath) {
            return .ok(.rebalance, "process \(pid) is building epoch \(epoch)")
        }
        if file.isUnfinished {
            return .error(
                .rebalance, "building epoch \(epoch) was interrupted: consumers stand still, and the lists grow",
                DoctorCheck.Mend("tallymill rebalance resume"))
        }
        return .error(
            .rebalance, "`tallymill init` was interrupted",
            DoctorCheck.Mend("tallymill init --partitions \(file.topology.partitions)"))
    }

    /// What `repair` would do, and what it could not. While an epoch is being built, whoever builds it does the former.
    static func topologyChecks(_ survey: Survey, _ access: RedisAccess) -> [DoctorCheck] {
        if survey.isNothingThere {
            let what = "nothing of this cluster is in \(access.place)"
            return [.error(.topology, what, DoctorCheck.Mend("tallymill repair", advice: Surroundings.wayOfEmpty))]
        }
        var found: [DoctorCheck] = []
        let isBuilding = survey.file.state == .building
        for due in survey.due where !isBuilding {
            switch due {
            case .library, .building: continue  // told by their own checks
            case .topology, .groups, .oldList, .unsealed:
                found.append(.error(.topology, "\(due)", DoctorCheck.Mend("tallymill repair")))
            }
        }
        for obstacle in survey.obstacles {
            found.append(.error(.topology, obstacle, otherwise: "`tallymill verify` says more."))
        }
        if isBuilding, found.isEmpty { return [.skipped(.topology, "the epoch is being built")] }
        return found.orOK(.topology, "Redis has all that the cluster file says")
    }
}

/// The lists of all partitions and who consumes them.
struct QueueChecks {
    static let oldestSecondsMax = 60.0
    static let fillPercentMax = 80

    let topology: Topology
    /// Of the partitions that have keys in Redis.
    let groups: [UInt32: Inspection]
    /// The most that a list may hold, in bytes.
    let queueBytesMax: Int
    /// Consumers are units of systemd on this host.
    let hasUnits: Bool
    let folder: DataFolder

    private var numbers: [UInt32] { groups.keys.sorted() }

    private func isAttended(_ number: UInt32) -> Bool {
        guard let lease = groups[number]?.lease else { return false }
        return lease.isLive && !lease.isLeftBehind(lock: lock(of: number))
    }

    private func lock(of number: UInt32) -> String {
        folder.shardPath(PartitionID(epoch: topology.epoch, number: number), of: topology.partitions) + ".lock"
    }

    var consumers: [DoctorCheck] {
        let alone = numbers.filter { !isAttended($0) }
        let waiting = alone.filter { groups[$0]?.length ?? 0 > 0 }
        var found = waiting.compactMap { number in groups[number].map { unattended(number, $0) } }
        let idle = alone.filter { !waiting.contains($0) }
        if !idle.isEmpty, idle.count < numbers.count {
            found.append(
                .warning(.consumers, "\(Self.named(idle)) no consumer; nothing waits there yet", start(idle)))
        }
        found += numbers.compactMap { foreign($0) }
        return found.orOK(
            .consumers, alone.isEmpty ? "every partition has one" : "no partition has one, and nothing waits")
    }

    private func unattended(_ number: UInt32, _ group: Inspection) -> DoctorCheck {
        let age = Status.oldestSeconds(group.head).map {
            ", the oldest for \(Humanized.duration(milliseconds: Int($0 * 1_000)))"
        }
        let batches = group.length == 1 ? "1 batch waits" : "\(Humanized.count(group.length)) batches wait"
        return .error(
            .consumers,
            "partition \(number): \(batches) (\(Humanized.bytes(group.bytes)))\(age ?? ""), and nobody consumes it",
            start([number]))
    }

    private func start(_ numbers: [UInt32]) -> DoctorCheck.Mend {
        if hasUnits {
            return DoctorCheck.Mend(numbers.map { "systemctl enable --now \(ConsumerInstance.unit($0))" })
        }
        return DoctorCheck.Mend(
            "tallymill consume --partitions \(PartitionList.text(numbers))",
            advice: "On the host that has the shards; `tallymill up` does it by itself.")
    }

    /// A consumer here has the file, one of another file the lease: two copies of the shard are in use.
    private func foreign(_ number: UInt32) -> DoctorCheck? {
        let lock = lock(of: number)
        // A lease names the host and the lock file; one that cannot be read is told by another check.
        guard let lease = groups[number]?.lease, lease.isLive, let machine = try? Host.identity(),
            let file = Folder.identity(lock), lease.host != "\(machine) \(file)", let pid = try? FileLock.holder(lock)
        else { return nil }
        return .error(
            .consumers, "partition \(number): process \(pid) has the shard here, \(lease.owner) consumes the list",
            DoctorCheck.Mend(
                "kill \(pid)",
                advice: "Two copies of a shard are in use. The one whose consumer has the list is newest."))
    }

    var queues: [DoctorCheck] {
        var found: [DoctorCheck] = []
        for number in numbers {
            guard let group = groups[number] else { continue }
            let place = "partition \(number)"
            if group.bytes / Self.fillPercentMax >= queueBytesMax / 100 {
                found.append(
                    .error(
                        .queues,
                        "\(place): its list holds \(Humanized.bytes(group.bytes)) of \(Humanized.bytes(queueBytesMax)):"
                            + " web nodes refuse what comes when it is full",
                        DoctorCheck.Mend(
                            log(of: number), advice: "Its consumer is too slow or stands still: its log says which.")))
            } else if isAttended(number), let age = Status.oldestSeconds(group.head), age > Self.oldestSecondsMax {
                let duration = Humanized.duration(milliseconds: Int(age * 1_000))
                found.append(
                    .warning(
                        .queues, "\(place): the oldest batch waits for \(duration), with \(owner(group)) at work",
                        DoctorCheck.Mend(
                            log(of: number), advice: "Its consumer is behind, or stuck: its log says which.")
                    ))
            }
        }
        let batches = groups.values.reduce(0) { $0 + $1.length }
        return found.orOK(.queues, batches == 1 ? "1 batch waits" : "\(Humanized.count(batches)) batches wait")
    }

    /// Producers that were refused because a shard lacks what it had, as far as Redis and its consumer know.
    var behind: [DoctorCheck] {
        let found = numbers.compactMap { number -> DoctorCheck? in
            guard let group = groups[number], let (producer, floor) = Self.foremost(group.behind) else { return nil }
            let others = group.behind.count == 1 ? "" : " and \(group.behind.count - 1) others"
            let start = isAttended(number) ? "" : " Start its consumer first: it may have them."
            return .error(
                .behind,
                "partition \(number): its shard seems to lack what it had of producer \(producer), up to batch \(floor)"
                    + "\(others): web nodes refuse requests for it",
                DoctorCheck.Mend(
                    "tallymill verify",
                    advice: "Put the newest copy of the shard back, or declare the range lost with `tallymill repair"
                        + " --accept-loss`.\(start)"))
        }
        return found.orOK(.behind, "no web node misses what a shard had")
    }

    /// Of several, always the same.
    private static func foremost(_ behind: [ProducerID: UInt64]) -> (ProducerID, UInt64)? {
        behind.min { $0.key.description < $1.key.description }.map { ($0.key, $0.value) }
    }

    private func owner(_ group: Inspection) -> String { group.lease?.owner ?? "nobody" }

    private func log(of number: UInt32) -> String {
        hasUnits ? "journalctl -u \(ConsumerInstance.unit(number)) -n 50" : "tallymill status"
    }

    static func named(_ numbers: [UInt32]) -> String {
        let list = PartitionList.text(numbers)
        return numbers.count == 1 ? "partition \(list) has" : "partitions \(list) have"
    }
}
