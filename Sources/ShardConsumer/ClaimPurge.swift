// How many expired claims of idempotency keys a consumer forgets at a time: a number for each second, or twice as many
// as it has made since it did so last. So forgetting keeps up with what comes, however fast that is, and catches up
// with what was left; and it takes no longer than the transactions before it. A value without I/O.

/// When claims are forgotten, and how many.
struct ClaimPurge {
    static let pauseMilliseconds: UInt64 = 1_000
    /// Rows of one transaction.
    static let rows = 20_000

    private var dueAt: UInt64 = 0
    private var made = 0

    /// The most rows that are to be forgotten now; nil if it is not time yet.
    ///
    /// - Parameters:
    ///   - now: monotonic milliseconds.
    ///   - made: claims that the file has made so far.
    mutating func due(now: UInt64, made: Int) -> Int? {
        if now < dueAt { return nil }
        dueAt = now + Self.pauseMilliseconds
        defer { self.made = made }
        return max(Self.rows, 2 * (made - self.made))
    }
}
