// A loop front without a network: a loop that turns when the test says so, socket pairs, a service that records what it
// is given, and answers read back from the bytes. Time stands still unless a test advances it.
//
// The pairs are of SOCK_SEQPACKET: one write of the front is one message for the test.

import Glibc
import Synchronization
import TallyCore
import Testing
import Tokens

@testable import HTTPFront
@testable import ServiceKit

final class RecordingService: IncrementService {
    var submission = Submission.answered(.queued)
    var isReady = true
    /// What stands on its only page, if not the number of keys.
    var ledger: [UInt8]?
    /// How often it has written one.
    private(set) var documents = 0
    private(set) var readinesses = 0
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

    func readiness() -> Readiness {
        readinesses += 1
        return Readiness(isReady: isReady, json: #"{"ready":\#(isReady)}"#)
    }

    func document(_ page: Page) -> [UInt8]? {
        documents += 1
        if let ledger { return page == .ledger ? ledger : nil }
        return page == .ledger ? Array(#"{"counted":\#(keys.count)}"#.utf8) : nil
    }

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
            let body = String(decoding: rest.prefix(length), as: UTF8.self)
            if rest.count >= length { #expect(body.isEmpty || body.hasSuffix("\n"), "its last line has no end") }
            answers.append(
                Answer(status: status, fields: fields, body: body.hasSuffix("\n") ? String(body.dropLast()) : body))
            rest = rest.dropFirst(length)
        }
        return answers
    }
}

private final class ManualClock: Sendable {
    let milliseconds = Atomic<UInt64>(1_000)
}

/// A loop front with any number of embedded connections. Used by one thread.
final class EmbeddedFront {
    let loop: EventLoop
    let service = RecordingService()
    let handle: LoopHandle
    let front: LoopFront
    private let clock = ManualClock()

    init(
        limits: HTTPLimits = HTTPLimits(), connectionsMax: Int = 100, access: Access? = nil, hosts: HostRules? = nil
    ) {
        let clock = clock
        do throws(Failure) {
            loop = try EventLoop { clock.milliseconds.load(ordering: .relaxed) }
        } catch {
            preconditionFailure("\(error)")
        }
        loop.turn(isWaiting: false)
        handle = LoopHandle(index: 0, loop: loop)
        var limits = limits
        limits.connections = connectionsMax
        front = LoopFront(loop: loop, of: 1, limits: limits, access: access, hosts: hosts, service: service)
        handle.attach(front)
        front.startSweeping()
    }

    deinit { front.closeAll() }

    /// - Parameter bufferBytes: how much the front's socket takes before it is full; nil for the system's default.
    func connect(bufferBytes: Int32? = nil) throws -> Client {
        var ends: [Int32] = [-1, -1]
        let kind = SOCK_SEQPACKET.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue
        try #require(socketpair(AF_UNIX, Int32(kind), 0, &ends) == 0, "socketpair: errno \(errno)")
        if var bytes = bufferBytes {
            setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &bytes, socklen_t(MemoryLayout<Int32>.size))
        }
        front.adopt(ends[0])
        return Client(ends[1], self)
    }

    /// Lets everything happen that can.
    func turn() {
        for _ in 0..<4 { loop.turn(isWaiting: false) }
    }

    func complete(_ index: Int, _ outcome: Outcome = .reached(.queued)) {
        handle.complete(service.tickets[index], outcome)
    }

    func advance(milliseconds: Int64) {
        var rest = UInt64(milliseconds)
        while rest > 0 {
            let step = min(rest, front.limits.sweepMilliseconds)
            clock.milliseconds.add(step, ordering: .relaxed)
            rest -= step
            turn()
        }
    }
}

final class Client {
    private var descriptor: Int32
    private let embedded: EmbeddedFront

    init(_ descriptor: Int32, _ embedded: EmbeddedFront) {
        self.descriptor = descriptor
        self.embedded = embedded
    }

    deinit { close() }

    /// Whether the front may still send.
    var isOpen: Bool {
        embedded.turn()
        var entry = pollfd(fd: descriptor, events: Int16(0x2000), revents: 0)  // POLLRDHUP
        return poll(&entry, 1, 0) == 0
    }

    func send(_ bytes: [UInt8]) throws {
        guard isOpen, !bytes.isEmpty else { return }
        let count = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
        try #require(count == bytes.count, "send: \(count), errno \(errno)")
        embedded.turn()
    }

    func send(_ text: String) throws {
        try send(Array(text.utf8))
    }

    /// Sends although the front has sent its last answer; false if it has closed the connection.
    func push(_ bytes: [UInt8]) -> Bool {
        let count = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
        embedded.turn()
        return count == bytes.count
    }

    func close() {
        if descriptor >= 0 { Glibc.close(descriptor) }
        descriptor = -1
        embedded.turn()
    }

    /// Everything written since the last call, one element per write.
    func writes() throws -> [[UInt8]] {
        embedded.turn()
        var writes: [[UInt8]] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 18)
        while true {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            if count <= 0 { return writes }
            writes.append(Array(buffer[..<count]))
        }
    }

    func answers(isHead: Bool = false) throws -> [Answer] {
        Answer.all(in: Array(try writes().joined()), isHead: isHead)
    }
}

/// A POST with its length.
func post(_ target: String, _ type: String?, _ body: String, _ fields: String = "") -> String {
    let contentType = type.map { "Content-Type: \($0)\r\n" } ?? ""
    let head = "POST \(target) HTTP/1.1\r\nHost: localhost\r\n\(contentType)\(fields)"
    return "\(head)Content-Length: \(body.utf8.count)\r\n\r\n\(body)"
}

let formType = "application/x-www-form-urlencoded"
let one = post("/increment", formType, "key=a&value=1")

/// The answers to `request` on a connection of its own.
func answers(to request: String, _ limits: HTTPLimits = HTTPLimits()) throws -> [Answer] {
    let client = try EmbeddedFront(limits: limits).connect()
    try client.send(request)
    return try client.answers()
}
