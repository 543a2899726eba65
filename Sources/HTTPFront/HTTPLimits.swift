// Every bound of the HTTP side, with the defaults of the contract. Tests lower them; roles set those with a flag.

import TallyCore

/// What one connection, one request and one loop may use.
public struct HTTPLimits: Hashable, Sendable {
    /// The request line without its line end: 414 beyond.
    public var requestLineBytes = 8 << 10
    /// All field lines with their line ends, also those of a trailer: 431 beyond.
    public var headerBytes = 16 << 10
    /// Field lines of one head, also of one trailer: 431 beyond.
    public var headerFields = 64
    /// A chunk's size line without its line end, and the extensions of one request together: 400 beyond.
    public var chunkLineBytes = 256
    public var chunkExtensionBytes = 4 << 10
    /// The body after chunked decoding: 413 beyond.
    public var bodyBytes = Limits.requestBodyBytes
    /// Increments of one request: 413 beyond.
    public var increments = Limits.requestIncrements
    /// Requests of one connection that wait for their answer; then its bytes stay in the socket.
    public var unansweredRequests = Limits.unansweredRequests
    /// Connections of all loops together: 503 and closed beyond.
    public var connections = 20_000

    /// From a request's first byte to the end of its head: 408 beyond.
    public var headMilliseconds: UInt64 = 10_000
    /// From the end of the head to the end of the body: 408 beyond.
    public var bodyMilliseconds: UInt64 = 30_000
    /// Without a request, or without progress in taking our answers: closed beyond.
    public var idleMilliseconds: UInt64 = 60_000
    /// After the last answer a connection is still read, so that the peer, which may be sending a body that was
    /// refused, sees that answer and not a reset: as long as bytes come with no longer silence than this, ...
    public var lingerSilenceMilliseconds: UInt64 = 5_000
    /// ... in all not longer than this, ...
    public var lingerMilliseconds: UInt64 = 30_000
    /// ... than this once the server is draining, ...
    public var lingerDrainMilliseconds: UInt64 = 2_000
    /// ... and not more than so many bytes.
    public var lingerBytes = 256 << 20
    /// Connections of all loops together that are read on like this, beside those that are served. Beyond, they are
    /// closed at once.
    public var lingeringConnections = 1_024
    /// How often all deadlines of a loop are compared; they are late by at most this.
    public var sweepMilliseconds: UInt64 = 500

    /// For `Prefer: wait`: what applies without it, and the most that it may ask for.
    public var waitMilliseconds = Limits.waitMilliseconds
    public var waitMillisecondsMax = Limits.waitMillisecondsMax

    public init() {}
}
