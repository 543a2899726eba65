// When the log is told that increments go to the dead letters: at once when it begins, and while it goes on once a
// minute how many they were. A client that sends to a full counter could fill the log otherwise. A value without I/O.

/// Counts what the log has not been told.
struct DeadLetterNotice {
    static let pauseMilliseconds: UInt64 = 60_000

    private var untold: UInt64 = 0
    private var silentUntil: UInt64 = 0

    /// Increments went to the dead letters, or none, and it is `now`, in monotonic milliseconds. Returns how many the
    /// log is to be told of.
    mutating func note(_ increments: UInt64, now: UInt64) -> UInt64? {
        untold += increments
        if untold == 0 || now < silentUntil { return nil }
        silentUntil = now + Self.pauseMilliseconds
        return takeUntold()
    }

    /// The last word: what it was not told of.
    mutating func takeUntold() -> UInt64? {
        defer { untold = 0 }
        return untold > 0 ? untold : nil
    }
}
