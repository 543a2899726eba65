// Earlier epochs: their queues remember what was committed, and the shards of today which watermarks the files had when
// a rebalance closed them. A queue that has seen more was consumed by another copy of the files, after Redis had lost
// everything that would have contradicted it; what that copy has counted is in no shard of this folder. And a web node
// that has seen more (the queues of today note it) lived on while files and Redis were put back together.

import RedisQueue
import ServiceKit
import ShardConsumer
import ShardStore
import TallyCore

extension MissingBatches {
    /// What was counted elsewhere, of every earlier epoch whose watermarks are still known.
    ///
    /// A batch that came again by another way, with its origin, is not missing; nor is what was declared lost.
    static func findElsewhere(
        _ file: ClusterFile, in folder: DataFolder, _ keys: ClusterKeys
    ) throws(Failure) -> [MissingBatches] {
        guard file.state == .ready, !file.earlier.isEmpty else { return [] }
        var applied: [PartitionID: [ProducerID: UInt64]] = [:]
        for partition in file.earlier.flatMap(\.partitionIDs) {
            applied[partition] = try onRedis { () throws(RedisError) in try keys.watermarks(of: partition) }
        }
        let released = try released(file.topology, keys)
        // What is wrong with a shard that cannot be read `verify` says.
        let readers = file.topology.partitionIDs.compactMap { partition in
            let location = folder.shard(partition.number, of: file.topology)
            return try? ShardReader(at: location.path, expecting: location.expected)
        }
        // The watermarks of old shards are in every new one; what was declared lost may be in some of them only.
        guard let first = readers.first else { return [] }
        let found = try onStore { () throws(StoreError) -> [MissingBatches] in
            var losses: [StreamLoss] = []
            for reader in readers { losses += try reader.losses() }
            let found =
                try findElsewhere(file, applied, losses.byStream, first)
                + findReleased(released, losses.byStream, first)
            if found.isEmpty { return [] }
            let routed = try routed(Set(found.map(\.stream)), in: readers)
            return found.flatMap { $0.without(routed[$0.stream] ?? []) }
        }
        if found.isEmpty { return [] }
        let waiting = try waiting(Set(found.map(\.stream)), file.topology, keys)
        return found.flatMap { $0.without(waiting[$0.stream] ?? []) }
    }

    /// What waits in some list under these streams, as the origin of what it holds or as itself: it is not missing.
    private static func waiting(
        _ streams: Set<StreamID>, _ topology: Topology, _ keys: ClusterKeys
    ) throws(Failure) -> [StreamID: [ClosedRange<UInt64>]] {
        var waiting: [StreamID: Set<UInt64>] = [:]
        for partition in Set(streams.map(\.partition)).union(topology.partitionIDs) {
            guard case .ledger(let ledger) = try QueueReading(partition, keys, isWhole: false).ledger else { continue }
            for id in ledger.entries.compactMap({ $0.header.map { $0.origin ?? $0.id } })
            where streams.contains(id.stream) { waiting[id.stream, default: []].insert(id.sequence) }
        }
        return waiting.mapValues { $0.sorted().map { $0...$0 } }
    }

    private static func findElsewhere(
        _ file: ClusterFile, _ applied: [PartitionID: [ProducerID: UInt64]], _ losses: [StreamID: StreamLosses],
        _ reader: ShardReader
    ) throws(StoreError) -> [MissingBatches] {
        let forgotten = try reader.memory().forgottenEpoch
        var found: [MissingBatches] = []
        for partition in file.earlier.flatMap(\.partitionIDs) where partition.epoch > forgotten {
            guard let applied = applied[partition], !applied.isEmpty else { continue }
            let watermarks = try reader.records(of: partition).mapValues(\.watermark)
            for range in Consumer.MissingRange.between(applied, and: watermarks) {
                let stream = StreamID(partition: partition, producer: range.producer)
                let missing = MissingBatches(
                    stream: stream, sequences: range.sequences, watermark: watermarks[range.producer] ?? 0,
                    reason: .elsewhere)
                found += missing.without(losses[stream]?.ranges ?? [])
            }
        }
        return found
    }

    /// What web nodes have noted in the queues of the epoch: of earlier ones they have released more than a shard is
    /// known to have.
    private static func released(_ topology: Topology, _ keys: ClusterKeys) throws(Failure) -> [StreamID: UInt64] {
        var floors: [StreamID: UInt64] = [:]
        for partition in topology.partitionIDs {
            let reply = try onRedis { () throws(RedisError) in try keys.inspect(partition) }
            guard case .group(let group) = reply else { continue }
            floors.merge(group.earlier) { max($0, $1) }
        }
        return floors
    }

    private static func findReleased(
        _ floors: [StreamID: UInt64], _ losses: [StreamID: StreamLosses], _ reader: ShardReader
    ) throws(StoreError) -> [MissingBatches] {
        let forgotten = try reader.memory().forgottenEpoch
        var found: [MissingBatches] = []
        for (stream, floor) in floors where stream.partition.epoch > forgotten {
            let watermark = try reader.records(of: stream.partition)[stream.producer]?.watermark ?? 0
            guard floor > watermark else { continue }
            let missing = MissingBatches(
                stream: stream, sequences: watermark + 1...floor, watermark: watermark, reason: .putBack)
            found += missing.without(losses[stream]?.ranges ?? [])
        }
        return found.sorted { $0.description < $1.description }
    }

    /// Origins of some streams that shards have met, in order.
    private static func routed(
        _ streams: Set<StreamID>, in readers: [ShardReader]
    ) throws(StoreError) -> [StreamID: [ClosedRange<UInt64>]] {
        var routed: [StreamID: Set<UInt64>] = [:]
        for reader in readers {
            try reader.forEachRouted { row in
                guard let producer = Bytes16(row.producer), let sequence = UInt64(exactly: row.sequence) else { return }
                let partition = PartitionID(
                    epoch: UInt32(clamping: row.epoch), number: UInt32(clamping: row.partition))
                let stream = StreamID(partition: partition, producer: ProducerID(producer))
                if streams.contains(stream) { routed[stream, default: []].insert(sequence) }
            }
        }
        return routed.mapValues { $0.sorted().map { $0...$0 } }
    }

    /// What is left of it outside ranges that are not missing, in order.
    private func without(_ ranges: [ClosedRange<UInt64>]) -> [MissingBatches] {
        sequences.outside(ranges).map { left in
            MissingBatches(stream: stream, sequences: left, watermark: watermark, reason: reason)
        }
    }
}

extension MissingBatches {
    /// For `verify`.
    func finding(_ names: KeyNames) -> Finding {
        if reason == .putBack {
            return Finding(
                nil, names.group(of: partition).applied, "\(self) \(cause)",
                "Files and Redis were put back together, and a rebalance has followed: if there is a newer copy of the "
                    + "whole folder of that epoch, what its counters have more may be imported, and nothing else of "
                    + "it. `tallymill repair --accept-loss \(option)` records it, so that it is not found again.")
        }
        return Finding(
            nil, names.group(of: partition).applied, "\(self) \(cause)",
            "Find the folder that has them, the one whose consumer ran then. What its counters have more than the "
                + "retired files of that epoch here may be imported, and nothing else of it. "
                + "`tallymill repair --accept-loss \(option)` records it, so that it is not found again.")
    }
}
