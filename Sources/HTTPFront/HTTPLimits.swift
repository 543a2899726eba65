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
    /// Answers of one connection that its socket has not taken, or that wait for earlier ones: its requests are not
    /// read beyond, until the peer takes what there is. One answer may be longer: it is written whole.
    public var unsentBytes = Limits.unsentBytes
    /// What the connections of all loops together may hold of unfinished requests and of answers that are not taken.
    /// From three quarters on, connections that hold more than `ownBytes` are not read; after
    /// `starvingMilliseconds` of that, and beyond all of it at once: 503 and closed. Each loop has its share, and room
    /// for four of the longest requests at least.
    public var memoryBytes = Limits.requestMemoryBytes
    public var ownBytes = 16 << 10
    public var starvingMilliseconds: UInt64 = 1_000
    /// Connections of all loops together: 503 and closed beyond.
    public var connections = 20_000

    /// Where there are as many, one more closes another that is idle: the one that has been there longest of those that
    /// brought neither admitted increments nor a known token, ...
    /// ... or else the one whose last ones are longest ago, and longer than this.
    public var spareMilliseconds: UInt64 = 10_000
    /// Connections of one client address, of IPv6 one network of 64 bits: 503 and closed beyond. nil: as many as there
    /// may be, for behind a proxy all clients have its address.
    public var connectionsPerAddress: Int?

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

    /// Sockets that are accepted beyond all that, to be told that there are too many. The next ones wait in the kernel.
    public static let refusedSockets = 16

    /// The most descriptors that clients of a server take.
    public var socketsMax: Int { connections + lingeringConnections + Self.refusedSockets }

    public init() {}
}
