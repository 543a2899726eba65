// Redis' time, between two looks at it.
//
// What a batch says about when its increments were sent decides how long a repeated request is recognised. Clocks of
// different machines differ and are set; so all of them use the one that they share. Between two answers to TIME the
// monotonic clock of the process goes on from the last.

/// Milliseconds since 1970 by the clock of a Redis server.
public struct RedisClock: Hashable, Sendable {
    /// What to add to monotonic milliseconds.
    private var offset: Int64

    /// - Parameters:
    ///   - guess: milliseconds since 1970 by our own clock: good enough until Redis has answered.
    ///   - now: monotonic milliseconds.
    public init(guess: UInt64, at now: UInt64) {
        offset = Int64(clamping: guess) - Int64(clamping: now)
    }

    /// Redis said `time`, in milliseconds since 1970, at the monotonic time `now`.
    public mutating func learn(_ time: UInt64, at now: UInt64) {
        offset = Int64(clamping: time) - Int64(clamping: now)
    }

    /// Redis' time at the monotonic time `now`.
    public func time(at now: UInt64) -> UInt64 {
        UInt64(clamping: Int64(clamping: now) + offset)
    }
}
