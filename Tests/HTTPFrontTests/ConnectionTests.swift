// The life of a connection: order of answers, backpressure, deadlines, the last answer, drain.

import TallyCore
import Testing

@testable import HTTPFront

private func increment(_ value: Int) -> String { post("/increment", formType, "key=a&value=\(value)") }

@Suite struct ConnectionTests {
    @Test func answersKeepTheOrderOfTheRequests() throws {
        let embedded = EmbeddedFront()
        let client = try embedded.connect()
        embedded.service.submission = .pending
        try client.send(post("/increments", "text/plain", "a 1\nb 2") + one)
        try client.send("GET /livez HTTP/1.1\r\nHost: h\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n" + one)
        embedded.complete(2)
        embedded.complete(1, .reached(.memory))
        #expect(try client.writes() == [])
        embedded.complete(0, .reached(.stored))
        let writes = try client.writes()
        #expect(writes.count == 1, "answers that are ready together leave in one write")
        let answers = Answer.all(in: writes[0])
        #expect(answers.map(\.status) == [200, 202, 200, 404, 200])
        #expect(answers[0].body == #"{"accepted":2,"level":"stored"}"#)
        #expect(answers[1].body == #"{"accepted":1,"level":"memory"}"#)
        #expect(client.isOpen)
    }

    @Test func everyOrderOfCompletionGivesTheSameBytes() throws {
        for seed in 0..<50 {
            var order = Array(0..<7)
            var generator = SplitMix64(seed: UInt64(seed))
            order.shuffle(using: &generator)
            let embedded = EmbeddedFront()
            let client = try embedded.connect()
            embedded.service.submission = .pending
            try client.send(
                (1...7).map { post("/increments", "text/plain", String(repeating: "k 1\n", count: $0)) }.joined())
            var answers: [Answer] = []
            for index in order {
                embedded.complete(index)
                answers += try client.answers()
            }
            #expect(answers.map(\.body) == (1...7).map { #"{"accepted":\#($0),"level":"queued"}"# }, "seed \(seed)")
        }
    }

    @Test func oneReadIsAnsweredInOneWrite() throws {
        let client = try EmbeddedFront().connect()
        try client.send(one + one + one)
        let writes = try client.writes()
        #expect(writes.count == 1)
        #expect(Answer.all(in: writes[0]).count == 3)
    }

    @Test func theOrdinaryAnswerIsExactlyThis() throws {
        let client = try EmbeddedFront().connect()
        try client.send(one)
        let text = String(decoding: try client.writes()[0], as: UTF8.self)
        let lines = text.split(separator: "\r\n", omittingEmptySubsequences: false)
        #expect(lines[0] == "HTTP/1.1 200 OK")
        #expect(lines[1].hasPrefix("Date: ") && lines[1].hasSuffix(" GMT"))
        #expect(
            lines[2...] == [
                "Content-Type: application/json", "Content-Length: 32", "", "{\"accepted\":1,\"level\":\"queued\"}\n",
            ])
        #expect(HTTPDate.text(secondsSince1970: 784_111_777) == "Sun, 06 Nov 1994 08:49:37 GMT")
    }

    @Test func refusalsOfTheServiceSayWhenToComeBack() throws {
        let embedded = EmbeddedFront()
        let client = try embedded.connect()
        embedded.service.submission = .refused(.unavailable(reason: "Redis is down", retryAfterSeconds: 7))
        try client.send(one)
        embedded.service.submission = .refused(.unprocessable(detail: "no"))
        try client.send(one)
        embedded.service.submission = .pending
        try client.send(one)
        embedded.complete(2, .refused(.unavailable(reason: "draining", retryAfterSeconds: 1)))
        let answers = try client.answers()
        #expect(answers.map(\.status) == [503, 422, 503])
        #expect(answers[0].fields["retry-after"] == "7")
        #expect(
            answers[0].body
                == #"{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"Redis is down"}"#)
        #expect(client.isOpen)
    }

    @Test(arguments: [127, 128, 129])
    func unansweredRequestsAreBounded(count: Int) throws {
        let embedded = EmbeddedFront()
        let client = try embedded.connect()
        embedded.service.submission = .pending
        try client.send(String(repeating: one, count: count))
        #expect(embedded.service.tickets.count == min(count, 128))
        // Beyond the bound nothing is read: these bytes stay in the socket.
        try client.send(one)
        #expect(embedded.service.tickets.count == min(count + 1, 128))
        embedded.complete(0)
        #expect(try client.answers().count == 1)
        #expect(embedded.service.tickets.count == min(count + 1, 129))
        for index in 1...count {
            embedded.complete(index)
            embedded.turn()
        }
        #expect(try client.answers().count == count)
        try client.send(one)
        #expect(embedded.service.tickets.count == count + 2)
    }

    @Test func aPeerThatDoesNotReadIsNotRead() throws {
        let embedded = EmbeddedFront()
        let client = try embedded.connect(bufferBytes: 4_096)
        var sent = 0
        while embedded.service.deltas.count == sent, sent < 1_000 {
            try client.send(one)
            sent += 1
        }
        #expect((2...999).contains(sent), "the front stops reading when its socket is full")
        embedded.advance(milliseconds: 30_000)
        #expect(embedded.service.deltas.count == sent - 1)
        #expect(try client.answers().count + client.answers().count == sent)
        #expect(embedded.service.deltas.count == sent)
        for _ in 0..<sent { try client.send(one) }
        embedded.advance(milliseconds: 62_000)
        #expect(client.isOpen == false)
    }

    @Test func ticketsOutliveTheirConnection() throws {
        let embedded = EmbeddedFront()
        let first = try embedded.connect()
        embedded.service.submission = .pending
        try first.send(one)
        first.close()
        let second = try embedded.connect()
        try second.send(one)
        embedded.complete(0)
        #expect(try second.answers() == [], "the place is used again, but its generation is another")
        embedded.complete(1)
        embedded.complete(1)
        #expect(try second.answers().map(\.status) == [200])
        embedded.handle.complete(AnswerTicket(connection: 99, generation: 0, sequence: 0), .reached(.queued))
        #expect(embedded.front.connectionCount == 1)
    }

    // MARK: Resources and methods

    @Test(
        arguments: [
            ("GET /livez", 200, nil), ("HEAD /livez", 200, nil), ("GET /readyz?x=y", 200, nil),
            ("HEAD /readyz", 200, nil), ("GET /ledger", 200, nil), ("POST /ledger", 405, "GET, HEAD"),
            ("POST /livez", 405, "GET, HEAD"), ("GET /increment", 405, "POST"), ("HEAD /increment", 405, "POST"),
            ("PUT /increments", 405, "POST"), ("OPTIONS /increment", 405, "POST"), ("DELETE /livez", 405, "GET, HEAD"),
            ("GET /", 404, nil), ("POST /Increment", 404, nil), ("POST /increment/", 404, nil), ("OPTIONS *", 404, nil),
            ("GET http://h", 404, nil), ("POST /increment", 411, nil), ("POST /increments", 411, nil),
            ("POST /increment?level=memory", 411, nil),
        ] as [(String, Int, String?)])
    func resources(request: String, status: Int, allow: String?) throws {
        let client = try EmbeddedFront().connect()
        try client.send("\(request) HTTP/1.1\r\nHost: h\r\n\r\n")
        let answer = try #require(try client.answers(isHead: request.hasPrefix("HEAD")).first)
        #expect(answer.status == status)
        #expect(answer.fields["allow"] == allow)
        #expect(answer.fields["content-length"] != "0")
        #expect(client.isOpen)
    }

    @Test func headAnswersHaveNoBody() throws {
        let client = try EmbeddedFront().connect()
        try client.send("HEAD /livez HTTP/1.1\r\nHost: h\r\n\r\nHEAD /increment HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(try client.answers(isHead: true).map(\.status) == [200, 405])
    }

    @Test func readinessIsTheServices() throws {
        let embedded = EmbeddedFront()
        let client = try embedded.connect()
        embedded.service.isReady = false
        try client.send("GET /readyz HTTP/1.1\r\nHost: h\r\n\r\nGET /livez HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(try client.answers().map(\.description) == [#"503 {"ready":false}"#, #"200 {"status":"ok"}"#])
    }

    @Test func theLedgerIsTheServices() throws {
        let embedded = EmbeddedFront()
        let client = try embedded.connect()
        try client.send(one)
        try client.send("GET /ledger HTTP/1.1\r\nHost: h\r\n\r\n")
        #expect(try client.answers().map(\.description).last == #"200 {"counted":1}"#)
    }

    @Test func contentEncodingIsRefused() throws {
        #expect(try answers(to: post("/increment", formType, "x", "Content-Encoding: gzip\r\n")).map(\.status) == [415])
        let plain = post("/increment", formType, "key=a&value=1", "Content-Encoding: identity\r\n")
        #expect(try answers(to: plain).map(\.status) == [200])
    }

    @Test(
        arguments: [
            ("HTTP/1.1", "", nil, true), ("HTTP/1.1", "Connection: close\r\n", "close", false),
            ("HTTP/1.1", "Connection: foo, Close\r\n", "close", false), ("HTTP/1.0", "", "close", false),
            ("HTTP/1.0", "Connection: Keep-Alive\r\n", "keep-alive", true),
            ("HTTP/1.0", "Connection: keep-alive, close\r\n", "close", false),
        ] as [(String, String, String?, Bool)])
    func persistence(version: String, fields: String, said: String?, isOpen: Bool) throws {
        let client = try EmbeddedFront().connect()
        try client.send("GET /livez \(version)\r\nHost: h\r\n\(fields)\r\n" + one)
        let answers = try client.answers()
        #expect(answers.count == (isOpen ? 2 : 1))
        #expect(answers[0].fields["connection"] == said)
        #expect(client.isOpen == isOpen)
    }

    // MARK: Expect

    @Test func continueIsSentBeforeTheBody() throws {
        let client = try EmbeddedFront().connect()
        let request = post("/increment", formType, "key=a&value=1", "Expect: 100-Continue\r\n")
        try client.send(String(request.dropLast(13)))
        #expect(try client.answers().map(\.status) == [100])
        try client.send("key=a&value=1")
        #expect(try client.answers().map(\.status) == [200])
    }

    @Test func continueWaitsForEarlierAnswers() throws {
        let embedded = EmbeddedFront()
        let client = try embedded.connect()
        embedded.service.submission = .pending
        try client.send(one + post("/increment", formType, "key=a&value=1", "Expect: 100-continue\r\n").dropLast(13))
        #expect(try client.answers() == [])
        embedded.complete(0)
        #expect(try client.answers().map(\.status) == [200, 100])
    }

    @Test func anUnwelcomeExpectationIsRefusedAtOnce() throws {
        for (head, status) in [("/nowhere", 404), ("/livez", 405), ("/increment", 415)] {
            let client = try EmbeddedFront().connect()
            try client.send(
                "POST \(head) HTTP/1.1\r\nHost: h\r\nContent-Type: x/y\r\nContent-Length: 9\r\n"
                    + "Expect: 100-continue\r\n\r\n"
            )
            #expect(try client.answers().map(\.status) == [status])
            #expect(client.isOpen == false)
        }
    }

    // MARK: Deadlines

    @Test(
        arguments: [
            ("", 60_000, nil), (one, 60_000, nil), ("P", 10_000, 408), (one + "P", 10_000, 408),
            (String(one.dropLast(1)), 30_000, 408),
        ] as [(String, Int64, Int?)])
    func deadlines(sent: String, milliseconds: Int64, status: Int?) throws {
        let embedded = EmbeddedFront()
        let client = try embedded.connect()
        try client.send(sent)
        _ = try client.answers()  // the deadline's answer is the one that counts
        embedded.advance(milliseconds: milliseconds - 1)
        #expect(client.isOpen)
        embedded.advance(milliseconds: 1_001)
        #expect(client.isOpen == false)
        #expect(try client.answers().map(\.status) == (status.map { [$0] } ?? []))
    }

    @Test func bytesOfAHeadDoNotProlongIt() throws {
        let embedded = EmbeddedFront()
        let client = try embedded.connect()
        for byte in "GET /livez HTTP" {
            try client.send(String(byte))
            embedded.advance(milliseconds: 800)
        }
        #expect(client.isOpen == false)
    }

    @Test func aPendingAnswerHasNoDeadlineHere() throws {
        let embedded = EmbeddedFront()
        let client = try embedded.connect()
        embedded.service.submission = .pending
        try client.send(one)
        embedded.advance(milliseconds: 600_000)
        embedded.complete(0)
        #expect(try client.answers().map(\.status) == [200])
    }

    // MARK: The end

    @Test func drainClosesIdleConnectionsAndAnswersTheOthers() throws {
        let embedded = EmbeddedFront()
        let idle = try embedded.connect()
        let waiting = try embedded.connect()
        let sending = try embedded.connect()
        try idle.send(one)
        embedded.service.submission = .pending
        try waiting.send(one + one)
        try sending.send(String(one.dropLast(3)))
        var isDrained = false
        embedded.front.drain { isDrained = true }
        #expect(idle.isOpen == false)
        embedded.complete(1)
        embedded.complete(2)
        let answers = try waiting.answers()
        #expect(answers.map(\.fields["connection"]) == [nil, "close"])
        #expect(waiting.isOpen == false)
        try sending.send("e=1")
        embedded.complete(3)
        #expect(try sending.answers().map(\.fields["connection"]) == ["close"])
        #expect(isDrained == false, "both are still read, so that the peers see their last answers")
        waiting.close()
        embedded.advance(milliseconds: 3_000)
        #expect(isDrained)
        let late = try embedded.connect()
        #expect(try late.answers().map(\.status) == [503])
        #expect(late.isOpen == false)
    }

    @Test func connectionsAreBounded() throws {
        let embedded = EmbeddedFront(connectionsMax: 2)
        let first = try embedded.connect()
        let second = try embedded.connect()
        embedded.service.submission = .pending
        for client in [first, second] { try client.send(one) }
        let third = try embedded.connect()
        #expect([first, second, third].map(\.isOpen) == [true, true, false])
        #expect(try third.answers().first?.body.contains("there are too many connections") == true)
        first.close()
        #expect(try embedded.connect().isOpen)
    }
}
