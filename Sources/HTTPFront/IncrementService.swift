// What the HTTP side asks of the side behind it, and the words in which they talk.
//
// One service belongs to one event loop and is called on it alone, so it needs no lock. The front hands over whole
// requests; the service either answers at once or keeps the ticket and answers later through its `LoopHandle`.
// A service that does not count, such as that of an admin listener, has pages only.

public import TallyCore

/// What stands behind a server. Every call comes on the loop that the service was made for.
public protocol HTTPService: AnyObject {
    /// Whether the role does its work now: the answer to `GET /readyz`.
    func readiness() -> Readiness

    /// What stands on a page now; nil if this server has no such page.
    func document(_ page: Page) -> [UInt8]?

    /// Another one makes pages that were written before too old to be shown.
    var pageVersion: UInt64 { get }
}

extension HTTPService {
    public var pageVersion: UInt64 { 0 }
}

/// What can be read of a role.
public enum Page: Hashable, Sendable {
    /// What this loop has counted and not yet handed on, as a JSON object: `GET /ledger`.
    case ledger
    /// How the role does, as a JSON object: `GET /status`.
    case status
    /// The same in figures, in the text format of Prometheus: `GET /metrics`.
    case metrics
}

/// Counts increments.
public protocol IncrementService: HTTPService {
    /// Counts all of `increments` (at least one) or none.
    ///
    /// The buffer is the loop's and is emptied after the call; what is to be kept is copied out. After `.pending`,
    /// `LoopHandle.complete` with `ticket` answers; it must not be called before this returned.
    func submit(
        _ increments: inout IncrementBuffer, _ request: IncrementRequest, _ ticket: AnswerTicket
    ) -> Submission
}

/// What a request asks for besides its increments.
public struct IncrementRequest: Hashable, Sendable {
    /// The level at which the client wants its answer.
    public var level: Level
    /// How long it may take before the level reached so far is the answer; 0 asks for that at once.
    public var waitMilliseconds: UInt64
    /// 1...128 visible ASCII characters, unquoted.
    public var idempotencyKey: [UInt8]?

    public init(level: Level, waitMilliseconds: UInt64, idempotencyKey: [UInt8]? = nil) {
        self.level = level
        self.waitMilliseconds = waitMilliseconds
        self.idempotencyKey = idempotencyKey
    }
}

/// Names one request of one connection. It stays harmless when the connection has gone.
public struct AnswerTicket: Hashable, Sendable {
    let connection: UInt32
    let generation: UInt32
    let sequence: UInt32

    public init(connection: UInt32, generation: UInt32, sequence: UInt32) {
        self.connection = connection
        self.generation = generation
        self.sequence = sequence
    }
}

/// What became of a request when it was handed over.
public enum Submission: Sendable {
    /// Counted, and this level is reached.
    case answered(Level)
    /// Counted in memory; the ticket will be completed.
    case pending
    /// Nothing of it is counted.
    case refused(Refusal)
}

/// How a pending request ends: 200 when the level asked for is reached, 202 when it is a lower one.
public enum Outcome: Sendable {
    case reached(Level)
    case refused(Refusal)
}

/// Why nothing of a request was counted.
public enum Refusal: Hashable, Sendable {
    /// 503 with `Retry-After`.
    case unavailable(reason: String, retryAfterSeconds: Int)
    /// 422.
    case unprocessable(detail: String)
}

/// The answer to `GET /readyz`: 200 or 503.
public struct Readiness: Hashable, Sendable {
    public var isReady: Bool
    /// A JSON object.
    public var json: String

    public init(isReady: Bool, json: String) {
        self.isReady = isReady
        self.json = json
    }
}
