/// Exponential back-off, without its jitter: the machines are deterministic, the doors add randomness.
public enum Backoff {
    /// How long to wait after so many failures in a row: nothing after none, then doubling from
    /// `Limits.retryMillisecondsMin` to `Limits.retryMillisecondsMax`.
    public static func milliseconds(failures: Int) -> UInt64 {
        if failures == 0 { return 0 }
        return min(Limits.retryMillisecondsMin << UInt64(min(failures - 1, 16)), Limits.retryMillisecondsMax)
    }
}
