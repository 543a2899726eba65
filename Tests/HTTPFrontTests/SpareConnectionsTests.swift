// Where there are as many connections as there may be: who is closed for one more, and who never is.

import TallyCore
import Testing
import Tokens

@testable import HTTPFront

private let livez = "GET /livez HTTP/1.1\r\nHost: h\r\n\r\n"

@Suite struct SpareConnectionsTests {
    @Test func whoBringsNothingGivesWay() throws {
        let embedded = EmbeddedFront(connectionsMax: 4)
        let clients = try (0..<4).map { _ in
            embedded.advance(milliseconds: 1_000)
            return try embedded.connect()
        }
        try clients[0].send(one)
        // Asking for life is no work: it would hold the place for ever.
        for client in clients { try client.send(livez) }
        let late = try embedded.connect()
        try late.send(one)
        #expect(try late.answers().map(\.status) == [200])
        #expect(clients.map(\.isOpen) == [true, false, true, true], "the oldest of those that brought nothing")
        let another = try embedded.connect()
        try another.send(livez)
        #expect(try another.answers().map(\.status) == [200])
        #expect(clients.map(\.isOpen) == [true, false, false, true])
        #expect(embedded.front.statistics.closedForOthers == 2)
        #expect(embedded.front.statistics.rejected[.turnedAway] == nil)
    }

    @Test func aFloodOfSilentSocketsKeepsNobodyOut() throws {
        let embedded = EmbeddedFront(connectionsMax: 50)
        let worker = try embedded.connect()
        try worker.send(one)
        var silent: [Client] = []
        for _ in 0..<300 { silent.append(try embedded.connect()) }
        try worker.send(one)
        #expect(try worker.answers().map(\.status) == [200, 200])
        let late = try embedded.connect()
        try late.send(one)
        #expect(try late.answers().map(\.status) == [200])
        #expect(embedded.front.connectionCount <= 50)
        #expect(silent.map(\.isOpen) == (0..<300).map { $0 >= 252 }, "the oldest went first")
    }

    @Test func workIsNotCutOff() throws {
        let embedded = EmbeddedFront(connectionsMax: 3)
        embedded.service.submission = .pending
        let clients = try (0..<3).map { _ in try embedded.connect() }
        try clients[0].send(one)  // waits for its answer
        try clients[1].send(String(one.dropLast(1)))  // its body is on its way
        embedded.service.submission = .answered(.queued)
        try clients[2].send(one)
        #expect(try embedded.connect().answers().map(\.status) == [503])
        #expect(clients.map(\.isOpen) == [true, true, true])
        embedded.advance(milliseconds: 9_000)
        #expect(try embedded.connect().answers().map(\.status) == [503], "a pause is no end")
        embedded.advance(milliseconds: 3_000)
        let late = try embedded.connect()
        try late.send(one)
        #expect(try late.answers().map(\.status) == [200])
        #expect(clients.map(\.isOpen) == [true, true, false], "it has brought nothing for longer than 10 s")
    }

    @Test func aBeginningOfAHeadIsNoWork() throws {
        let embedded = EmbeddedFront(connectionsMax: 1)
        let slow = try embedded.connect()
        try slow.send("POST /incr")
        let late = try embedded.connect()
        try late.send(one)
        #expect(try late.answers().map(\.status) == [200])
        #expect(slow.isOpen == false)
    }
}
