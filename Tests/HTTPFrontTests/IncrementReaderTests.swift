// Bodies and queries: what is counted, and the exact text of every refusal.

import TallyCore
import Testing

@testable import HTTPFront

private let jsonType = "application/json"

struct BodyCase: Sendable, CustomStringConvertible {
    let target: String
    let type: String?
    let body: String
    /// The words counted, or the problem's status, detail and further members.
    let expected: String

    init(_ target: String, _ type: String?, _ body: String, _ expected: String) {
        self.target = target
        self.type = type
        self.body = body
        self.expected = expected
    }

    var description: String { "\(target) \(type ?? "-") \(body.prefix(60).debugDescription)" }

    static func form(_ body: String, _ expected: String) -> BodyCase {
        BodyCase("/increment", formType, body, expected)
    }

    static func json(_ body: String, _ expected: String) -> BodyCase {
        BodyCase("/increment", jsonType, body, expected)
    }

    static func query(_ query: String, _ expected: String) -> BodyCase {
        BodyCase("/increment?\(query)", nil, "", expected)
    }

    static func many(_ body: String, _ expected: String) -> BodyCase {
        BodyCase("/increments", jsonType, body, expected)
    }

    static func lines(_ body: String, _ expected: String) -> BodyCase {
        BodyCase("/increments", "text/plain", body, expected)
    }

    static func ndjson(_ body: String, _ expected: String) -> BodyCase {
        BodyCase("/increments", "application/x-ndjson", body, expected)
    }
}

private let key512 = String(repeating: "k", count: 512)

private let accepted: [BodyCase] = [
    .form("key=a&value=1", "a=1"),
    .form("value=-7&key=a+b%20c", "a b c=-7"),
    .form("key=%2541&value=0", "%41=0"),
    .form("key=caf%C3%A9&value=007", "café=7"),
    .form("key=café&value=1&", "café=1"),
    .form("&&%6bey=a%26b%3D&value=%31", "a&b==1"),
    .form("key=a=b&value=1", "a=b=1"),
    .form("key=a&value=1\n", "a=1"),
    .form("value=1&key=a\r\n", "a=1"),
    .form("key=a&value=9223372036854775807", "a=9223372036854775807"),
    .form("key=a&value=-9223372036854775808", "a=-9223372036854775808"),
    .form("key=\(key512)&value=1", "\(key512)=1"),
    .query("key=a+b&value=%2D1", "a b=-1"),
    .query("key=a&value=1&level=memory", "a=1"),
    BodyCase("/increment?key=a&value=1", jsonType, "", "a=1"),
    BodyCase("/increment?level=queued", formType, "key=a&value=1", "a=1"),
    .json(#"{"key":"a","value":1}"#, "a=1"),
    .json(#" { "value" : -5 , "k\u0065y" : "e\u0301\ud83d\ude00\"" } "#, "e\u{301}😀\"=-5"),
    .json(#"{"key":"a","value":"1"}"#, "a=1"),
    .json(#"{"value":"-9223372036854775808","key":"a"}"#, "a=-9223372036854775808"),
    .json(#"{"key":"a","value":"\u0031\u0032"}"#, "a=12"),
    .many(#"{"a":"9223372036854775807","b":2}"#, "a=9223372036854775807 b=2"),
    .many(#"[{"key":"a","value":"007"}]"#, "a=7"),
    .ndjson("{\"key\":\"a\",\"value\":\"5\"}\n", "a=5"),
    .many(#"{"a":1,"b":-2,"a":3}"#, "a=1 b=-2 a=3"),
    .many("{\"e\u{301}\":1,\"é\":2}", "e\u{301}=1 é=2"),
    .many(#"[{"key":"a","value":1},{"value":2,"key":"a"}]"#, "a=1 a=2"),
    .many("[]", ""),
    .many(" {} ", ""),
    .ndjson(
        "{\"key\":\"a\",\"value\":1}\n\r\n {\"key\":\"b\",\"value\":2} \r\n{\"key\":\"c\",\"value\":3}", "a=1 b=2 c=3"),
    .lines("a 1\nb c\t-2\r\n\nd 3", "a=1 b c=-2 d=3"),
    .lines("a \t1\n", "a =1"),
    .lines("a 1\r", "a=1"),
    .lines("é 0", "é=0"),
    .form("\u{FEFF}key=a&value=1", "a=1"),
    .json("\u{FEFF}{\"key\":\"a\",\"value\":1}", "a=1"),
    .many("\u{FEFF}{\"a\":1}", "a=1"),
    .ndjson("\u{FEFF}{\"key\":\"a\",\"value\":1}\n", "a=1"),
    .lines("\u{FEFF}a 1\n", "a=1"),
    .lines("\u{FEFF}\u{FEFF}a 1\n", "\u{FEFF}a=1"),
    .lines("\n\r\n", ""),
]

private let refused: [BodyCase] = [
    .form("key=a", "422 the value is missing key=a"),
    .form("value=1", "422 the key is missing"),
    .form("", "422 the key is missing"),
    // What is left of a pipe that was read for an earlier try.
    .lines("", "422 the body is empty"),
    .lines("\u{FEFF}", "422 the body is empty"),
    .ndjson("", "422 the body is empty"),
    .form("key=&value=1", "422 the key is empty"),
    .form("key&value=1", "422 the key is empty"),
    .form("key=a&value=", "422 the value is empty key=a"),
    .form("key=a&value=1.5", "422 the value is not an integer key=a"),
    .form("key=a&value=%2B5", "422 the value has a plus sign: leave it out key=a"),
    .form("key=a&value=+5", "422 there are spaces around the value: leave them out, + is one here key=a"),
    .form("key=a&value=5+", "422 there are spaces around the value: leave them out, + is one here key=a"),
    .form("key=a&value=1,234", "422 the value has separators between its digits: leave them out key=a"),
    .form("key=a&value=1\n\n", "422 the value is not an integer key=a"),
    .form("key=a&value=1\r", "422 the value is not an integer key=a"),
    .form("\n", "422 the key is missing"),
    .form("key=a&value=9223372036854775808", "422 the value is outside the range of 64 bits key=a"),
    .form("key=a&value=-9223372036854775809", "422 the value is outside the range of 64 bits key=a"),
    .form("key=\(key512)k&value=1", "422 the key has 513 bytes; 512 are allowed"),
    .form("key=a%0Ab&value=1", #"422 the key has the control byte 0x0a at offset 1 key=a\nb"#),
    .form("key=%00&value=1", #"422 the key has the control byte 0x00 at offset 0 key=\u0000"#),
    .form("key=a&key=b&value=1", #"422 the field \"key\" is repeated key=a"#),
    .form("key=a&value=1&value=1", #"422 the field \"value\" is repeated key=a"#),
    .form("key=a&value=1&by=2", #"422 unknown field \"by\" key=a"#),
    .form("key=%zz&value=1", "400 a percent sign without two hexadecimal digits"),
    .form("key=a&value=%3", "400 a percent sign without two hexadecimal digits key=a"),
    .form("key=%&value=1", "400 a percent sign without two hexadecimal digits"),
    .form("key=%ff&value=1", "400 a field is not valid UTF-8"),
    .form("key=%ED%A0%80&value=1", "400 a field is not valid UTF-8"),
    .query("key=a&value=1&x=1", #"400 unknown query parameter \"x\""#),
    .query("key=a&value=1&level=disk", "400 level is none of memory, queued and stored"),
    .query("level=memory&level=memory&key=a&value=1", #"400 the query parameter \"level\" is repeated"#),
    .query("key=a&key=a&value=1", #"400 the query parameter \"key\" is repeated"#),
    .query("key=%C3&value=1", "400 a field is not valid UTF-8"),
    .query("key=a", "422 the value is missing key=a"),
    .query("", "422 the key is missing"),
    BodyCase("/increment?key=a", formType, "value=1", "400 both the query and the body carry an increment"),
    BodyCase("/increments?key=a&value=1", "text/plain", "", #"400 unknown query parameter \"key\""#),
    .json("", "400 the JSON ends too early at byte 0"),
    .json("{", "400 the JSON ends too early at byte 1"),
    .json("key=a&value=1", "400 unexpected 'k' in the JSON at byte 0"),
    .json("[]", "422 an object was expected and an array found at byte 0"),
    .json("{}", "422 the key is missing"),
    .json(#"{"key":"a"}"#, "422 the value is missing key=a"),
    .json(#"{"key":1,"value":1}"#, "422 a string was expected and a number found at byte 7"),
    .json(#"{"key":"a","value":""}"#, "422 the value is empty key=a"),
    .json(#"{"key":"a","value":"1.5"}"#, "422 the value is not an integer key=a"),
    .json(
        #"{"key":"a","value":" 1"}"#, "422 there are spaces around the value: leave them out key=a"),
    .json(#"{"key":"a","value":"+1"}"#, "422 the value has a plus sign: leave it out key=a"),
    .json(#"{"key":"a","value":"9223372036854775808"}"#, "422 the value is outside the range of 64 bits key=a"),
    .json(#"{"key":"a","value":"1","value":1}"#, #"422 the field \"value\" is repeated key=a"#),
    .many(#"{"a":1,"b":"-9223372036854775809"}"#, "422 the value is outside the range of 64 bits index=1 key=b"),
    .json(#"{"key":"a","value":null}"#, "422 a number was expected and null found at byte 19 key=a"),
    .json(#"{"key":"a","value":1.0}"#, "422 a number that is not an integer at byte 19 key=a"),
    .json(#"{"key":"a","value":9223372036854775808}"#, "422 an integer outside the range of 64 bits at byte 19 key=a"),
    .json(#"{"key":"a","value":01}"#, "400 a JSON number with a leading zero at byte 19 key=a"),
    .json(#"{"key":"a","value":1,}"#, "400 unexpected '}' in the JSON at byte 21 key=a"),
    .json(#"{"key":"a","value":1}{"#, "400 bytes after the end of the JSON at byte 21 key=a"),
    .json(#"{"key":"\ud800","value":1}"#, "400 half of a surrogate pair in a JSON string at byte 8"),
    .json(#"{"key":"a","value":1,"x":2}"#, #"422 unknown field \"x\" key=a"#),
    .json(#"{"key":"a","key":"b","value":2}"#, #"422 the field \"key\" is repeated key=a"#),
    .json(#"{"key":"\u0007","value":2}"#, #"422 the key has the control byte 0x07 at offset 0 key=\u0007"#),
    .many(#"{"a":1,"b":x}"#, "400 unexpected 'x' in the JSON at byte 11 index=1 key=b"),
    .many(#"{"a":1,"":2}"#, "422 the key is empty index=1"),
    .many(#"{"a":1,"b":true}"#, "422 a number was expected and a boolean found at byte 11 index=1 key=b"),
    .many(#"[{"key":"a","value":1},{"key":"b"}]"#, "422 the value is missing index=1 key=b"),
    .many(#"[{"key":"a","value":1},7]"#, "422 an object was expected and a number found at byte 23 index=1"),
    .many(#"[{"key":"a","value":1}"#, "400 the JSON ends too early at byte 22 index=1"),
    .many("7", "422 an object or an array was expected and a number found"),
    .many("{}x", "400 bytes after the end of the JSON at byte 2 index=0"),
    .ndjson("{\"key\":\"a\",\"value\":1}\n\n{\"key\":\"b\"}\n", "422 line 3: the value is missing index=1 key=b"),
    .ndjson("{\"key\":\"a\",\n\"value\":1}", "400 line 1: the JSON ends too early at byte 11 index=0 key=a"),
    .lines("a 1\nb\n", "400 line 2: there is no TAB or space between key and value index=1"),
    .lines("a 1\nb c 2\n", "400 line 2: there are several spaces: put a TAB between key and value index=1"),
    .lines(
        "1234567 200\n",
        "400 line 1: it begins with a number, as `uniq -c` writes it: put the key first, then a TAB and the number"
            + " index=0"
    ),
    .lines("a 1\n\nb c\n", "422 line 3: the value is not an integer index=1 key=b"),
    .lines("a ", "422 line 1: the value is empty index=0 key=a"),
    .lines(" 1", "422 line 1: the key is empty index=0"),
    .lines(
        "a\t 1",
        "422 line 1: there are spaces around the value: leave them out index=0 key=a"),
    .lines("a\tb\t1", #"422 line 1: the key has the control byte 0x09 at offset 1 index=0 key=a\tb"#),
    BodyCase("/increment", nil, "key=a&value=1", "415 /increment takes \(formType) or application/json"),
    BodyCase("/increment", "text/plain", "a 1", "415 /increment takes \(formType) or application/json"),
    BodyCase("/increment", "text/html", "a 1", "415 /increment takes \(formType) or application/json"),
    BodyCase(
        "/increments", formType, "a=1", "415 /increments takes application/json, application/x-ndjson or text/plain"),
    BodyCase("/increments", nil, "", "415 /increments takes application/json, application/x-ndjson or text/plain"),
]

@Suite struct IncrementReaderTests {
    @Test(arguments: accepted)
    func counts(_ body: BodyCase) throws {
        let embedded = EmbeddedFront()
        let client = try embedded.connect()
        try client.send(post(body.target, body.type, body.body))
        let answer = try #require(try client.answers().first)
        #expect(embedded.service.counted.joined(separator: " ").utf8.elementsEqual(body.expected.utf8))
        #expect(answer.status == 200, "\(answer)")
        #expect(answer.body.hasPrefix(#"{"accepted":\#(embedded.service.counted.count),"level":"#))
        #expect(client.isOpen)
    }

    @Test(arguments: refused)
    func refusesAll(_ body: BodyCase) throws {
        let embedded = EmbeddedFront()
        let client = try embedded.connect()
        try client.send(post(body.target, body.type, body.body))
        let answer = try #require(try client.answers().first)
        let titles = [400: "Bad Request", 415: "Unsupported Media Type", 422: "Unprocessable Content"]
        var expected =
            "{\"type\":\"about:blank\",\"title\":\"\(titles[answer.status] ?? "")\",\"status\":\(answer.status)"
        var detail = body.expected.dropFirst(4)
        var members = ""
        if let key = detail.firstRange(of: " key=") {
            members = ",\"key\":\"\(detail[key.upperBound...])\""
            detail = detail[..<key.lowerBound]
        }
        if let index = detail.firstRange(of: " index=") {
            members = ",\"index\":\(detail[index.upperBound...])" + members
            detail = detail[..<index.lowerBound]
        }
        expected += ",\"detail\":\"\(detail)\"\(members)}"
        #expect(answer.body == expected)
        #expect(body.expected.hasPrefix("\(answer.status) "))
        #expect(embedded.service.counted == [])
        #expect(embedded.service.tickets == [])
        #expect(client.isOpen, "the body was read, so the connection can go on")
    }

    /// Somebody on the way may have ended a broken body properly: only a body that shows its end is whole.
    @Test(arguments: [
        ("/increments", "text/plain", "a 1\npage 1", "400 line 2: the line has no end"),
        ("/increments", "text/plain", "a 1\r\npage 1\r", "400 line 2: the line has no end"),
        ("/increments", "text/plain", "page", "400 line 1: the line has no end"),
        (
            "/increments", "application/x-ndjson", "{\"key\":\"a\",\"value\":1}\n{\"key\":\"b\",\"value\":1}",
            "400 line 2: the line has no end"
        ),
        ("/increment", formType, "key=page&value=1", "411 a form in chunked coding has no end"),
        ("/increment", formType, "value=1&key=pa", "411 a form in chunked coding has no end"),
        ("/increment", formType, "key=page&value=1\r", "411 a form in chunked coding has no end"),
    ])
    func aChunkedBodyThatMayBeCutIsRefused(target: String, type: String, body: String, expected: String) throws {
        let embedded = EmbeddedFront()
        let client = try embedded.connect()
        try client.send(chunkedPost(target, type, body))
        let answer = try #require(try client.answers().first)
        #expect("\(answer.status)" == expected.prefix(3))
        #expect(answer.body.contains("\"detail\":\"\(expected.dropFirst(4)): "), "\(answer)")
        #expect(embedded.service.counted == [])
        #expect(client.isOpen)
    }

    @Test(arguments: [
        ("/increments", "text/plain", "a 1\nb 2\n", "a=1 b=2"), ("/increments", "text/plain", "a 1\r\n", "a=1"),
        ("/increments", "text/plain", "\n", ""),
        ("/increments", "application/x-ndjson", "{\"key\":\"a\",\"value\":1}\n", "a=1"),
        ("/increments", jsonType, #"{"a":1}"#, "a=1"), ("/increment", jsonType, #"{"key":"a","value":1}"#, "a=1"),
        ("/increment", formType, "key=a&value=1&", "a=1"), ("/increment", formType, "key=a&value=1\r\n", "a=1"),
        ("/increment?key=a&value=1", formType, "", "a=1"),
    ])
    func aChunkedBodyThatShowsItsEndCounts(target: String, type: String, body: String, expected: String) throws {
        let embedded = EmbeddedFront()
        let client = try embedded.connect()
        try client.send(chunkedPost(target, type, body))
        #expect(try client.answers().map(\.status) == [200])
        #expect(embedded.service.counted.joined(separator: " ") == expected)
    }

    private func chunkedPost(_ target: String, _ type: String, _ body: String) -> String {
        let chunk = body.isEmpty ? "" : "\(String(body.utf8.count, radix: 16))\r\n\(body)\r\n"
        return "POST \(target) HTTP/1.1\r\nHost: h\r\nContent-Type: \(type)\r\nTransfer-Encoding: chunked\r\n\r\n"
            + "\(chunk)0\r\n\r\n"
    }

    @Test func rawInvalidUTF8IsRefusedEverywhere() throws {
        for (target, type, head, tail) in [
            ("/increment", formType, "key=", "&value=1"), ("/increment", jsonType, #"{"key":""#, #"","value":1}"#),
            ("/increments", "text/plain", "", " 1"), ("/increments", jsonType, #"{""#, #"":1}"#),
        ] {
            let client = try EmbeddedFront().connect()
            let body = Array(head.utf8) + [0xC3, 0x28] + Array(tail.utf8)
            try client.send("POST \(target) HTTP/1.1\r\nHost: h\r\nContent-Type: \(type)\r\n")
            try client.send(Array("Content-Length: \(body.count)\r\n\r\n".utf8) + body)
            #expect(try client.answers().map(\.status) == [400], "\(target) \(type)")
        }
    }

    /// Imports and replays of dead letters are known by the form of their keys.
    @Test(arguments: [
        ("import:0123456789abcdef0123456789abcdef", true), ("import:0123456789abcdef0123456789abcdef:2", true),
        (#""dead-letter:0123456789abcdef0123456789abcdef:7""#, true), ("import:0123456789abcdef", false),
        ("import:0123456789abcdef0123456789abcdef0", false), ("dead-letter:x", false), ("imports", false),
    ])
    func keysOfTools(field: String, isRefused: Bool) throws {
        let embedded = EmbeddedFront()
        let client = try embedded.connect()
        try client.send(post("/increment", formType, "key=a&value=1", "Idempotency-Key: \(field)\r\n"))
        let answer = try #require(try client.answers().first)
        #expect(answer.status == (isRefused ? 422 : 200))
        #expect(embedded.service.requests.isEmpty == isRefused)
        if isRefused {
            #expect(
                answer.body.contains(
                    "an Idempotency-Key of this form is a tool's: choose one that is not `import:` or `dead-letter:`"
                        + " and 32 hex digits"))
        }
    }

    @Test func levelWaitAndIdempotencyKeyReachTheService() throws {
        let embedded = EmbeddedFront()
        let client = try embedded.connect()
        try client.send(one)
        for prefer in [
            "wait=0", "respond-async, wait=10", "Wait = \"7\"; x=y", "a=\",wait=1\", wait=2, wait=3", "wait=4000000000",
        ] {
            try client.send(post("/increment?level=stored", formType, "key=a&value=1", "Prefer: \(prefer)\r\n"))
        }
        #expect(embedded.service.requests.map(\.waitMilliseconds) == [5000, 0, 10_000, 7000, 2000, 60_000])
        #expect(embedded.service.requests.map(\.level) == [.queued] + Array(repeating: .stored, count: 5))
    }

    @Test(arguments: [
        ("a", "a"), (#""a""#, "a"), (#""a\"\\""#, #"a"\"#), (#"a"b"#, #"a"b"#), ("!~", "!~"),
        (String(repeating: "k", count: 128), String(repeating: "k", count: 128)),
        (#""\#(String(repeating: "k", count: 128))""#, String(repeating: "k", count: 128)),
        ("", nil), (#""""#, nil), (#"""#, nil), (#""a"#, nil), (#""a"b""#, nil), (#""a\b""#, nil), (#""a\""#, nil),
        ("a b", nil), (#""a b""#, nil), ("é", nil), (String(repeating: "k", count: 129), nil),
    ])
    func idempotencyKeys(field: String, expected: String?) throws {
        let embedded = EmbeddedFront()
        let client = try embedded.connect()
        try client.send(post("/increment", formType, "key=a&value=1", "Idempotency-Key: \(field)\r\n"))
        let answer = try #require(try client.answers().first)
        #expect(answer.status == (expected == nil ? 400 : 200))
        #expect(embedded.service.requests.map(\.idempotencyKey) == (expected.map { [Array($0.utf8)] } ?? []))
        if expected == nil { #expect(answer.body.contains("the Idempotency-Key is not 1 to 128 visible ASCII")) }
    }
}
