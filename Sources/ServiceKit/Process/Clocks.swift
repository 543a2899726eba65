// Two clocks that may not be confused: one that only moves forward, to measure how long things take, and the
// calendar's, which an administrator may set back, to say when things happened.

import Glibc

/// Time since an arbitrary start; never goes back. Stands still while the machine sleeps.
public enum MonotonicClock {
    /// Nanoseconds of CLOCK_MONOTONIC.
    public static func nanoseconds() -> UInt64 { now(CLOCK_MONOTONIC) }

    /// Milliseconds of CLOCK_MONOTONIC.
    public static func milliseconds() -> UInt64 { nanoseconds() / 1_000_000 }
}

/// Time of day.
public enum WallClock {
    /// Milliseconds since 1970-01-01T00:00:00Z, without leap seconds.
    public static func milliseconds() -> Int64 { Int64(now(CLOCK_REALTIME) / 1_000_000) }
}

private func now(_ clock: clockid_t) -> UInt64 {
    var time = timespec()
    let result = clock_gettime(clock, &time)
    precondition(result == 0, "clock_gettime fails only for a clock that does not exist")
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}
