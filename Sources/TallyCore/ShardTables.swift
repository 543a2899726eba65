// What the apply transaction reads and writes, without saying how. `ShardStore` implements it over SQLite, the
// simulator over dictionaries; the rules in between (`ApplyRules`) are the same code.

/// One producer's watermark and ledger in a shard.
public struct StreamRecord: Hashable, Sendable {
    /// The highest sequence committed; sequences are dense, so everything up to it is.
    public var watermark: UInt64
    /// The stream's own ledger through the watermark, as its batches state it.
    public var through: Amount
    /// What was added to counters.
    public var applied: Amount
    /// What had been counted before, under another identity.
    public var repeated: Amount
    /// What went to the dead letters.
    public var dead: Amount

    public static let empty = StreamRecord(watermark: 0, through: .zero, applied: .zero, repeated: .zero, dead: .zero)

    /// What is neither of these, when nothing of the stream is lost: zero.
    public var unaccounted: Amount { through - applied - repeated - dead }

    public init(watermark: UInt64, through: Amount, applied: Amount, repeated: Amount, dead: Amount) {
        self.watermark = watermark
        self.through = through
        self.applied = applied
        self.repeated = repeated
        self.dead = dead
    }
}

/// Increments that could not be counted, kept visible.
public struct DeadLetter: Hashable, Sendable {
    public enum Reason: String, Hashable, Sendable {
        /// The sum would leave Int64.
        case overflow
        /// The batch does not decode behind a readable identity.
        case damaged
        /// Sent so long ago that whether its idempotency key was counted before is no longer known.
        case late
        /// Re-routed from an epoch whose watermarks were purged: whether it was counted there is no longer known.
        case forgotten
    }

    public let batch: BatchID
    public let reason: Reason
    /// What exactly is wrong, for a person.
    public let detail: String
    public let idempotencyKey: [UInt8]?
    /// nil for a damaged batch.
    public let key: [UInt8]?
    public let amount: Amount
    /// The whole batch if it is damaged, else empty.
    public let payload: [UInt8]

    public init(
        batch: BatchID, reason: Reason, detail: String, idempotencyKey: [UInt8]?, key: [UInt8]?, amount: Amount,
        payload: [UInt8]
    ) {
        self.batch = batch
        self.reason = reason
        self.detail = detail
        self.idempotencyKey = idempotencyKey
        self.key = key
        self.amount = amount
        self.payload = payload
    }
}

/// The tables of one shard inside one transaction.
public protocol ShardTables {
    associatedtype Failure: Error
    /// Whether a rebalance has closed the file for ever.
    mutating func isRetired() throws(Failure) -> Bool
    /// The record of a stream of any epoch and partition, nil if it never reached this file.
    mutating func record(of stream: StreamID) throws(Failure) -> StreamRecord?
    mutating func setRecord(_ record: StreamRecord, of stream: StreamID) throws(Failure)
    /// Claims (origin, key); false if it was claimed before.
    mutating func claimRouted(origin: BatchID, key: UnsafeRawBufferPointer) throws(Failure) -> Bool
    /// Claims (idempotency key, key), unless it was claimed before. If it is too late it is claimed as well, for as
    /// long as its dead letter is there, so that it is buried once. `sent` is Redis' time, in ms since 1970.
    mutating func claimIdempotent(
        _ idempotencyKey: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer, sent: UInt64
    ) throws(Failure) -> IdempotentClaim
    /// Gives back a claim of (idempotency key, key) of this transaction.
    mutating func releaseClaim(
        _ idempotencyKey: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer
    ) throws(Failure)
    /// The newest epoch whose watermarks were purged, 0 if none were.
    mutating func forgottenEpoch() throws(Failure) -> UInt32
    /// Whether a batch of an earlier epoch was declared lost.
    mutating func isLost(_ batch: BatchID) throws(Failure) -> Bool
    /// Says how much the loss directly before a batch was, if it is not known yet; false if it is, or there is none.
    mutating func settleLoss(before batch: BatchID, amount: Amount) throws(Failure) -> Bool
    /// Adds to a counter, creating it; false, and nothing changed, if the sum would leave Int64.
    mutating func add(_ delta: Int64, to key: UnsafeRawBufferPointer, time: UInt64) throws(Failure) -> Bool
    mutating func bury(_ letter: DeadLetter, time: UInt64) throws(Failure)
}
