// Requests of every form that the HTTP contract knows, each with the increments that it asks for.
//
// Single increments go as a form, as a query string and as JSON; several as a JSON object, a JSON array, NDJSON and
// text lines. Keys contain spaces, slashes and letters beyond ASCII, so that each encoding has something to encode.

/// One writer's requests, in order.
public struct RequestMaker {
    /// A request and what it asks for.
    public struct Made {
        public var request: HTTPRequest
        public let posting: Posting
        public let isIdempotent: Bool
    }

    /// Tracer keys that one request may touch, so that it reaches several partitions.
    private static let lanes = 4
    private static let bulkKeys = 400
    private let hasBulk: Bool
    private let waitSeconds: Int?
    private let storedOnceIn: Int
    private let name: String
    private var random: SeededRandom
    private var count = 0

    /// - Parameters:
    ///   - hasBulk: whether there are increments on shared keys, too.
    ///   - waitSeconds: for the level, in every request; nil for the product's default.
    ///   - storedOnceIn: one request in so many waits until it is stored.
    public init(
        seed: UInt64, writer: Int, hasBulk: Bool = true, waitSeconds: Int? = nil, storedOnceIn: Int = 10
    ) {
        self.storedOnceIn = storedOnceIn
        self.hasBulk = hasBulk
        self.waitSeconds = waitSeconds
        name = "\(seed).\(writer)"
        random = SeededRandom(seed: seed, part: writer)
    }

    public mutating func next() -> Made {
        let isSingle = Bool.random(using: &random)
        let posting = makePosting(isSingle: isSingle)
        var request = isSingle ? single(posting.increments[0]) : several(posting.increments)
        let isIdempotent = random.once(in: 5)
        if isIdempotent { request.headers.append(("Idempotency-Key", "\"\(name).\(count)\"")) }
        if random.once(in: storedOnceIn) {
            request.target += request.target.contains("?") ? "&level=stored" : "?level=stored"
            // Short, because while a consumer is dead each of these takes all of it.
            request.headers.append(("Prefer", "wait=1"))
        } else if let waitSeconds {
            request.headers.append(("Prefer", "wait=\(waitSeconds)"))
        }
        count += 1
        return Made(request: request, posting: posting, isIdempotent: isIdempotent)
    }

    private mutating func makePosting(isSingle: Bool) -> Posting {
        var posting = Posting()
        posting.digit = count % Ledger.digitsOfKey
        let generation = count / Ledger.digitsOfKey
        let lanes = isSingle ? 1 : RequestMaker.lanes
        posting.tracerKeys = (0..<lanes).map { "t \(name)/\($0) é \(generation)" }
        if !isSingle, hasBulk {
            for _ in 0..<Int.random(in: 0...20, using: &random) {
                let key = "b ü+/\(Int.random(in: 0..<RequestMaker.bulkKeys, using: &random))"
                posting.bulk.append(Posting.Increment(key, Int64.random(in: 1...9, using: &random)))
            }
        }
        return posting
    }

    private mutating func single(_ increment: Posting.Increment) -> HTTPRequest {
        var request = HTTPRequest("/increment")
        let form = "key=\(RequestMaker.percent(increment.key))&value=\(increment.delta)"
        switch Int.random(in: 0..<3, using: &random) {
        case 0:
            request.headers = [("Content-Type", "application/x-www-form-urlencoded")]
            request.body = Array(form.utf8)
        case 1: request.target += "?" + form
        default:
            request.headers = [("Content-Type", "application/json; charset=utf-8")]
            request.body = Array(RequestMaker.object(increment).utf8)
        }
        return request
    }

    private mutating func several(_ increments: [Posting.Increment]) -> HTTPRequest {
        var request = HTTPRequest("/increments")
        let type: String
        let text: String
        switch Int.random(in: 0..<4, using: &random) {
        case 0:
            type = "application/json"
            text = "{" + increments.map { "\"\($0.key)\":\($0.delta)" }.joined(separator: ",") + "}"
        case 1:
            type = "application/json"
            text = "[" + increments.map(RequestMaker.object).joined(separator: ", ") + "]"
        case 2:
            type = "application/x-ndjson"
            text = increments.map { RequestMaker.object($0) + "\n" }.joined()
        default:
            type = "text/plain"
            text = RequestMaker.lines(increments)
        }
        request.headers = [("Content-Type", type)]
        request.body = Array(text.utf8)
        return request
    }

    /// Key, TAB, number, one a line.
    public static func lines(_ increments: [Posting.Increment]) -> String {
        increments.map { "\($0.key)\t\($0.delta)\n" }.joined()
    }

    /// Keys of the tests hold nothing that JSON escapes.
    private static func object(_ increment: Posting.Increment) -> String {
        #"{"key":"\#(increment.key)","value":\#(increment.delta)}"#
    }

    private static func percent(_ text: String) -> String {
        let digits = Array("0123456789ABCDEF")
        return text.utf8.map { byte in
            let isPlain = byte < 0x80 && (Character(Unicode.Scalar(byte)).isLetter || (48...57).contains(byte))
            return isPlain ? String(Unicode.Scalar(byte)) : "%\(digits[Int(byte >> 4)])\(digits[Int(byte & 15)])"
        }.joined()
    }
}
