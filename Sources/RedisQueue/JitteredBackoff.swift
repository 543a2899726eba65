// How long to wait before the next try to connect: a random part of a bound that doubles (full jitter), so that a
// hundred nodes that lost the same Redis do not come back in the same millisecond. A value; who waits is elsewhere.

import TallyCore

/// Waits between tries to connect.
public struct JitteredBackoff: Sendable {
    private var failures = 0

    public init() {}

    /// The next wait in milliseconds: 1...bound, where the bound is 20 ms after the first failure and doubles up to
    /// 1 s.
    public mutating func next(using generator: inout some RandomNumberGenerator) -> UInt64 {
        let doublings = min(failures, Limits.retryMillisecondsMax.bitWidth - 32)
        let bound = min(Limits.retryMillisecondsMin << doublings, Limits.retryMillisecondsMax)
        failures += 1
        return UInt64.random(in: 1...bound, using: &generator)
    }

    /// After a success.
    public mutating func reset() {
        failures = 0
    }
}
