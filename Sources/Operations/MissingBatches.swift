// Batches that a shard lacks and that nobody will send again, so that they can only be declared lost or be brought back
// with a newer copy of the file:
//
//   committed   the queue has seen them committed: they were in a file that is not this one
//   released    their web node knew them committed and has let them go, and neither list nor file has them any more:
//               file and Redis went back together (the node is refused, which the queue keeps in `behind`)
//   pushed      Redis has taken them, and they are neither in the list nor in the file: somebody deleted entries
//   replaced    the file that a restore would put aside has them
//   put back    of an earlier epoch: a web node knew them committed, and the shards were made of files from before that
//   elsewhere   of an earlier epoch: its queue has seen more committed than the files had when they were closed, so a
//               copy of the folder has counted them
//
// The queue is read before the file: a file never lacks what its own queue has shown.

import RedisQueue
import ServiceKit
import ShardConsumer
import ShardStore
public import TallyCore

/// A range that a stream lacks.
public struct MissingBatches: Hashable, Sendable, CustomStringConvertible {
    enum Reason: Hashable, Sendable {
        case committed, released, pushed, replaced, putBack, elsewhere
    }

    public let stream: StreamID
    public let sequences: ClosedRange<UInt64>
    /// What the file holds.
    let watermark: UInt64
    let reason: Reason

    public var partition: PartitionID { stream.partition }
    public var batches: UInt64 { sequences.upperBound - sequences.lowerBound + 1 }
    /// Whether nothing that still has to be counted lies before it: only then can it be declared lost.
    var isNext: Bool { isOfEarlierEpoch || sequences.lowerBound == watermark + 1 }
    /// Whether it is written into every shard, as the watermarks of such epochs are.
    var isOfEarlierEpoch: Bool { reason == .elsewhere || reason == .putBack }

    /// What it becomes once it is accepted.
    var loss: StreamLoss { StreamLoss(stream: stream, sequences: sequences) }

    /// For programs.
    public var json: JSONObject {
        var object = JSONObject()
        object.add("name", option)
        object.add("batches", batches)
        return object
    }

    /// As --accept-loss takes it.
    public var option: String { stream.name(of: sequences) }

    /// "partition 3: 5 batches of producer ..., sequences 6-10".
    public var description: String {
        let (first, last) = (sequences.lowerBound, sequences.upperBound)
        let epoch = isOfEarlierEpoch ? "epoch \(partition.epoch), " : ""
        return "\(epoch)partition \(partition.number): \(Humanized.batches(batches)) of producer \(stream.producer), "
            + (first == last ? "sequence \(first)" : "sequences \(first)-\(last)")
    }

    /// Why they are gone, as the end of a sentence.
    var cause: String {
        switch reason {
        case .committed: "were committed once, and the file, which holds \(held), does not have them"
        case .released:
            "were released by their web node, and neither the list nor the file, which holds \(held), has them"
        case .pushed: "were pushed, and neither the list nor the file, which holds \(held), has them"
        case .replaced: "are in the file that is here, and the backup, which holds \(held), does not have them"
        case .putBack:
            "were released by their web node, and the shards were made of files that were put back to before them"
        case .elsewhere: "were counted into another copy of the files: this one was closed with \(held)"
        }
    }

    private var held: String { watermark == 0 ? "nothing of it" : "it through \(watermark)" }

    /// The end of an advice; empty if nothing is missing.
    static func wayOn(_ missing: [MissingBatches]) -> String {
        if missing.isEmpty { return "" }
        let options = missing.map { "--accept-loss \($0.option)" }.joined(separator: " ")
        return " If there is none, `tallymill repair \(options)` declares them lost."
    }
}

// One partition of the current epoch.
extension MissingBatches {
    /// What the file of a partition lacks.
    ///
    /// - Parameters:
    ///   - watermarks: of the file, read after the queue.
    ///   - replaced: the watermarks of a file that it takes the place of.
    static func find(
        _ look: QueueReading, watermarks: [ProducerID: UInt64],
        replacing replaced: [ProducerID: UInt64] = [:], in partition: PartitionID
    ) -> [MissingBatches] {
        var seqs: [ProducerID: UInt64] = [:]
        var applied: [ProducerID: UInt64] = [:]
        var listed: [ProducerID: [UInt64]] = [:]
        if case .ledger(let ledger) = look.ledger {
            (seqs, applied) = (ledger.seqs, ledger.applied)
            for entry in ledger.entries {
                guard let id = entry.header?.id, id.stream.partition == partition else { continue }
                listed[id.stream.producer, default: []].append(id.sequence)
            }
        }
        let producers = Set(seqs.keys).union(applied.keys).union(listed.keys).union(look.behind.keys).union(
            replaced.keys)
        return producers.map { (name: $0.description, id: $0) }.sorted { $0.name < $1.name }.flatMap { producer in
            let known = Known(
                pushed: max(seqs[producer.id] ?? 0, listed[producer.id]?.max() ?? 0),
                committed: applied[producer.id] ?? 0, released: look.behind[producer.id] ?? 0,
                replaced: replaced[producer.id] ?? 0)
            return find(
                StreamID(partition: partition, producer: producer.id), known, Set(listed[producer.id] ?? []),
                watermark: watermarks[producer.id] ?? 0)
        }
    }

    /// How far a stream is known to have come.
    private struct Known {
        let pushed: UInt64
        let committed: UInt64
        let released: UInt64
        let replaced: UInt64

        var through: UInt64 { max(pushed, committed, released, replaced) }

        func reason(through last: UInt64) -> Reason {
            if last <= committed { return .committed }
            if last <= replaced { return .replaced }
            return last <= released && last > pushed ? .released : .pushed
        }
    }

    private static func find(
        _ stream: StreamID, _ known: Known, _ listed: Set<UInt64>, watermark: UInt64
    ) -> [MissingBatches] {
        var found: [MissingBatches] = []
        var next = watermark + 1
        // What was committed is not counted again from a list that still shows it: no consumer takes such a file.
        var end = max(next, known.committed + 1)
        func close(before end: UInt64) {
            guard end > next else { return }
            found.append(
                MissingBatches(
                    stream: stream, sequences: next...end - 1, watermark: watermark,
                    reason: known.reason(through: end - 1)))
        }
        for sequence in listed.sorted() where sequence >= end && sequence <= known.through {
            close(before: sequence)
            next = sequence + 1
            end = next
        }
        close(before: known.through + 1)
        return found
    }

    /// What every partition of an epoch lacks whose file is here, can be read, and is not closed. What is wrong with
    /// another one `verify` says.
    static func find(
        _ topology: Topology, in folder: DataFolder, _ keys: ClusterKeys
    ) throws(Failure) -> [MissingBatches] {
        try find(topology.partitionIDs, of: topology, in: folder, keys)
    }

    private static func find(
        _ partitions: [PartitionID], of topology: Topology, in folder: DataFolder, _ keys: ClusterKeys
    ) throws(Failure) -> [MissingBatches] {
        var missing: [MissingBatches] = []
        for partition in partitions {
            let location = folder.shard(partition.number, of: topology)
            guard Folder.exists(location.path) else { continue }
            let look = try QueueReading(partition, keys, isWhole: false)
            guard case .ledger(let ledger) = look.ledger,
                let shard = try? ShardReader.watermarks(of: location),  // `verify` says why it cannot be read
                shard.state == .open, shard.uuid == ledger.shard
            else { continue }
            missing += find(look, watermarks: shard.watermarks, in: partition)
        }
        return missing
    }
}

extension MissingBatches {
    /// As `find`, for who looks often: only partitions are read closely whose file lacks what the queue has seen
    /// committed, or that have refused a producer.
    static func findIfBehind(
        _ topology: Topology, in folder: DataFolder, _ keys: ClusterKeys
    ) throws(Failure) -> [MissingBatches] {
        var missing: [MissingBatches] = []
        for partition in topology.partitionIDs {
            let location = folder.shard(partition.number, of: topology)
            guard Folder.exists(location.path) else { continue }
            let (applied, inspected) = try onRedis { () throws(RedisError) in
                (try keys.watermarks(of: partition), try keys.inspect(partition))
            }
            guard case .group(let group) = inspected,
                let shard = try? ShardReader.watermarks(of: location),  // `verify` says why it cannot be read
                shard.state == .open, shard.uuid == group.shard
            else { continue }
            let ahead = applied.filter { $1 > shard.watermarks[$0] ?? 0 }
            if ahead.isEmpty, group.behind.isEmpty { continue }
            do throws(Failure) {
                missing += try find([partition], of: topology, in: folder, keys)
            } catch {
                // The Redis user of consumers may not read whole lists. What was committed shows without them.
                guard error.code == .configuration else { throw error }
                missing += ahead.map { committed(partition, $0, through: $1, shard.watermarks[$0] ?? 0) }
                    .sorted { $0.option < $1.option }
            }
        }
        return missing
    }

    private static func committed(
        _ partition: PartitionID, _ producer: ProducerID, through last: UInt64, _ watermark: UInt64
    ) -> MissingBatches {
        MissingBatches(
            stream: StreamID(partition: partition, producer: producer), sequences: watermark + 1...last,
            watermark: watermark, reason: .committed)
    }
}

/// A partition's keys, as far as they tell what its file must hold.
struct QueueReading: Sendable {
    let ledger: LedgerReply<QueuedBatch>
    /// Producers that were refused, and through which sequence they have released their batches.
    let behind: [ProducerID: UInt64]

    /// Of a partition without keys.
    static let none = QueueReading(ledger: .noTopology, behind: [:])

    private init(ledger: LedgerReply<QueuedBatch>, behind: [ProducerID: UInt64]) {
        self.ledger = ledger
        self.behind = behind
    }

    /// - Parameter isWhole: whether the entries of the list are wanted, or their headers.
    init(_ partition: PartitionID, _ keys: ClusterKeys, isWhole: Bool) throws(Failure) {
        let (inspected, ledger) = try onRedis { () throws(RedisError) in
            (
                try keys.inspect(partition),
                try keys.wholeLedger(of: partition, isWhole ? LedgerPages() : .headers) { bytes in
                    QueuedBatch(bytes, isWhole: isWhole)
                }
            )
        }
        self.ledger = ledger
        if case .group(let group) = inspected { behind = group.behind } else { behind = [:] }
    }
}

extension ShardReader {
    /// Of a file's own streams.
    static func watermarks(
        of location: ShardLocation
    ) throws(StoreError) -> (uuid: ShardUUID, state: ShardState, watermarks: [ProducerID: UInt64]) {
        let reader = try ShardReader(at: location.path, expecting: location.expected)
        return (reader.identity.uuid, reader.state, try reader.records(of: location.partition).mapValues(\.watermark))
    }
}
