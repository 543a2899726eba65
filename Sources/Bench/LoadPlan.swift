// What a run is to do: a value that is checked as a whole before the first socket is opened.

public import ServiceKit
public import TallyCore
public import Tokens

/// One run of the load.
public struct LoadPlan: Sendable {
    /// The form in which increments travel.
    public enum Body: String, CaseIterable, Sendable {
        /// One increment, `application/x-www-form-urlencoded`.
        case form
        case json
        /// `text/plain`, one increment a line.
        case lines
    }

    /// When requests are sent.
    public enum Rate: Hashable, Sendable {
        /// So many a second, whether the earlier ones are answered or not: an open loop.
        case perSecond(Int)
        /// As many as are answered: a closed loop over all connections.
        case flood
        /// No load; `parkedConnections` alone.
        case none
    }

    public static let rateMax = 10_000_000
    public static let keysMax = 10_000_000
    public static let connectionsMax = 60_000
    public static let threadsMax = 64
    /// Increments that may wait for their answers, in all connections together: 16 MiB of them.
    public static let pendingIncrementsMax = 2_000_000
    /// Random values lie within this, on both sides of zero.
    public static let deltaMax: Int32 = 10_000

    public var endpoint = Endpoint(host: "127.0.0.1", port: 3333)
    public var rate = Rate.perSecond(9_000)
    public var durationMilliseconds = 30_000
    /// How long to wait, after the end, for answers, and then for the shards.
    public var patienceMilliseconds = 30_000
    public var keys = 9_000
    public var connections = 256
    public var threads = 1
    public var body = Body.form
    /// Increments a request.
    public var batch = 1
    public var level = Level.queued
    /// What the server may demand.
    public var token: TokenSecret?
    public var seed: UInt64
    /// What every key of the run begins with, before its number.
    public var keysPrefix: String
    /// Connections that send one increment each and then stay open.
    public var parkedConnections = 0
    /// The server's process, whose memory is looked at; nil for none.
    public var serverProcess: Int32?

    public init(seed: UInt64, keysPrefix: String) {
        self.seed = seed
        self.keysPrefix = keysPrefix
    }

    /// Checks what the parts of the plan mean for one another.
    ///
    /// - Throws: 64, naming the flag.
    public func validate() throws(Failure) {
        try check(1...Self.keysMax, keys, "--keys")
        try check(1...Self.connectionsMax, connections, "--connections")
        try check(0...Self.connectionsMax, parkedConnections, "--connections-only")
        try check(1...min(Self.threadsMax, connections), threads, "--threads")
        try check(1...Limits.requestIncrements, batch, "--batch")
        if case .perSecond(let rate) = rate { try check(1...Self.rateMax, rate, "--rate") }
        if body == .form && batch > 1 {
            throw Failure(.usage, "--body form carries one increment: use --batch 1, or --body json or lines")
        }
        if batch * connections > Self.pendingIncrementsMax {
            throw Failure(
                .usage,
                "--batch \(batch) on --connections \(connections) may leave more than "
                    + "\(Self.pendingIncrementsMax) increments without an answer: lower one of them")
        }
        if serverProcess != nil && parkedConnections == 0 {
            throw Failure(.usage, "--pid is looked at only with --connections-only")
        }
        do throws(KeyError) {
            _ = try Key("\(keysPrefix)\(keys)")  // the longest key of the run
        } catch {
            throw Failure(.usage, "--prefix, --keys-prefix: with it, \(error)")
        }
    }

    private func check(_ range: ClosedRange<Int>, _ value: Int, _ flag: String) throws(Failure) {
        guard !range.contains(value) else { return }
        throw Failure(
            .usage, "\(flag) takes a whole number from \(range.lowerBound) to \(range.upperBound), not \(value)")
    }

    /// Requests that a run at a constant rate sends; nil for the others.
    var requests: Int? {
        guard case .perSecond(let rate) = rate else { return nil }
        return rate * durationMilliseconds / 1_000
    }
}
