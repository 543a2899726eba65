// How many requests a second a token may send: the generic cell rate algorithm (ITU-T I.371, annex A) in one word.
//
// The word is the moment at which the requests admitted so far would be done, if they came evenly. Each request moves
// it by one interval; it may lie at most one second ahead of now. So a token that was silent may send a second's
// worth at once, and then goes on at its rate; nothing has to be refilled by anybody, and all event loops share the
// word without a lock.

import Synchronization

/// What is left of a token's rate after a request.
public struct Quota: Hashable, Sendable {
    /// Requests a second.
    public let limit: UInt32
    /// Requests that would be admitted at once.
    public let remaining: UInt32
}

/// The limit of one token. From any thread.
public final class RateLimiter: Sendable {
    /// How far a burst reaches. It is also the unit of the rate and the longest wait, so whoever is told to wait, in
    /// whole seconds as HTTP has them, is told this.
    public static let windowSeconds = 1

    private static let windowNanoseconds: UInt64 = 1_000_000_000
    /// Requests a second.
    public let rate: Int
    private let interval: UInt64
    /// Nanoseconds of the caller's clock.
    private let busyUntil = Atomic<UInt64>(0)

    /// - Parameter rate: requests a second, in `Token.rateRange`; exact to 0.05 %.
    public init(rate: Int) {
        precondition(Token.rateRange.contains(rate), "a rate is in range")
        self.rate = rate
        interval = (Self.windowNanoseconds + UInt64(rate) / 2) / UInt64(rate)
    }

    /// Counts a request if there is room for it.
    ///
    /// - Parameter now: nanoseconds of a clock that only goes forward. Loops may be some milliseconds apart.
    /// - Returns: what is left, and whether the request is within the rate; one that is not has changed nothing.
    public func admit(now: UInt64) -> (isWithin: Bool, quota: Quota) {
        // As many intervals as the rate, so that rounding never costs a request of the burst.
        let window = interval * UInt64(rate)
        var seen = busyUntil.load(ordering: .relaxed)
        while true {
            let next = max(seen, now) + interval
            let ahead = next - now
            if ahead > window { return (false, Quota(limit: UInt32(rate), remaining: 0)) }
            let (isDone, found) = busyUntil.compareExchange(expected: seen, desired: next, ordering: .relaxed)
            if isDone {
                return (true, Quota(limit: UInt32(rate), remaining: UInt32((window - ahead) / interval)))
            }
            seen = found
        }
    }
}
