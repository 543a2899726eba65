// The way through the queues: every sum under the import's claim, and when all of them are stored the import is named
// in each shard that is here, so that its claims need not stay for ever.
//
// A shard is asked itself whether it has stored what was for it: Redis may have been told so by another copy of the
// file. Killed anywhere, the same command finds the claims, or the name, in each shard and counts what is missing.

import RedisQueue
public import ServiceKit
import ShardConsumer
import ShardStore
import TallyCore

extension Import {
    /// What became of the sums that went through the queues.
    public struct Arrival: Hashable, Sendable {
        /// Counted now.
        public var new: UInt64 = 0
        /// Counted by an earlier run.
        public var known: UInt64 = 0
        /// In the dead letters: their counters would leave Int64.
        public var dead: UInt64 = 0

        var all: UInt64 { new + known + dead }

        public init() {}

        init(_ record: StreamRecord) {
            (new, known, dead) = (record.applied.increments, record.repeated.increments, record.dead.increments)
        }

        static func += (left: inout Arrival, right: Arrival) {
            left.new += right.new
            left.known += right.known
            left.dead += right.dead
        }
    }

    /// Delivers all lines through the queues, returns when they are stored, and names the import in each shard that is
    /// here.
    ///
    /// - Parameter progress: sums handed over so far.
    /// - Returns: what became of them; nil if some shard is on another host.
    /// - Throws: as `Courier.deliver`; what is wrong with a shard that is here.
    public func deliver(over access: RedisAccess, progress: (Int) -> Void) throws(Failure) -> Arrival? {
        let courier = Courier(access)
        var handedOver: [UInt64] = []
        for partition in runs.amounts.indices {
            let before = handedOver.reduce(0, +)
            handedOver.append(try deliver(partition, courier) { progress(Int(before + $0)) })
        }
        try courier.settle()
        progress(Int(handedOver.reduce(0, +)))
        return try note(handedOver, from: courier.id)
    }

    /// Hands over the lines of one partition; how many sums they are.
    private func deliver(
        _ partition: Int, _ courier: Courier, _ progress: (UInt64) -> Void
    ) throws(Failure) -> UInt64 {
        var buffer = IncrementBuffer()
        let source = try runs.source(of: partition)
        var key: [UInt8] = []
        var occurrence = 1
        var sums: UInt64 = 0
        while try source.next() {
            // A key comes again if its sum does not fit one entry; one idempotency key counts it once.
            occurrence = source.key.elementsEqual(key) ? occurrence + 1 : 1
            key = Array(source.key)
            if occurrence > 1 { try hand(&buffer, to: courier, occurrence - 1) }
            let problem = buffer.append(key: source.key, delta: source.value)
            precondition(problem == nil, "a line with a key that is none was sorted")
            sums += 1
            if occurrence > 1 || buffer.count >= Self.chunkIncrements {
                try hand(&buffer, to: courier, occurrence)
                progress(sums)
            }
        }
        try hand(&buffer, to: courier, 1)
        return sums
    }

    private func hand(_ buffer: inout IncrementBuffer, to courier: Courier, _ occurrence: Int) throws(Failure) {
        if buffer.isEmpty { return }
        let name = occurrence == 1 ? "import:\(id)" : "import:\(id):\(occurrence)"
        _ = try courier.deliver(buffer, idempotencyKey: Array(name.utf8))  // `settle` waits for all
        buffer.removeAll()
    }

    /// Asks the shards that are here what became of the sums, and names the import in each that has all that was for
    /// it.
    private func note(_ handedOver: [UInt64], from producer: ProducerID) throws(Failure) -> Arrival? {
        let topology = try folder.readyClusterFile().topology
        var all: Arrival? = Arrival()
        for partition in topology.partitionIDs {
            let location = folder.shard(partition.number, of: topology)
            guard Folder.exists(location.path) else {
                all = nil
                continue
            }
            let arrival = try onStore { () throws(StoreError) in
                try ShardReader(at: location.path, expecting: location.expected).records(of: partition)[producer]
                    .map { Arrival($0) } ?? Arrival()
            }
            all? += arrival
            // Sorted for another number of partitions, nobody knows what was for this one: its claims stay.
            guard handedOver.count == topology.partitions else { continue }
            guard arrival.all == handedOver[Int(partition.number)] else {
                throw .countedElsewhere(partition, arrival.all, of: handedOver[Int(partition.number)], location)
            }
            try onStore { () throws(StoreError) in
                try ShardUpkeep.note(import: id, at: location.path, expecting: location.expected)
            }
        }
        return all
    }
}

extension Failure {
    fileprivate static func countedElsewhere(
        _ partition: PartitionID, _ sums: UInt64, of all: UInt64, _ location: ShardLocation
    ) -> Failure {
        Failure(
            .corrupt,
            "it holds \(sums) of the \(all) sums that were stored for partition \(partition.number): another copy of"
                + " this file is consumed",
            at: location.path, advice: "`tallymill verify` shows what is wrong.")
    }
}
