// After the last answer: a peer that is still sending is read on, within bounds, so that it sees the answer.

import TallyCore
import Testing

@testable import HTTPFront

@Suite struct LingerTests {
    private static let upload =
        "POST /increments HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\nContent-Length: 1200000\r\n\r\n"
    private static let expecting = "9\r\nExpect: 100-continue"
    private static let piece = [UInt8](repeating: UInt8(ascii: "1"), count: 50_000)

    /// A front that takes bodies up to 1 MB, and a client whose larger one it has refused.
    private func refused(_ change: (inout HTTPLimits) -> Void = { _ in }) throws -> (EmbeddedFront, Client) {
        var limits = HTTPLimits()
        limits.bodyBytes = 1_000_000
        change(&limits)
        let embedded = EmbeddedFront(limits: limits)
        let client = try embedded.connect()
        try client.send(Self.upload)
        return (embedded, client)
    }

    @Test func aSlowUploadIsReadToItsEnd() throws {
        let (embedded, client) = try refused()
        // 24 pieces at 2 Mbit/s: the client looks for an answer when it has sent them all.
        for _ in 0..<24 {
            embedded.advance(milliseconds: 200)
            #expect(client.push(Self.piece))
        }
        #expect(try client.answers().map(\.status) == [413])
        #expect(embedded.front.connectionCount == 1)
        client.close()
        #expect(embedded.front.connectionCount == 0)
    }

    @Test func silenceEndsIt() throws {
        let (embedded, client) = try refused()
        for _ in 0..<3 {
            embedded.advance(milliseconds: 4_999)
            #expect(client.push(Self.piece), "each piece begins the time anew")
        }
        embedded.advance(milliseconds: 6_000)
        #expect(client.push(Self.piece) == false)
        #expect(embedded.front.connectionCount == 0)
    }

    @Test func itEndsInAnyCase() throws {
        let (embedded, client) = try refused()
        for _ in 0..<29 {
            embedded.advance(milliseconds: 1_000)
            #expect(client.push([0]))
        }
        embedded.advance(milliseconds: 2_000)
        #expect(client.push([0]) == false)
    }

    @Test func itsBytesAreBounded() throws {
        let (_, client) = try refused { $0.lingerBytes = 150_000 }
        for _ in 0..<3 { #expect(client.push(Self.piece)) }
        #expect(client.push([0]), "the byte too many is sent, and then it is over")
        #expect(client.push([0]) == false)
    }

    @Test func theirNumberIsBounded() throws {
        let (embedded, first) = try refused { $0.lingeringConnections = 2 }
        let others = try (0..<3).map { _ in try embedded.connect() }
        for other in others.prefix(2) { try other.send(Self.upload) }
        #expect(first.push([0]) && others[0].push([0]))
        #expect(others[1].push([0]) == false, "closed at once")
        #expect(try others[1].answers().map(\.status) == [413])
        #expect(embedded.front.connectionCount == 3)
        first.close()
        try others[2].send(Self.upload)
        #expect(others[2].push([0]), "there is room again")
    }

    @Test func theyDoNotTakeThePlaceOfOthers() throws {
        let embedded = EmbeddedFront(connectionsMax: 1)
        let refused = try embedded.connect()
        try refused.send(Self.upload)
        let served = try embedded.connect()
        try served.send(one)
        #expect(try served.answers().map(\.status) == [200])
        let turnedAway = try embedded.connect()
        #expect(turnedAway.push(Array(one.utf8)), "what is turned away is read on, too")
        #expect(try turnedAway.answers().map(\.status) == [503])
        #expect(embedded.service.counted == ["a=1"])
        #expect(embedded.front.statistics.rejected == [.contentTooLarge: 1, .turnedAway: 1])
    }

    @Test(
        arguments: [
            (401, "POST /increments HTTP/1.1\r\nHost: h\r\nContent-Length: 900000\r\n\r\n"), (413, upload),
            (400, upload.replacing("Host", with: "No")), (501, upload.replacing("POST", with: "BREW")),
            (417, upload.replacing("Content-Type: text", with: "Expect: x")),
            (431, upload.replacing("\r\n\r\n", with: String(repeating: "\r\nX: y", count: 65) + "\r\n\r\n")),
            (414, upload.replacing("increments", with: String(repeating: "x", count: 9_000))),
            (505, upload.replacing("1.1", with: "1.2")),
            (415, upload.replacing("text/plain", with: "x/y\r\nExpect: 100-continue").replacing("1200000", with: "9")),
            (404, upload.replacing("increments", with: "x").replacing("1200000", with: expecting)),
            (405, upload.replacing("increments", with: "livez").replacing("1200000", with: expecting)),
            (408, upload.replacing("1200000", with: "9")),
        ])
    func everyEarlyRefusalIsLikeThis(status: Int, request: String) throws {
        let guarded = status == 401 ? try GuardedFront() : nil
        let embedded = guarded?.embedded ?? EmbeddedFront()
        let client = try embedded.connect()
        try client.send(request)
        if status == 408 { embedded.advance(milliseconds: 31_000) }
        for _ in 0..<5 {
            embedded.advance(milliseconds: 3_000)
            #expect(client.push(Self.piece))
        }
        #expect(try client.answers().map(\.status) == [status])
        #expect(embedded.front.connectionCount == 1)
    }

    @Test func drainDoesNotWaitAsLong() throws {
        let (embedded, client) = try refused()
        var isDrained = false
        embedded.front.drain { isDrained = true }
        for _ in 0..<3 {
            embedded.advance(milliseconds: 500)
            #expect(client.push([0]))
        }
        embedded.advance(milliseconds: 1_500)
        #expect(isDrained)
    }
}
