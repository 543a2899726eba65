// What the connections of a loop may hold: answers that nobody takes, and requests that do not end.

import TallyCore
import Testing

@testable import HTTPFront

private func get(_ path: String) -> String { "GET \(path) HTTP/1.1\r\nHost: h\r\n\r\n" }

/// The first bytes of a request whose body does not end.
private func unfinished(bytes: Int, isChunked: Bool = false) -> [UInt8] {
    let framing = isChunked ? "Transfer-Encoding: chunked\r\n\r\nf0000\r\n" : "Content-Length: 1000000\r\n\r\n"
    let head = "POST /increments HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\n\(framing)"
    return Array(head.utf8) + Array(repeating: UInt8(ascii: "k"), count: bytes - head.utf8.count)
}

@Suite struct MemoryTests {
    private static let pageBytes = 8 << 10
    private static let unsentBytes = 32 << 10

    @Test(arguments: [0, 1])
    func unsentAnswersStopTheReading(pending: Int) throws {
        var limits = HTTPLimits()
        limits.unsentBytes = Self.unsentBytes
        limits.unansweredRequests = 10_000
        let embedded = EmbeddedFront(limits: limits)
        embedded.service.ledger = Array(repeating: 0x20, count: Self.pageBytes)
        embedded.service.submission = .pending
        let client = try embedded.connect(bufferBytes: 128 << 10)
        // Behind an increment whose answer is not known, what is written waits in the queue of answers.
        try client.send(String(repeating: one, count: pending) + String(repeating: get("/ledger"), count: 300))
        let longest = Self.unsentBytes + Self.pageBytes + 1_024
        let requests = 64 << 10
        embedded.turn()
        embedded.turn()
        #expect(embedded.front.memory.heldBytes > 0)
        #expect(embedded.front.memory.heldBytes <= longest * 2 + requests, "storage grows by doubling")
        if pending == 1 { embedded.complete(0) }
        var answered = 0
        for _ in 0..<600 where answered < 300 + pending { answered += try client.answers().count }
        #expect(answered == 300 + pending, "it goes on when they are taken")
        #expect(embedded.front.memory.heldBytes == 0)
        #expect(embedded.service.documents * 2 <= 300, "\(embedded.service.documents) pages were written")
    }

    @Test func aPageIsWrittenOnceATurn() throws {
        let embedded = EmbeddedFront()
        let client = try embedded.connect()
        try client.send(String(repeating: get("/ledger") + get("/readyz"), count: 500))
        var answered = 0
        for _ in 0..<100 where answered < 1_000 { answered += try client.answers().count }
        #expect(answered == 1_000)
        #expect(embedded.service.documents < 10)
        #expect(embedded.service.readinesses < 10)
    }

    @Test func aPageIsKeptForTenTimesItsCost() {
        var now: UInt64 = 0
        var written = 0
        var cache = PageCache { now }
        func ask(turn: UInt64, version: UInt64 = 0, cost: UInt64 = 7) -> Int {
            _ = cache.document(.ledger, turn: turn, version: version) {
                now += cost
                written += 1
                return []
            }
            return written
        }
        #expect(ask(turn: 1) == 1)
        now = 76
        #expect(ask(turn: 2) == 1)
        now = 77
        #expect(ask(turn: 3) == 2)
        now = 10_000
        #expect(ask(turn: 3) == 2, "once a turn")
        #expect(ask(turn: 4, cost: 1_000_000_000) == 3)
        now += 49_999_999
        #expect(ask(turn: 5) == 3)
        #expect(ask(turn: 6, version: 1, cost: 0) == 4, "Redis may know more than it shows")
        #expect(ask(turn: 7, version: 1, cost: 1_000_000_000) == 5)
        now += 50_000_000
        #expect(ask(turn: 8, version: 1) == 6, "a thread that was held up does not make a page good for long")
    }

    @Test(arguments: [false, true])
    func unfinishedRequestsAreBoundedInAll(isChunked: Bool) throws {
        var limits = HTTPLimits()
        limits.bodyBytes = 1_000_000
        limits.memoryBytes = 1
        let embedded = EmbeddedFront(limits: limits, connectionsMax: 1_000)
        let bound = embedded.front.memory.bytesMax
        #expect(bound == 4 * (limits.bodyBytes + limits.headerBytes))
        var clients: [Client] = []
        for _ in 0..<(2 * bound / 60_000) {
            let client = try embedded.connect()
            try client.send(unfinished(bytes: 60_000, isChunked: isChunked))
            clients.append(client)
        }
        #expect(embedded.front.memory.heldBytes <= bound + (64 << 10))
        #expect(try clients[0].answers() == [], "it is not read, but not refused yet")
        let refused = try #require(clients.last).answers()
        #expect(refused.map(\.status) == [503])
        #expect(refused[0].fields["retry-after"] == "1")
        #expect(refused[0].fields["connection"] == "close")
        // What needs no memory of its own is served.
        let small = try embedded.connect()
        try small.send(one)
        #expect(try small.answers().map(\.status) == [200])
        clients = []
        embedded.turn()
        #expect(embedded.front.memory.heldBytes == 0)
        let large = try embedded.connect()
        try large.send(unfinished(bytes: 60_000))
        #expect(large.isOpen)
    }

    /// A front whose memory is tight, and who holds it.
    private func tightFront() throws -> (EmbeddedFront, [Client]) {
        var limits = HTTPLimits()
        limits.bodyBytes = 1_000_000
        limits.memoryBytes = 1
        let embedded = EmbeddedFront(limits: limits, connectionsMax: 1_000)
        var clients: [Client] = []
        while !embedded.front.memory.isTight {
            clients.append(try embedded.connect())
            try clients[clients.count - 1].send(unfinished(bytes: 60_000))
        }
        return (embedded, clients)
    }

    @Test func whoHoldsMuchWaitsForMemory() throws {
        var (embedded, clients) = try tightFront()
        // One more has begun its body before, and goes on when others have gone.
        let body = String(repeating: "k\t1\n", count: 6_000)
        let request = Array(post("/increments", "text/plain", body).utf8)
        let patient = try embedded.connect()
        try patient.send(Array(request[..<20_000]))
        let held = embedded.front.memory.heldBytes
        try patient.send(Array(request[20_000...]))
        #expect(try patient.answers() == [])
        #expect(embedded.front.memory.heldBytes == held, "its bytes stay in the socket")
        clients.removeFirst(clients.count / 2)
        #expect(try patient.answers().map(\.status) == [200])
    }

    @Test func patienceWithoutMemoryEnds() throws {
        let (embedded, clients) = try tightFront()
        let patient = try embedded.connect()
        try patient.send(unfinished(bytes: 20_000))
        embedded.advance(milliseconds: 3_000)
        #expect(try clients[clients.count - 1].answers().map(\.status) == [503], "it has waited longest")
        #expect(try patient.answers() == [], "there is memory again")
    }
}
