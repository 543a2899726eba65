// A loop front without a network: NIO's embedded channel and loop, a service that records what it is given, and
// answers read back from the bytes. Time stands still unless a test advances it.

import NIOCore
import NIOEmbedded
import TallyCore
import Testing

@testable import HTTPFront

final class RecordingService: IncrementService {
    var submission = Submission.answered(.queued)
    var isReady = true
    private(set) var keys: [String] = []
    private(set) var deltas: [Int64] = []
    private(set) var requests: [IncrementRequest] = []
    private(set) var tickets: [AnswerTicket] = []

    func submit(
        _ increments: inout IncrementBuffer, _ request: IncrementRequest, _ ticket: AnswerTicket
    ) -> Submission {
        requests.append(request)
        tickets.append(ticket)
        if case .refused = submission { return submission }
        for item in increments.items {
            keys.append(String(decoding: increments.key(of: item), as: UTF8.self))
            deltas.append(item.delta)
        }
        return submission
    }

    func readiness() -> Readiness { Readiness(isReady: isReady, json: #"{"ready":\#(isReady)}"#) }

    /// What was counted, as `key=delta` words.
    var counted: [String] { zip(keys, deltas).map { "\($0)=\($1)" } }
}

struct Answer: Equatable, CustomStringConvertible {
    var status: Int
    var fields: [String: String]
    var body: String

    var description: String { "\(status) \(body)" }

    /// Reads answers one after the other; `isHead` means that no body follows a length.
    static func all(in bytes: [UInt8], isHead: Bool = false) -> [Answer] {
        var answers: [Answer] = []
        var rest = bytes[...]
        while !rest.isEmpty {
            guard let end = rest.indices.first(where: { rest[$0...].starts(with: "\r\n\r\n".utf8) }) else { break }
            let lines = String(decoding: rest[..<end], as: UTF8.self).split(separator: "\r\n")
            var fields: [String: String] = [:]
            for line in lines.dropFirst() {
                let parts = line.split(separator: ":", maxSplits: 1)
                fields[parts[0].lowercased()] = String(parts[1].dropFirst())
            }
            rest = rest[(end + 4)...]
            let length = isHead ? 0 : Int(fields["content-length"] ?? "0") ?? 0
            let status = Int(lines[0].split(separator: " ")[1]) ?? 0
            answers.append(
                Answer(status: status, fields: fields, body: String(decoding: rest.prefix(length), as: UTF8.self)))
            rest = rest.dropFirst(length)
        }
        return answers
    }
}

/// A loop front with any number of embedded connections.
final class EmbeddedFront {
    let loop = EmbeddedEventLoop()
    let service = RecordingService()
    let handle: LoopHandle
    let front: LoopFront

    init(limits: HTTPLimits = HTTPLimits(), connectionsMax: Int = 100) {
        handle = LoopHandle(index: 0, eventLoop: loop)
        front = LoopFront(eventLoop: loop, limits: limits, connectionsMax: connectionsMax, service: service)
        handle.attach(front)
        front.startSweeping()
    }

    func connect() throws -> Client {
        let channel = EmbeddedChannel(handler: Connection(front: front), loop: loop)
        try channel.connect(to: SocketAddress(unixDomainSocketPath: "/embedded")).wait()
        return Client(channel: channel)
    }

    func complete(_ index: Int, _ outcome: Outcome = .reached(.queued)) {
        handle.complete(service.tickets[index], outcome)
    }

    func advance(milliseconds: Int64) {
        loop.advanceTime(by: .milliseconds(milliseconds))
    }
}

final class Client {
    let channel: EmbeddedChannel

    init(channel: EmbeddedChannel) {
        self.channel = channel
    }

    var isOpen: Bool { channel.isActive }

    func send(_ bytes: [UInt8]) throws {
        guard isOpen else { return }
        try channel.writeInbound(ByteBuffer(bytes: bytes))
    }

    func send(_ text: String) throws {
        try send(Array(text.utf8))
    }

    /// Everything written since the last call, one element per write.
    func writes() throws -> [[UInt8]] {
        channel.embeddedEventLoop.run()
        var writes: [[UInt8]] = []
        while let buffer = try channel.readOutbound(as: ByteBuffer.self) {
            writes.append(Array(buffer.readableBytesView))
        }
        return writes
    }

    func answers(isHead: Bool = false) throws -> [Answer] {
        Answer.all(in: Array(try writes().joined()), isHead: isHead)
    }
}

/// A POST with its length.
func post(_ target: String, _ type: String?, _ body: String, _ fields: String = "") -> String {
    let contentType = type.map { "Content-Type: \($0)\r\n" } ?? ""
    return
        "POST \(target) HTTP/1.1\r\nHost: h\r\n\(contentType)\(fields)Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
}

let formType = "application/x-www-form-urlencoded"
let one = post("/increment", formType, "key=a&value=1")

/// The answers to `request` on a connection of its own.
func answers(to request: String, _ limits: HTTPLimits = HTTPLimits()) throws -> [Answer] {
    let client = try EmbeddedFront(limits: limits).connect()
    try client.send(request)
    return try client.answers()
}
