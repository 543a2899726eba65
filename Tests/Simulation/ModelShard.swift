// A model of a shard file: the tables of `ShardTables` over dictionaries, behind transactions that are atomic and
// durable. What happens inside a transaction is the real `ApplyRules`.
//
// It is a class because a file has an identity: a consumer that opened it keeps it although another file was put in
// its place, as with an inode. `copy` is a backup.

public import TallyCore

/// One SQLite file.
public final class ModelShard {
    /// What a transaction reads and writes.
    public struct Tables {
        public var isClosed = false
        public var counters: [[UInt8]: Int64] = [:]
        public var records: [StreamID: StreamRecord] = [:]
        public var routed: Set<RoutedKey> = []
        /// With the time of each claim.
        public var idempotency: [IdempotentKey: UInt64] = [:]
        public var claimClock = ClaimClock()
        /// Imports that were loaded as a whole.
        public var imports: Set<Bytes16> = []
        public var losses: [StreamLoss] = []
        /// The newest epoch whose watermarks were purged.
        public var forgotten: UInt32 = 0
        public var deadLetters: [DeadLetter] = []
        /// What the counters added up to when a rebalance made the file.
        public var carried: Int128 = 0
        public var mutation: Mutation?
        /// The consumer's own clock: only the canary `claims-by-arrival` looks at it.
        var consumerTime: UInt64 = 0
        /// Only for the canary `origin-batch`: origins claimed as a whole, and those claimed by this transaction.
        public var claimedOrigins: Set<BatchID> = []
        var claimedNow: Set<BatchID> = []
        /// How to undo the open transaction, newest last.
        var journal: [Undo] = []

        init() {}
    }

    enum Undo {
        case counter([UInt8], Int64?)
        case record(StreamID, StreamRecord?)
        case routed(RoutedKey)
        case idempotent(IdempotentKey)
        case released(IdempotentKey, UInt64?)
        case loss(Int)
        case origin(BatchID)
        case deadLetter
    }

    public struct RoutedKey: Hashable, Sendable {
        public let origin: BatchID
        public let key: [UInt8]
    }

    public struct IdempotentKey: Hashable, Sendable {
        public let idempotencyKey: [UInt8]
        public let key: [UInt8]
    }

    public let partition: PartitionID
    public let uuid: ShardUUID
    public var tables = Tables()

    public init(partition: PartitionID, uuid: ShardUUID) {
        self.partition = partition
        self.uuid = uuid
    }

    /// A backup: the same file at this moment.
    public func copy() -> ModelShard {
        let other = ModelShard(partition: partition, uuid: uuid)
        other.tables = tables
        return other
    }

    /// One transaction, and its repetition entry by entry if folding does not fit, as the store does it.
    public func apply(_ batches: [[UInt8]], time: UInt64) -> ApplyOutcome {
        let outcome = attempt(batches, time: time, folding: true)
        if case .tooManyMisfits = outcome {
            return attempt(ApplyRules<Tables>.head(of: batches), time: time, folding: false)
        }
        return outcome
    }

    /// A transaction that ends with a full disk.
    public func applyAndFail(_ batches: [[UInt8]], time: UInt64) {
        tables.begin()
        // What it would have done is of no interest: it is undone.
        _ = ApplyRules.apply(batches, to: &tables, partition: partition, time: time, folding: true)
        tables.rollBack()
    }

    private func attempt(_ batches: [[UInt8]], time: UInt64, folding: Bool) -> ApplyOutcome {
        tables.begin()
        tables.consumerTime = time
        let outcome = ApplyRules.apply(batches, to: &tables, partition: partition, time: time, folding: folding)
        if case .commit = outcome { tables.commit() } else { tables.rollBack() }
        return outcome
    }

    /// A rebalance closes the file for ever.
    public func retire() {
        tables.isClosed = true
    }

    /// What the queue has seen committed and this file does not hold, in order of the producers' ids.
    public func missing(from applied: [ProducerID: UInt64]) -> [Consumer.MissingRange] {
        var ranges: [Consumer.MissingRange] = []
        for (producer, watermark) in applied {
            let stream = StreamID(partition: partition, producer: producer)
            let own = tables.records[stream]?.watermark ?? 0
            if watermark > own {
                ranges.append(Consumer.MissingRange(producer: producer, sequences: own + 1...watermark))
            }
        }
        return ranges.sorted { $0.producer.description < $1.producer.description }
    }

    /// The sum of all counters.
    public var total: Int128 { tables.counters.values.reduce(0) { $0 + Int128($1) } }
}

extension ModelShard.Tables {
    mutating func begin() {
        precondition(journal.isEmpty, "a transaction within a transaction")
        claimedNow.removeAll()
    }

    mutating func commit() {
        if mutation == .originMax { raiseOrigins() }
        journal.removeAll(keepingCapacity: true)
    }

    mutating func rollBack() {
        while let step = journal.popLast() {
            switch step {
            case .counter(let key, let old): counters[key] = old
            case .record(let stream, let old): records[stream] = old
            case .routed(let row): routed.remove(row)
            case .idempotent(let row): idempotency[row] = nil
            case .released(let row, let time): idempotency[row] = time
            case .loss(let index): losses[index].amount = nil
            case .origin(let origin): claimedOrigins.remove(origin)
            case .deadLetter: deadLetters.removeLast()
            }
        }
    }

    /// The canary `origin-max`: what came with an origin counts as if all before it had come, too.
    private mutating func raiseOrigins() {
        for case .routed(let row) in journal {
            var record = records[row.origin.stream] ?? .empty
            record.watermark = max(record.watermark, row.origin.sequence)
            records[row.origin.stream] = record
        }
    }
}

extension ModelShard.Tables: ShardTables {
    public typealias Failure = Never

    public func isRetired() -> Bool { isClosed && mutation != .noFenceCheck }

    public func record(of stream: StreamID) -> StreamRecord? { records[stream] }

    public mutating func setRecord(_ record: StreamRecord, of stream: StreamID) {
        journal.append(.record(stream, records.updateValue(record, forKey: stream)))
    }

    public mutating func claimRouted(origin: BatchID, key: UnsafeRawBufferPointer) -> Bool {
        if mutation == .originBatch {
            if claimedNow.contains(origin) { return true }
            guard claimedOrigins.insert(origin).inserted else { return false }
            claimedNow.insert(origin)
            journal.append(.origin(origin))
            return true
        }
        let row = ModelShard.RoutedKey(origin: origin, key: Array(key))
        guard routed.insert(row).inserted else { return false }
        journal.append(.routed(row))
        return true
    }

    public mutating func claimIdempotent(
        _ idempotencyKey: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer, sent: UInt64
    ) -> IdempotentClaim {
        let row = ModelShard.IdempotentKey(idempotencyKey: Array(idempotencyKey), key: Array(key))
        if idempotency[row] != nil { return .repeated }
        let tool = ToolClaim(idempotencyKey)
        if case .imported(let id) = tool, imports.contains(id) { return .repeated }
        let isLate = tool == nil && isTooLate(sent)
        // A claim of what is buried goes with its letter.
        let expires = tool == nil && !isLate || mutation == .toolClaimsExpire
        let stamp = mutation == .claimsByArrival ? consumerTime : claimClock.stamp
        idempotency[row] = expires ? stamp : .max
        journal.append(.idempotent(row))
        return isLate ? .tooLate : .new
    }

    public mutating func releaseClaim(_ idempotencyKey: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer) {
        let row = ModelShard.IdempotentKey(idempotencyKey: Array(idempotencyKey), key: Array(key))
        journal.append(.released(row, idempotency.removeValue(forKey: row)))
    }

    private func isTooLate(_ sent: UInt64) -> Bool {
        switch mutation {
        case .claimsByArrival, .eagerExpiry, .noLateCheck: false
        default: claimClock.isTooLate(sent: sent)
        }
    }

    public func forgottenEpoch() -> UInt32 { forgotten }

    public func isLost(_ batch: BatchID) -> Bool { losses.contains { $0.contains(batch) } }

    public mutating func settleLoss(before batch: BatchID, amount: Amount) -> Bool {
        guard let index = losses.firstIndex(where: { $0.isDirectly(before: batch) && $0.amount == nil }) else {
            return false
        }
        losses[index].amount = amount
        journal.append(.loss(index))
        return true
    }

    public mutating func add(_ delta: Int64, to key: UnsafeRawBufferPointer, time: UInt64) -> Bool {
        let key = Array(key)
        let old = counters[key]
        let (sum, overflow) = (old ?? 0).addingReportingOverflow(delta)
        if overflow { return false }
        journal.append(.counter(key, old))
        counters[key] = sum
        return true
    }

    public mutating func bury(_ letter: DeadLetter, time: UInt64) {
        journal.append(.deadLetter)
        deadLetters.append(letter)
    }
}
