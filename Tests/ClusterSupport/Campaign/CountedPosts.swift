// Requests one by one, each with increments of its own, so that it is known to the increment what a loss must cost.

import TallyCore

/// A cluster of pieces, its ledger, and requests that each become one batch a partition. Owned by one thread.
public final class CountedPosts {
    public let pieces: ManualCluster
    public private(set) var ledger = Ledger()
    /// Keys of each request.
    private let lanes: Int
    private var count = 0

    public init(_ pieces: ManualCluster, lanes: Int) {
        self.pieces = pieces
        self.lanes = lanes
    }

    /// Increments of so many requests.
    public func increments(_ requests: Int) -> Int { requests * lanes }

    /// Batches of so many requests, sent one after the other, while keys are spread over so many partitions.
    public func batches(_ requests: Int) -> Int {
        let partitioner = Partitioner(partitions: pieces.partitions)
        let touched = Set(keys.map { partitioner.partition(ofHash: XXH64.hash(Array($0.utf8), seed: 0)) })
        return requests * touched.count
    }

    private var keys: [String] { (0..<lanes).map { "planted \($0)" } }

    /// Posts to a node; what each was answered goes to the ledger.
    ///
    /// - Returns: how many were acknowledged.
    @discardableResult
    public func post(_ requests: Int, to web: Int, level: String, idempotencyKeys: Bool = false) -> Int {
        var acknowledged = 0
        for _ in 0..<requests {
            var posting = Posting()
            posting.digit = count
            posting.tracerKeys = keys
            count += 1
            precondition(count <= Ledger.digitsOfKey, "a planted sequence has few requests")
            let name = idempotencyKeys ? "planted-\(posting.digit)" : nil
            let fate = fate(of: send(posting, to: web, level: level, idempotencyKey: name))
            ledger.record(posting, fate, by: pieces.ports[web])
            if fate == .acknowledged { acknowledged += 1 }
        }
        return acknowledged
    }

    /// Sends a request again; its increments must count once in all.
    public func again(_ digit: Int, to web: Int, level: String) -> Fate {
        var posting = Posting()
        posting.digit = digit
        posting.tracerKeys = keys
        return fate(of: send(posting, to: web, level: level, idempotencyKey: "planted-\(digit)"))
    }

    private func send(_ posting: Posting, to web: Int, level: String, idempotencyKey: String?) -> HTTPAnswer? {
        var request = HTTPRequest("/increments?level=\(level)")
        request.headers = [("Content-Type", "text/plain"), ("Prefer", "wait=2")]
        if let idempotencyKey { request.headers.append(("Idempotency-Key", idempotencyKey)) }
        request.body = Array(RequestMaker.lines(posting.increments).utf8)
        return Loopback.ask(pieces.ports[web], request)
    }

    private func fate(of answer: HTTPAnswer?) -> Fate {
        switch (answer?.status, answer?.level) {
        case (200, _), (202, "queued"), (202, "stored"): .acknowledged
        case (503, _): .refused
        default: .unknown
        }
    }

    /// As `Ledger.expose`, beginning with what the files hold.
    public func expose(by webs: [Int]? = nil, except safe: [String: Int64]) -> Int {
        let sources = webs.map { Set($0.map { pieces.ports[$0] }) }
        return ledger.expose(by: sources, except: safe)
    }
}

/// A batch range as the product names it: a producer and sequences.
public struct NamedRange: Hashable, Sendable, CustomStringConvertible {
    public let producer: String
    public let first: UInt64
    public let last: UInt64

    public var batches: Int { Int(last - first + 1) }
    public var description: String { "\(producer):\(first)-\(last)" }

    /// All of a text, such as `293f67142273f9249ae9384151cbdda7 38-54` and `...: 3`; each once.
    public static func all(in text: String) -> [NamedRange] {
        var found: [NamedRange] = []
        for range in each(in: text) where !found.contains(range) { found.append(range) }
        return found
    }

    /// As `all`, one for each time that it is named as missing, be it in several partitions; commands do not count.
    public static func missing(in text: String) -> [NamedRange] {
        text.split(separator: "\n").filter { !$0.contains("--accept-loss") }.flatMap { each(in: String($0)) }
    }

    /// What a text offers to give to `repair --accept-loss`, each once.
    public static func options(in text: String) -> [String] {
        let words = text.split { " `\n".contains($0) }.map { String($0) }
        let options = zip(words, words.dropFirst()).filter { $0.0 == "--accept-loss" }.map(\.1)
        return options.reduce(into: []) { found, option in if !found.contains(option) { found.append(option) } }
    }

    private static func each(in text: String) -> [NamedRange] {
        var found: [NamedRange] = []
        let words = text.split { " ,:;()`\n".contains($0) }
        for (index, word) in words.enumerated() where word.count == 32 && word.allSatisfy(\.isHexDigit) {
            let next = words[(index + 1)...].first { $0.first?.isNumber == true }
            let numbers = next.map { $0.split(separator: "-").compactMap { UInt64($0) } } ?? []
            guard let first = numbers.first, let last = numbers.last else { continue }
            found.append(NamedRange(producer: String(word), first: first, last: last))
        }
        return found
    }
}
