// A Redis, or something else behind its address, whose answer has no end: read up to a bound, then left.

import ClusterSupport
import Glibc
import RedisQueue
import ServiceKit
import Synchronization
import TestSupport
import Testing

@testable import TallyCore

/// Lets everybody log in, and answers `GET` without end.
private final class EndlessRedis: Sendable {
    let port: UInt16
    private let listener: Int32
    private let thread: ServiceThread

    /// - Parameters:
    ///   - head: how the answer begins.
    ///   - piece: what is repeated then.
    init(head: String, piece: String) throws {
        let (listener, port) = try Loopback.bind()
        guard listen(listener, 8) == 0 else { throw HarnessError("cannot listen") }
        self.port = port
        self.listener = listener
        let sent = Sent()
        self.counter = sent
        thread = ServiceThread(name: "endless-redis") {
            while true {
                let client = accept(listener, nil, nil)
                guard client >= 0 else { return }
                Self.serve(client, Array(head.utf8), piece, sent)
                close(client)
            }
        }
    }

    private final class Sent: Sendable {
        let bytes = Atomic<Int>(0)
    }
    private let counter: Sent

    var sentBytes: Int { counter.bytes.load(ordering: .relaxed) }
    var link: RedisLink { RedisLink(url: RedisURL(address: .tcp(host: "127.0.0.1", port: port))) }

    func stop() {
        shutdown(listener, Int32(SHUT_RDWR))
        thread.join()
        close(listener)
    }

    private static func serve(_ client: Int32, _ head: [UInt8], _ piece: String, _ sent: Sent) {
        var question = [UInt8](repeating: 0, count: 4_096)
        while true {
            let count = read(client, &question, question.count)
            guard count > 0 else { return }
            let text = String(decoding: question[..<count], as: UTF8.self)
            if text.contains("GET") { break }
            guard send(client, "+OK\r\n", 5, Int32(MSG_NOSIGNAL)) == 5 else { return }
        }
        let repeated = Array(String(repeating: piece, count: 65_536 / piece.utf8.count).utf8)
        var next = head
        while true {
            let count = send(client, next, next.count, Int32(MSG_NOSIGNAL))
            guard count == next.count else { return }
            sent.bytes.add(count, ordering: .relaxed)
            next = repeated
        }
    }
}

@Suite struct EndlessAnswerTests {
    /// What sockets hold on the way.
    private static let socketBytes = 16 << 20

    @Test(arguments: [
        ("$536870912\r\n", "x", 1), ("*100000000\r\n", ":1\r\n", 5), ("*1\r\n*1\r\n*100000000\r\n", "$-1\r\n", 4),
    ])
    func anAnswerThatIsWaitedFor(head: String, piece: String, share: Int) throws {
        let redis = try EndlessRedis(head: head, piece: piece)
        defer { redis.stop() }
        let connection = try RedisConnection(redis.link)
        #expect(throws: RedisError.overlong(bytesMax: Limits.answerBytes)) {
            try connection.command(RedisCommand("GET", "a"))
        }
        #expect(connection.failure == .overlong(bytesMax: Limits.answerBytes))
        #expect(redis.sentBytes <= Limits.answerBytes / share + Self.socketBytes)
    }

    /// Each piece of it would be looked through again with the next one.
    @Test(arguments: ["+", "-", ":", "$", "*", "*2\r\n+"])
    func aLineThatDoesNotEnd(head: String) throws {
        let redis = try EndlessRedis(head: head, piece: "7")
        defer { redis.stop() }
        let connection = try RedisConnection(redis.link)
        #expect(throws: RedisError.overlong(bytesMax: Limits.answerLineBytesMax)) {
            try connection.command(RedisCommand("GET", "a"))
        }
        #expect(redis.sentBytes <= Limits.answerLineBytesMax + Self.socketBytes)
    }

    @Test(arguments: [("$536870912\r\n", "x"), ("*100000000\r\n", ":1\r\n")])
    func answersToAFlight(head: String, piece: String) throws {
        let redis = try EndlessRedis(head: head, piece: piece)
        defer { redis.stop() }
        let queue = try ProducerQueue(
            connection: try RedisConnection(redis.link), names: try KeyNames(namespace: "web"))
        var landed = queue.send([.readTopology, .readTime])
        try #require(
            waitUntil {
                landed = landed ?? (queue.isWriting ? queue.write() : queue.read())
                return landed != nil
            })
        #expect(landed?.answers == [.unknown, .unknown])
        #expect(landed?.failure == .overlong(bytesMax: Limits.flightAnswerBytes))
        #expect(!queue.isConnected)
        #expect(redis.sentBytes <= Limits.flightAnswerBytes + Self.socketBytes)
    }

    @Test func theSentence() {
        let error = RedisError.overlong(bytesMax: Limits.answerBytes)
        #expect(error.description == "Redis answered with more than 128 MiB, which nothing that was asked takes")
        #expect(!error.passesWithTime)
    }
}
