// Answers as bytes. The ones of the hot path - one increment, the connection persists - are kept ready made and
// copied out as one piece, or as two around what is left of a token's rate; they are made anew only when the second
// changes.

import ServiceKit
import TallyCore
import Tokens

/// The types of what is answered.
struct ContentType {
    let text: String

    static let json = ContentType(text: "application/json")
    static let problem = ContentType(text: "application/problem+json")
    static let metrics = ContentType(text: MetricPage.contentType)
}

/// Writes answers; one per loop.
struct AnswerWriter {
    private struct Ready {
        /// Empty until it is used in this second.
        var bytes: [UInt8] = []
        /// Where the fields end, and others may follow.
        var fieldsEnd = 0
    }

    /// Answers to one increment, by level.
    private var ready: [Ready]
    private var date: String

    static let interimContinue = Array("HTTP/1.1 100 Continue\r\n\r\n".utf8)

    init() {
        ready = Array(repeating: Ready(), count: Level.allCases.count)
        date = HTTPDate.now()
    }

    /// Called by the sweep, so a `Date` is late by less than a second.
    mutating func updateDate() {
        let now = HTTPDate.now()
        if now == date { return }
        date = now
        for index in ready.indices { ready[index] = Ready() }
    }

    /// 200 or 202 with the number of increments and the level reached.
    mutating func accepted(
        _ count: Int, _ level: Level, isComplete: Bool, _ persistence: Persistence, quota: Quota?,
        to output: inout [UInt8]
    ) {
        guard count == 1, isComplete, persistence == .persists else {
            let status: Status = isComplete ? .ok : .accepted
            document(status, AnswerWriter.body(count, level), .json, persistence, quota: quota, to: &output)
            return
        }
        let index = Int(level.rawValue)
        if ready[index].bytes.isEmpty {
            let body = AnswerWriter.body(count, level)
            document(.ok, body, .json, persistence, quota: nil, to: &ready[index].bytes)
            ready[index].fieldsEnd = ready[index].bytes.count - Self.length(of: body) - 2
        }
        guard let quota else { return output.append(contentsOf: ready[index].bytes) }
        output.append(contentsOf: ready[index].bytes[..<ready[index].fieldsEnd])
        append(quota, to: &output)
        output.append(contentsOf: ready[index].bytes[ready[index].fieldsEnd...])
    }

    private static func body(_ count: Int, _ level: Level) -> [UInt8] {
        var body = Array(#"{"accepted":"#.utf8)
        DecimalText.append(count, to: &body)
        body += Array(#","level":""#.utf8)
        body += Array(level.description.utf8)
        body += Array("\"}".utf8)
        return body
    }

    /// A body; with `isHead` only its length.
    func document(
        _ status: Status, _ body: [UInt8], _ type: ContentType, _ persistence: Persistence, isHead: Bool = false,
        retryAfter: Int? = nil, quota: Quota?, to output: inout [UInt8]
    ) {
        start(status, type, length: Self.length(of: body), persistence, to: &output)
        if let retryAfter { output += "Retry-After: \(retryAfter)\r\n".utf8 }
        append(quota, to: &output)
        finish(body, isHead: isHead, to: &output)
    }

    func problem(
        _ problem: Problem, _ persistence: Persistence, isHead: Bool, quota: Quota? = nil, to output: inout [UInt8]
    ) {
        let body = problem.json
        start(problem.status, .problem, length: Self.length(of: body), persistence, to: &output)
        if let allow = problem.allow { output += "Allow: \(allow)\r\n".utf8 }
        if let seconds = problem.retryAfterSeconds { output += "Retry-After: \(seconds)\r\n".utf8 }
        if let challenge = problem.challenge { output += "WWW-Authenticate: \(challenge)\r\n".utf8 }
        append(quota, to: &output)
        finish(body, isHead: isHead, to: &output)
    }

    /// What a limited token may send, and what is left of it (draft-ietf-httpapi-ratelimit-headers-10).
    private func append(_ quota: Quota?, to output: inout [UInt8]) {
        guard let quota else { return }
        output.append(contentsOf: Self.beforeLimit)
        DecimalText.append(quota.limit, to: &output)
        output.append(contentsOf: Self.beforeRemaining)
        DecimalText.append(quota.remaining, to: &output)
        output.append(contentsOf: Self.afterRemaining)
    }

    private static let beforeLimit = Array("RateLimit-Policy: \"default\";q=".utf8)
    private static let beforeRemaining = Array(
        ";w=\(RateLimiter.windowSeconds)\r\nRateLimit: \"default\";r=".utf8)
    private static let afterRemaining = Array(";t=\(RateLimiter.windowSeconds)\r\n".utf8)

    private func start(
        _ status: Status, _ type: ContentType, length: Int, _ persistence: Persistence, to output: inout [UInt8]
    ) {
        output += "HTTP/1.1 \(status.rawValue) \(status.title)\r\nDate: \(date)\r\nContent-Type: ".utf8
        output += type.text.utf8
        output += "\r\nContent-Length: \(length)\r\n".utf8
        switch persistence {
        case .persists: break
        case .persistsExplicitly: output += "Connection: keep-alive\r\n".utf8
        case .closes: output += "Connection: close\r\n".utf8
        }
    }

    private func finish(_ body: [UInt8], isHead: Bool, to output: inout [UInt8]) {
        output += "\r\n".utf8
        if isHead { return }
        output += body
        if Self.lacksEnd(body) { output.append(UInt8(ascii: "\n")) }
    }

    /// What a terminal shows after an answer begins on a line of its own.
    private static func lacksEnd(_ body: [UInt8]) -> Bool {
        body.last.map { $0 != UInt8(ascii: "\n") } ?? false
    }

    /// With the end of its last line.
    private static func length(of body: [UInt8]) -> Int { body.count + (lacksEnd(body) ? 1 : 0) }
}
