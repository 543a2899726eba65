// How long to wait before a connection is made anew. A Redis, or a proxy before one, may take each connection, log it
// in, answer the first questions, and close it: that a connection came about says nothing. So the back-off lives until
// an answer to real work has arrived.

/// Waits between the connections of one role. A value; who waits is elsewhere.
public struct ReconnectPace: Sendable {
    private var backoff = JitteredBackoff()
    private var isFirst = true

    public init() {}

    /// How long to wait, in milliseconds, before the first try after a connection has ended: 0 where it had worked, and
    /// before the very first.
    public mutating func begin(afterWork: Bool, using generator: inout some RandomNumberGenerator) -> UInt64 {
        defer { isFirst = false }
        if afterWork { backoff.reset() }
        return afterWork || isFirst ? 0 : backoff.next(using: &generator)
    }

    /// How long to wait after a try that failed, in milliseconds.
    public mutating func next(using generator: inout some RandomNumberGenerator) -> UInt64 {
        backoff.next(using: &generator)
    }
}
