// Answers as bytes. The ones of the hot path - one increment, the connection persists - are kept ready made and
// handed out without a copy; they are made anew only when the second changes.

import NIOCore
import TallyCore

/// Writes answers; one per loop.
struct AnswerWriter {
    /// Ready answers to one increment at each level; empty until used in this second.
    private var ready: [ByteBuffer]
    private var date: String

    static let interimContinue: StaticString = "HTTP/1.1 100 Continue\r\n\r\n"

    init() {
        ready = Array(repeating: ByteBuffer(), count: Level.allCases.count)
        date = HTTPDate.now()
    }

    /// Called by the sweep, so a `Date` is late by less than a second.
    mutating func updateDate() {
        let now = HTTPDate.now()
        if now == date { return }
        date = now
        for index in ready.indices { ready[index] = ByteBuffer() }
    }

    /// 200 or 202 with the number of increments and the level reached.
    mutating func accepted(
        _ count: Int, _ level: Level, isComplete: Bool, _ persistence: Persistence, to output: inout ByteBuffer
    ) {
        guard count == 1, isComplete, persistence == .persists else {
            let status: Status = isComplete ? .ok : .accepted
            json(status, AnswerWriter.body(count, level), persistence, to: &output)
            return
        }
        let index = Int(level.rawValue)
        if ready[index].readableBytes == 0 {
            json(.ok, AnswerWriter.body(count, level), persistence, to: &ready[index])
        }
        if output.readableBytes == 0 {
            output = ready[index]
        } else {
            output.writeImmutableBuffer(ready[index])
        }
    }

    private static func body(_ count: Int, _ level: Level) -> [UInt8] {
        var body = Array(#"{"accepted":"#.utf8)
        DecimalText.append(count, to: &body)
        body += Array(#","level":""#.utf8)
        body += Array(level.description.utf8)
        body += Array("\"}".utf8)
        return body
    }

    /// `body` as JSON; with `isHead` only its length.
    func json(
        _ status: Status, _ body: [UInt8], _ persistence: Persistence, isHead: Bool = false, retryAfter: Int? = nil,
        to output: inout ByteBuffer
    ) {
        start(status, type: "application/json", length: body.count, persistence, to: &output)
        if let retryAfter { output.writeString("Retry-After: \(retryAfter)\r\n") }
        finish(body, isHead: isHead, to: &output)
    }

    func problem(_ problem: Problem, _ persistence: Persistence, isHead: Bool, to output: inout ByteBuffer) {
        let body = problem.json
        start(problem.status, type: "application/problem+json", length: body.count, persistence, to: &output)
        if let allow = problem.allow { output.writeString("Allow: \(allow)\r\n") }
        if let seconds = problem.retryAfterSeconds { output.writeString("Retry-After: \(seconds)\r\n") }
        finish(body, isHead: isHead, to: &output)
    }

    private func start(
        _ status: Status, type: StaticString, length: Int, _ persistence: Persistence, to output: inout ByteBuffer
    ) {
        output.writeString("HTTP/1.1 \(status.rawValue) \(status.title)\r\nDate: \(date)\r\nContent-Type: ")
        output.writeStaticString(type)
        output.writeString("\r\nContent-Length: \(length)\r\n")
        switch persistence {
        case .persists: break
        case .persistsExplicitly: output.writeStaticString("Connection: keep-alive\r\n")
        case .closes: output.writeStaticString("Connection: close\r\n")
        }
    }

    private func finish(_ body: [UInt8], isHead: Bool, to output: inout ByteBuffer) {
        output.writeStaticString("\r\n")
        if !isHead { output.writeBytes(body) }
    }
}
