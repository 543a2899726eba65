// What comes of applying a list of batches to a shard (ApplyRules.swift).

/// What an apply transaction did.
public struct Applied: Hashable, Sendable {
    /// The batches that are now in the file, whether this transaction added them or an earlier one.
    public var committed: [BatchID] = []
    /// Watermarks of the producers of `committed`.
    public var watermarks: [ProducerID: UInt64] = [:]
    public var applied = Amount.zero
    public var repeated = Amount.zero
    public var dead = Amount.zero
    /// Batches that an earlier transaction had added.
    public var skippedBatches = 0
    /// Counters written.
    public var keys = 0

    public init() {}
}

/// How an apply transaction has to end.
public enum ApplyOutcome: Hashable, Sendable {
    /// Commit.
    case commit(Applied)
    /// Roll back and run again with `folding: false`, the `head` of the batches alone: too many entries do not fit.
    case tooManyMisfits
    /// Roll back: the file is closed for ever.
    case retired
    /// Roll back and stop: an operator is needed.
    case stop(ApplyAlarm)
}

/// What must never happen, found in a queue.
public enum ApplyAlarm: Hashable, Sendable, CustomStringConvertible {
    case hole(BatchID, watermark: UInt64)
    case wrongPartition(BatchID, expected: PartitionID)
    case unreadable(String)
    case newerVersion(UInt8)

    /// Whether an operator may have the entry taken away: see the protocol.
    public var canBeBuried: Bool {
        switch self {
        case .unreadable, .wrongPartition: true
        case .hole, .newerVersion: false
        }
    }

    public var description: String {
        switch self {
        case .hole(let id, let watermark):
            "batch \(id) follows watermark \(watermark): the batches between them are missing"
        case .wrongPartition(let id, let expected):
            "batch \(id) lies in the queue of \(expected)"
        case .unreadable(let reason):
            "the oldest batch of the queue is unreadable: \(reason)"
        case .newerVersion(let version):
            "the oldest batch of the queue has format version \(version), this release reads"
                + " \(BatchFormat.version): upgrade the consumers before the web nodes"
        }
    }
}
