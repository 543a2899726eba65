// When a shard's log is copied into the file although the checkpoint at the start, or SQLite's own, could not do it: a
// reader that holds an old state of the file keeps them from it. Counting goes on meanwhile, and the log grows. A value
// without I/O.

import TallyCore

/// Looks after the log of one shard.
struct CheckpointWatch {
    /// What the log is to be told.
    enum Change: Hashable {
        case held
        case free
    }

    /// How often it is tried again.
    static let retryMilliseconds: UInt64 = 1_000
    /// SQLite cuts a log that is longer after its next checkpoint: a longer one has met none for a while.
    static let logBytesMax = 64 << 20

    /// Since when a reader has kept the log out of the file, in monotonic milliseconds; nil if none does.
    private(set) var heldSince: UInt64?
    /// Whether the log, which has grown meanwhile, is to be cut: SQLite leaves its file as long as `logBytesMax`.
    private(set) var isToShrink = false
    private var lookAt: UInt64 = 0

    /// Whether a look is due. `logBytes` is asked for now and then.
    mutating func isDue(now: UInt64, logBytes: () -> Int) -> Bool {
        guard now >= lookAt else { return false }
        lookAt = now + Self.retryMilliseconds
        return heldSince != nil || isToShrink || logBytes() > Self.logBytesMax
    }

    /// What came of an attempt; nil if nothing is new.
    mutating func attempted(isComplete: Bool, now: UInt64) -> Change? {
        let wasHeld = heldSince != nil
        heldSince = isComplete ? nil : heldSince ?? now
        if wasHeld { isToShrink = isComplete }
        return wasHeld == isComplete ? (isComplete ? .free : .held) : nil
    }

    /// The log was cut.
    mutating func shrunk() { isToShrink = false }
}
