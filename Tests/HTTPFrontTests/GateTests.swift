// Who may pass, and what the others are told: before their body is read, in the order of their requests, and with the
// challenge and the fields that the standards name.

import Glibc
import ServiceKit
import Testing
import Tokens

@testable import HTTPFront

/// A front that demands tokens. The names of its tokens are the tokens.
final class GuardedFront {
    private static let lines = [
        ("writer", "write unlimited"), ("reader", "admin unlimited"), ("both", "write,admin unlimited"),
        ("slow", "write 2/s"),
    ]
    let embedded: EmbeddedFront
    let access: Access
    private let path: String

    init(limits: HTTPLimits = HTTPLimits()) throws {
        var template = Array("/tmp/tm-gate-XXXXXX".utf8CString)
        let descriptor = mkstemp(&template)
        try #require(descriptor >= 0)
        close(descriptor)
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        try Self.write(Self.lines, to: path)
        access = try Access(path: path)
        embedded = EmbeddedFront(limits: limits, access: access)
    }

    deinit { unlink(path) }

    private static func write(_ lines: [(String, String)], to path: String) throws {
        let text = try lines.map { name, rest in
            "\(name) \(rest) sha256:\(try #require(TokenSecret(name)).digest.hex)\n"
        }
        try AtomicFile.write(Array(text.joined().utf8), to: path, mode: 0o600)
    }

    func remove(_ name: String) throws {
        try Self.write(Self.lines.filter { $0.0 != name }, to: path)
        #expect(try access.reload().removed == 1)
    }

    /// The answers to `request` on a connection of its own, and whether it stays open.
    func ask(_ request: String, isHead: Bool = false) throws -> (answers: [Answer], isOpen: Bool) {
        let client = try embedded.connect()
        try client.send(request)
        let answers = try client.answers(isHead: isHead)
        return (answers, client.isOpen)
    }

    var counted: [String] { embedded.service.counted }
}

private func get(_ target: String, _ fields: String = "", method: String = "GET") -> String {
    "\(method) \(target) HTTP/1.1\r\nHost: h\r\n\(fields)\r\n"
}

private func bearer(_ token: String) -> String { "Authorization: Bearer \(token)\r\n" }

private func increment(_ token: String, _ fields: String = "") -> String {
    post("/increment", formType, "key=a&value=1", bearer(token) + fields)
}

@Suite struct GateTests {
    private static let realm = #"Bearer realm="tallymill""#

    @Test func scopesOpenTheirRoutes() throws {
        let guarded = try GuardedFront()
        for (token, posts, looks) in [("writer", 200, 403), ("reader", 403, 200), ("both", 200, 200), ("x", 401, 401)] {
            #expect(try guarded.ask(increment(token)).answers.map(\.status) == [posts], "\(token)")
            let lines = post("/increments", "text/plain", "a 1", bearer(token))
            #expect(try guarded.ask(lines).answers.map(\.status) == [posts], "\(token)")
            #expect(try guarded.ask(get("/ledger", bearer(token))).answers.map(\.status) == [looks], "\(token)")
        }
        #expect(guarded.counted.count == 4)
        for target in ["/livez", "/readyz"] { #expect(try guarded.ask(get(target)).answers.map(\.status) == [200]) }
        #expect(try guarded.ask(get("/nowhere")).answers.map(\.status) == [404])
        #expect(try guarded.ask(get("/increment")).answers.map(\.status) == [401])
        #expect(try guarded.ask(get("/increment", bearer("writer"))).answers.map(\.status) == [405])
    }

    @Test func challengesNameAnErrorOnlyToWhoHasSentAToken() throws {
        let guarded = try GuardedFront()
        let cases: [(String, Int, String, String)] = [
            ("", 401, Self.realm, "this path takes a token: send it as Authorization: Bearer TOKEN"),
            (
                "Authorization: Basic d3JpdGVyOng=\r\n", 401, Self.realm,
                "this path takes a token: send it as Authorization: Bearer TOKEN"
            ),
            (bearer("x"), 401, Self.realm + #", error="invalid_token""#, "this node does not know the token"),
            (
                bearer("reader"), 403, Self.realm + #", error="insufficient_scope", scope="write""#,
                "this path takes a token with the scope write"
            ),
        ]
        for (fields, status, challenge, detail) in cases {
            let answer = try #require(try guarded.ask(post("/increment", formType, "", fields)).answers.first)
            #expect(answer.status == status && answer.fields["www-authenticate"] == challenge)
            #expect(answer.fields["content-type"] == "application/problem+json")
            #expect(answer.body.contains(#""detail":"\#(detail)""#), "\(answer.body)")
        }
    }

    @Test(arguments: [
        ("Bearer writer", 200), ("bEARER writer", 200), ("Bearer   writer", 200), ("\tBearer writer \t", 200),
        ("Bearer", 401), ("Bearer ", 401), ("Bearerwriter", 401), ("writer", 401), ("Bearer writer x", 401),
        ("Bearer\twriter", 401), ("Bearer writer,", 401), ("Bearer \"writer\"", 401), ("Bearer writer=", 401),
        ("Bearer Writer", 401), ("", 401), ("Bearer \(String(repeating: "w", count: 4_000))", 401),
    ])
    func formsOfCredentials(value: String, status: Int) throws {
        let guarded = try GuardedFront()
        let request = post("/increment", formType, "key=a&value=1", "authorization: \(value)\r\n")
        #expect(try guarded.ask(request).answers.map(\.status) == [status])
    }

    @Test func twoCredentialsAreMalformed() throws {
        let fields = bearer("writer") + bearer("writer")
        for guarded in [try GuardedFront().embedded, EmbeddedFront()] {
            let client = try guarded.connect()
            try client.send(post("/increment", formType, "key=a&value=1", fields))
            let answers = try client.answers()
            #expect(answers.map(\.status) == [400] && answers[0].fields["connection"] == "close")
            #expect(answers[0].body.contains("there is more than one Authorization"))
        }
    }

    @Test(arguments: ["Content-Length: 900\r\n", "Transfer-Encoding: chunked\r\n"])
    func theAnswerComesBeforeTheBody(framing: String) throws {
        let guarded = try GuardedFront()
        for (token, status) in [("x", 401), ("reader", 403)] {
            let client = try guarded.embedded.connect()
            try client.send("POST /increments HTTP/1.1\r\nHost: h\r\n\(bearer(token))\(framing)\r\n")
            let answers = try client.answers()
            #expect(answers.map(\.status) == [status])
            #expect(answers.first?.fields["connection"] == "close", "the body may still come: nothing can follow it")
            try client.send("key=a&value=1")
            #expect(try client.answers().isEmpty && guarded.counted.isEmpty)
        }
    }

    @Test func whoWaitsBeforeTheBodyIsToldAtOnce() throws {
        let guarded = try GuardedFront()
        let body = "key=a&value=1"
        func head(_ token: String) -> String {
            "POST /increment HTTP/1.1\r\nHost: h\r\nContent-Type: \(formType)\r\n\(bearer(token))"
                + "Expect: 100-continue\r\nContent-Length: \(body.utf8.count)\r\n\r\n"
        }
        let (refused, isOpen) = try guarded.ask(head("x"))
        #expect(refused.map(\.status) == [401] && !isOpen)
        let client = try guarded.embedded.connect()
        try client.send(head("writer"))
        #expect(try client.answers().map(\.status) == [100])
        try client.send(body)
        #expect(try client.answers().map(\.status) == [200])
    }

    @Test func withoutABodyTheConnectionGoesOn() throws {
        let guarded = try GuardedFront()
        let requests = get("/ledger") + get("/livez") + post("/increment", formType, "", "") + increment("writer")
        let (answers, isOpen) = try guarded.ask(requests)
        #expect(answers.map(\.status) == [401, 200, 401, 200] && isOpen)
        let (last, isStillOpen) = try guarded.ask(get("/ledger", "Connection: close\r\n") + get("/livez"))
        #expect(last.map(\.status) == [401] && !isStillOpen)
        let (head, _) = try guarded.ask(get("/ledger", method: "HEAD"), isHead: true)
        #expect(head.map(\.status) == [401] && head[0].body.isEmpty)
        let (old, isKept) = try guarded.ask("GET /ledger HTTP/1.0\r\n\r\n")
        #expect(old.map(\.status) == [401] && !isKept)
    }

    @Test func refusalsKeepTheOrderOfTheRequests() throws {
        let guarded = try GuardedFront()
        guarded.embedded.service.submission = .pending
        let client = try guarded.embedded.connect()
        try client.send(increment("slow") + get("/ledger") + increment("x") + increment("writer"))
        #expect(try client.answers().isEmpty)
        guarded.embedded.complete(0)
        let answers = try client.answers()
        #expect(answers.map(\.status) == [200, 401, 401], "what follows an unread body is not looked at")
        #expect(answers.map { $0.fields["ratelimit"] } == [#""default";r=1;t=1"#, nil, nil])
    }

    @Test func inPiecesItIsTheSame() throws {
        let guarded = try GuardedFront()
        for request in [increment("writer"), increment("x"), get("/ledger", bearer("writer"))] {
            let whole = try guarded.ask(request).answers.map(\.status)
            let client = try guarded.embedded.connect()
            for byte in request.utf8 { try client.send([byte]) }
            #expect(try client.answers().map(\.status) == whole)
        }
    }

    @Test func aLimitedTokenIsToldWhatIsLeft() throws {
        let guarded = try GuardedFront()
        let (answers, _) = try guarded.ask(increment("slow") + increment("slow"))
        #expect(answers.map(\.status) == [200, 200])
        #expect(answers.map { $0.fields["ratelimit"] } == [#""default";r=1;t=1"#, #""default";r=0;t=1"#])
        #expect(answers.allSatisfy { $0.fields["ratelimit-policy"] == #""default";q=2;w=1"# })
        let (over, isOpen) = try guarded.ask(increment("slow"))
        #expect(over.map(\.status) == [429] && !isOpen)
        #expect(over[0].fields["retry-after"] == "1" && over[0].fields["ratelimit"] == #""default";r=0;t=1"#)
        #expect(over[0].body.contains("this token may send 2 requests a second to this node"))
        #expect(try guarded.ask(increment("writer")).answers.map(\.status) == [200], "others are not held up")
        guarded.embedded.advance(milliseconds: 500)
        #expect(try guarded.ask(increment("slow")).answers.map(\.status) == [200])
        #expect(guarded.counted.count == 4)
    }

    @Test func whatIsRefusedLaterCountsAgainstTheRate() throws {
        let guarded = try GuardedFront()
        let malformed = post("/increment", formType, "key=a&value=x", bearer("slow"))
        let (answers, _) = try guarded.ask(malformed + get("/ledger", bearer("slow")) + increment("slow"))
        #expect(answers.map(\.status) == [422, 403, 429])
        #expect(answers.map { $0.fields["ratelimit"] != nil } == [true, true, true])
    }

    @Test func anUnlimitedTokenGetsTheOrdinaryAnswer() throws {
        let guarded = try GuardedFront()
        let (answers, _) = try guarded.ask(increment("writer"))
        #expect(Set(answers[0].fields.keys) == ["date", "content-type", "content-length"])
        // One that is limited, on the same connection, leaves nothing behind.
        let (mixed, _) = try guarded.ask(increment("slow") + increment("writer") + get("/livez") + get("/nowhere"))
        #expect(mixed.map { $0.fields["ratelimit"] != nil } == [true, false, false, false])
    }

    @Test func aReloadAppliesToOpenConnections() throws {
        let guarded = try GuardedFront()
        let client = try guarded.embedded.connect()
        try client.send(increment("writer"))
        #expect(try client.answers().map(\.status) == [200])
        try guarded.remove("writer")
        try client.send(increment("writer"))
        #expect(try client.answers().map(\.status) == [401])
    }

    @Test func withoutAccessEverybodyPasses() throws {
        let client = try EmbeddedFront().connect()
        try client.send(one + increment("x") + get("/ledger"))
        #expect(try client.answers().map(\.status) == [200, 200, 200])
    }

    // MARK: Where it listens

    @Test(arguments: ["127.0.0.1", "127.9.9.9", "localhost", "::1"])
    func loopbackNeedsNoTokens(host: String) throws {
        let sockets = try ListeningSockets(Endpoint(host: host, port: 0), isGuarded: false)
        #expect(sockets.address.port > 0)
        for descriptor in sockets.descriptors { close(descriptor) }
    }

    @Test(arguments: ["0.0.0.0", "::"])
    func everyOtherAddressDoes(host: String) throws {
        let endpoint = Endpoint(host: host, port: 0)
        do throws(Failure) {
            _ = try ListeningSockets(endpoint, isGuarded: false)
            Issue.record("it listens")
        } catch {
            #expect(
                error.report == """
                    tallymill: \(endpoint): more than this machine reaches this address, and no tokens are demanded
                      Make one, `tallymill token new NAME --scopes write --append FILE`, and name the file with \
                    --tokens-file; or listen on 127.0.0.1, behind a proxy that lets only the right ones through.
                    """)
            #expect(error.code == .configuration)
        }
        for descriptor in try ListeningSockets(endpoint, isGuarded: true).descriptors { close(descriptor) }
    }
}
