// Framing: what is a request, where it ends, and everything that is refused so that no other parser can disagree.

import TallyCore
import Testing

@testable import HTTPFront

struct FramingCase: Sendable, CustomStringConvertible {
    let name: String
    let request: String
    let status: Int
    let detail: String?

    init(_ name: String, _ request: String, _ status: Int, _ detail: String? = nil) {
        self.name = name
        self.request = request
        self.status = status
        self.detail = detail
    }

    var description: String { name }

    /// A POST whose field lines are `fields`, with a body that would count.
    static func fields(_ name: String, _ fields: String, _ status: Int = 400, _ detail: String? = nil) -> FramingCase {
        let body = "key=a&value=1"
        return FramingCase(name, "POST /increment HTTP/1.1\r\n\(fields)\r\n\r\n\(body)", status, detail)
    }
}

private let host = "Host: h\r\nContent-Type: application/x-www-form-urlencoded\r\n"
private let length = "Content-Length: 13"
private let chunked = "Transfer-Encoding: chunked"

/// Answered with this status and closed; the service sees nothing of them.
let refusedFraming: [FramingCase] =
    [
        .fields("TE with CL", "\(host)\(length)\r\n\(chunked)", 400, "both Content-Length and Transfer-Encoding"),
        .fields("CL with TE", "\(host)\(chunked)\r\n\(length)"),
        .fields("two lengths", "\(host)\(length)\r\n\(length)", 400, "there is more than one Content-Length"),
        .fields("list of lengths", "\(host)Content-Length: 13, 13", 400, "the Content-Length is not a number"),
        .fields("plus length", "\(host)Content-Length: +13", 400, "the Content-Length is not a number"),
        .fields("minus length", "\(host)Content-Length: -13"),
        .fields("tab after length", "\(host)Content-Length: 13\t"),
        .fields("hex length", "\(host)Content-Length: 0x0d"),
        .fields("no length", "\(host)Content-Length:"),
        .fields("inner space", "\(host)Content-Length: 1 3"),
        .fields("length beyond 64 bits", "\(host)Content-Length: 99999999999999999999", 413),
        .fields("gzip, chunked", "\(host)Transfer-Encoding: gzip, chunked"),
        .fields("chunked, chunked", "\(host)Transfer-Encoding: chunked, chunked"),
        .fields("identity", "\(host)Transfer-Encoding: identity"),
        .fields("xchunked", "\(host)Transfer-Encoding: xchunked"),
        .fields("quoted chunked", "\(host)Transfer-Encoding: \"chunked\""),
        .fields(
            "chunked with tab inside", "\(host)Transfer-Encoding: \u{B}chunked", 400, "a control byte in a header field"
        ),
        .fields("two codings", "\(host)\(chunked)\r\n\(chunked)"),
        .fields(
            "space before colon", "\(host)Content-Length : 13", 400,
            "a header line does not begin with a name and a colon"),
        .fields("tab after chunked", "\(host)\(chunked)\t"),
        .fields("tab before chunked", "\(host)Transfer-Encoding:\tchunked"),
        .fields("tab before colon", "\(host)Content-Length\t: 13"),
        .fields("folded", "\(host)X: a\r\n b\r\n\(length)", 400, "a folded header line"),
        .fields("folded at once", " X: a\r\n\(host)\(length)", 400, "a folded header line"),
        .fields("no colon", "\(host)\(length)\r\nX", 400, "a header line does not begin with a name and a colon"),
        .fields("no name", "\(host): x\r\n\(length)"),
        .fields("NUL in value", "\(host)X: a\0b\r\n\(length)", 400, "a control byte in a header field"),
        .fields("NUL in name", "\(host)X\0: b\r\n\(length)"),
        .fields(
            "bare LF", "\(host)X: a\nY: b\r\n\(length)", 400, "a line ends with a line feed alone; CR LF is required"),
        .fields("bare CR", "\(host)X: a\rY: b\r\n\(length)", 400, "a control byte in a header field"),
        .fields("CR CR LF", "\(host)X: a\r\r\n\(length)"),
        .fields("DEL", "\(host)X: \u{7F}\r\n\(length)"),
        .fields("no Host", length, 400, "there is no Host"),
        .fields("two Hosts", "\(host)Host: h\r\n\(length)", 400, "there is more than one Host"),
        .fields("Host with a path", "Host: h/x\r\n\(length)", 400, "the Host is not a name and a port"),
        .fields("Host with an at sign", "Host: a@h\r\n\(length)"),
        .fields(
            "two types", "\(host)Content-Type: text/plain\r\n\(length)", 400, "there is more than one Content-Type"),
        .fields("expectation", "\(host)\(length)\r\nExpect: tea", 417, "the only expectation met is 100-continue"),
        .fields("Prefer: wait=x", "\(host)\(length)\r\nPrefer: wait=x", 400, "Prefer: wait is not a number of seconds"),
        FramingCase(
            "HTTP/1.0 with TE", "POST /increment HTTP/1.0\r\n\(chunked)\r\n\r\n0\r\n\r\n", 400,
            "Transfer-Encoding in HTTP/1.0"),
        FramingCase("HTTP/2.0", "GET /livez HTTP/2.0\r\nHost: h\r\n\r\n", 505),
        FramingCase("HTTP/1.2", "GET /livez HTTP/1.2\r\nHost: h\r\n\r\n", 505),
        FramingCase("HTTP/0.9", "GET /livez\r\n\r\n", 400),
        FramingCase("http/1.1", "GET /livez http/1.1\r\nHost: h\r\n\r\n", 400),
        FramingCase(
            "HTTP/1.1x", "GET /livez HTTP/1.1x\r\nHost: h\r\n\r\n", 400, "the request line does not end with HTTP/1.1"),
        FramingCase("HTTP/1.10", "GET /livez HTTP/1.10\r\nHost: h\r\n\r\n", 400),
        FramingCase(
            "two spaces", "GET  /livez HTTP/1.1\r\nHost: h\r\n\r\n", 400,
            "more than one space follows the method"),
        FramingCase(
            "two spaces later", "GET /livez  HTTP/1.1\r\nHost: h\r\n\r\n", 400,
            "the blank at offset 6 of the request target must be percent-encoded, as %20"),
        FramingCase(
            "blank in a query", "POST /increment?key=a b&value=1 HTTP/1.1\r\nHost: h\r\n\r\n", 400,
            "the blank at offset 16 of the request target must be percent-encoded, as %20"),
        FramingCase("tab", "GET\t/livez HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        FramingCase(
            "space at the end", "GET /livez HTTP/1.1 \r\nHost: h\r\n\r\n", 400,
            "the request line does not end with HTTP/1.1"),
        FramingCase("leading space", " GET /livez HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        FramingCase("request line LF", "GET /livez HTTP/1.1\nHost: h\r\n\r\n", 400),
        FramingCase("two empty lines first", "\r\n\r\nGET /livez HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        FramingCase("LF first", "\nGET /livez HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        FramingCase("TLS", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\n", 400),
        FramingCase(
            "control in target", "GET /livez\u{1} HTTP/1.1\r\nHost: h\r\n\r\n", 400,
            "the byte 0x01 at offset 6 of the request target must be percent-encoded, as %01"),
        FramingCase(
            "UTF-8 in target", "GET /é HTTP/1.1\r\nHost: h\r\n\r\n", 400,
            "the byte 0xc3 at offset 1 of the request target must be percent-encoded, as %C3"),
        FramingCase(
            "fragment", "GET /livez#x HTTP/1.1\r\nHost: h\r\n\r\n", 400,
            "the request target has a fragment: a # in a key must be percent-encoded, as %23"),
        FramingCase("no path", "GET livez HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        FramingCase("other scheme", "GET ftp://h/livez HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        FramingCase("no authority", "GET http:///livez HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        FramingCase("user", "GET http://u@h/livez HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        FramingCase("unknown method", "BREW /increment HTTP/1.1\r\nHost: h\r\n\r\n", 501, "the method is unknown"),
        FramingCase("lower case method", "post /increment HTTP/1.1\r\nHost: h\r\n\r\n", 501),
        FramingCase("CONNECT", "CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        .fields("declared too large", "\(host)Content-Length: 1048577", 413, "the body is larger than 1048576 bytes"),
    ] + refusedChunks

private func chunks(_ name: String, _ body: String, _ status: Int = 400, _ detail: String? = nil) -> FramingCase {
    FramingCase(name, "POST /increment HTTP/1.1\r\n\(host)\(chunked)\r\n\r\n\(body)", status, detail)
}

private let refusedChunks: [FramingCase] = [
    chunks("chunk size missing", "\r\nkey", 400, "a chunk size is not hexadecimal"),
    chunks("chunk size sign", "+d\r\nkey=a&value=1\r\n0\r\n\r\n"),
    chunks("chunk size 0x", "0xd\r\nkey=a&value=1\r\n0\r\n\r\n"),
    chunks("chunk size with space", "d \r\nkey=a&value=1\r\n0\r\n\r\n"),
    chunks("chunk size of 16 digits", "000000000000000d\r\nkey", 400, "a chunk size has more than 15 digits"),
    chunks("chunk size too large", "fffffffffffffff\r\nkey", 413, "the body is larger than 1048576 bytes"),
    chunks("chunk size LF", "d\nkey=a&value=1\r\n0\r\n\r\n"),
    chunks("chunk longer", "5\r\nkey=a&value=1\r\n0\r\n\r\n", 400, "a chunk is longer than its size"),
    chunks("chunk without CR", "d\r\nkey=a&value=1\n0\r\n\r\n", 400, "a chunk is longer than its size"),
    chunks(
        "control in extension", "d;a=\u{1}\r\nkey=a&value=1\r\n0\r\n\r\n", 400,
        "a chunk extension is not a name or a name and a value"),
    chunks(
        "long chunk line", "d;\(String(repeating: "x", count: 256))\r\n", 400,
        "a chunk size line is longer than 256 bytes"),
    chunks("bad trailer", "d\r\nkey=a&value=1\r\n0\r\nX : y\r\n\r\n"),
    chunks(
        "length in a trailer", "d\r\nkey=a&value=1\r\n0\r\nContent-Length: 22\r\n\r\n", 400,
        "a trailer field that belongs into the head"),
    chunks("coding in a trailer", "d\r\nkey=a&value=1\r\n0\r\ntransfer-encoding: chunked\r\n\r\n"),
    chunks("connection in a trailer", "d\r\nkey=a&value=1\r\n0\r\nConnection: close\r\n\r\n"),
    chunks("folded trailer", "d\r\nkey=a&value=1\r\n0\r\nX: y\r\n z\r\n\r\n"),
]

@Suite struct RequestParserTests {
    @Test(arguments: refusedFraming)
    func refusesAndCloses(_ framing: FramingCase) throws {
        let embedded = EmbeddedFront()
        let client = try embedded.connect()
        try client.send(framing.request + one)
        let answers = try client.answers()
        #expect(answers.map(\.status) == [framing.status])
        #expect(answers.first?.fields["connection"] == "close")
        #expect(answers.first?.fields["content-type"] == "application/problem+json")
        if let detail = framing.detail { #expect(answers.first?.body.contains("\"detail\":\"\(detail)\"") == true) }
        #expect(client.isOpen == false)
        #expect(embedded.service.counted == [])
    }

    @Test(arguments: [
        one,
        "\r\n" + one,
        one.replacing("Content-Length", with: "cOnTeNt-LeNgTh"),
        one.replacing("Content-Length: 13", with: "Content-Length:  0013 "),
        one.replacing("/increment ", with: "http://example.org:3333/increment "),
        one.replacing("/increment ", with: "HTTPS://[::1]:3333/increment "),
        one.replacing("Host: h", with: "Host:"),
        one.replacing("Host: h", with: "Host: h\r\nX: caf\u{e9}\u{9}!\r\nX:"),
        one.replacing(formType, with: "Application/X-WWW-Form-Urlencoded ; charset=utf-8"),
        chunks("", "e\r\nkey=a&value=1&\r\n0\r\n\r\n", 200).request,
        chunks("", "04;x=\"y\"\r\nkey=\r\na\r\na&value=1&\r\n000\r\nTrailer: x\r\n\r\n", 200).request,
        chunks("", "e\r\nkey=a&value=1&\r\n0\r\n\r\n", 200).request.replacing("chunked", with: "Chunked"),
        "POST /increment?key=a&value=1 HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST /increment HTTP/1.0\r\nContent-Type: \(formType)\r\nContent-Length: 13\r\n\r\nkey=a&value=1",
    ])
    func accepts(_ request: String) throws {
        let embedded = EmbeddedFront()
        let client = try embedded.connect()
        try client.send(request)
        #expect(try client.answers().map(\.description) == [#"200 {"accepted":1,"level":"queued"}"#])
        #expect(embedded.service.counted == ["a=1"])
        #expect(client.isOpen == !request.contains("HTTP/1.0"))
    }

    @Test func everySplitGivesTheSameAnswers() throws {
        let streams: [String] = [
            one + post("/increments", "text/plain", "a 1\r\nb c\t-2\n") + "GET /livez HTTP/1.1\r\nHost: h\r\n\r\n",
            chunks("", "4;x\r\nkey=\r\na\r\na&value=1&\r\n0\r\nT: x\r\n\r\n", 200).request + one,
            "\r\n" + post("/increment", "application/json", #"{"key":"é\n","value":1}"#, "Expect: 100-continue\r\n")
                + one,
            one + refusedFraming[0].request,
            post(
                "/increments?level=stored", "application/x-ndjson", "{\"key\":\"a\",\"value\":1}\n\n",
                "Prefer: wait=3\r\n"),
            chunks("", "1\r\nk\r\nzz\r\n", 400).request,
        ]
        for stream in streams {
            let bytes = Array(stream.utf8)
            let whole = try outcome(of: [bytes])
            for split in 1..<bytes.count {
                let parts = [Array(bytes[..<split]), Array(bytes[split...])]
                #expect(try outcome(of: parts) == whole, "split at \(split) of \(stream.debugDescription)")
            }
            #expect(try outcome(of: bytes.map { [$0] }) == whole, "byte by byte: \(stream.debugDescription)")
        }
    }

    private struct SplitOutcome: Equatable {
        var answers: [Answer]
        var counted: [String]
        var requests: [IncrementRequest]
        var isOpen: Bool
    }

    private func outcome(of parts: [[UInt8]]) throws -> SplitOutcome {
        let embedded = EmbeddedFront()
        let client = try embedded.connect()
        for part in parts { try client.send(part) }
        var answers = try client.answers()
        for index in answers.indices { answers[index].fields["date"] = nil }
        return SplitOutcome(
            answers: answers, counted: embedded.service.counted, requests: embedded.service.requests,
            isOpen: client.isOpen)
    }

    // MARK: Bounds, and one past them

    private func status(_ request: String, _ limits: HTTPLimits = HTTPLimits()) throws -> [Int] {
        let whole = try answers(to: request, limits).map(\.status)
        let client = try EmbeddedFront(limits: limits).connect()
        for byte in request.utf8 { try client.send([byte]) }
        #expect(try client.answers().map(\.status) == whole)
        return whole
    }

    @Test func requestLineIsBounded() throws {
        func request(_ bytes: Int) -> String {
            let pad = String(repeating: "x", count: bytes - "GET /livez? HTTP/1.1".count)
            return "GET /livez?\(pad) HTTP/1.1\r\nHost: h\r\n\r\n"
        }
        #expect(try status(request(8192)) == [200])
        #expect(try status(request(8193)) == [414])
    }

    @Test func headerBytesAreBounded() throws {
        func request(_ bytes: Int) -> String {
            let pad = String(repeating: "x", count: bytes - "Host: h\r\nX: \r\n".utf8.count)
            return "GET /livez HTTP/1.1\r\nHost: h\r\nX: \(pad)\r\n\r\n"
        }
        #expect(try status(request(16_384)) == [200])
        #expect(try status(request(16_385)) == [431])
    }

    @Test func headerFieldsAreBounded() throws {
        func request(_ count: Int) -> String {
            "GET /livez HTTP/1.1\r\nHost: h\r\n" + String(repeating: "X: y\r\n", count: count - 1) + "\r\n"
        }
        #expect(try status(request(64)) == [200])
        #expect(try status(request(65)) == [431])
    }

    @Test func trailersAreBounded() throws {
        func request(_ count: Int) -> String {
            let trailer = String(repeating: "X: y\r\n", count: count)
            return chunks("", "e\r\nkey=a&value=1&\r\n0\r\n\(trailer)\r\n", 200).request
        }
        #expect(try status(request(64)) == [200])
        #expect(try status(request(65)) == [431])
    }

    @Test func chunkExtensionsAreBoundedTogether() throws {
        func request(_ bytes: Int) -> String {
            var limits = bytes
            var body = ""
            for byte in "key=a&value=1&" {
                let size = min(limits, 200)
                limits -= size
                body += "1" + (size > 0 ? ";" + String(repeating: "x", count: size - 1) : "") + "\r\n\(byte)\r\n"
            }
            return chunks("", body + "0\r\n\r\n", 200).request
        }
        var limits = HTTPLimits()
        limits.chunkExtensionBytes = 1000
        #expect(try status(request(1000), limits) == [200])
        #expect(try status(request(1001), limits) == [400])
    }

    @Test func bodiesAreBounded() throws {
        var limits = HTTPLimits()
        limits.bodyBytes = 14
        #expect(try status(one, limits) == [200])
        #expect(try status(post("/increment", formType, "key=a&value=123"), limits) == [413])
        #expect(try status(chunks("", "4\r\nkey=\r\na\r\na&value=1&\r\n0\r\n\r\n", 200).request, limits) == [200])
        #expect(try status(chunks("", "4\r\nkey=\r\nb\r\na&value=12&\r\n0\r\n\r\n", 413).request, limits) == [413])
    }

    @Test func incrementsAreBounded() throws {
        func lines(_ count: Int) -> String {
            post("/increments", "text/plain", String(repeating: "k 1\n", count: count))
        }
        #expect(try answers(to: lines(10_000))[0].body == #"{"accepted":10000,"level":"queued"}"#)
        let refused = try answers(to: lines(10_001))[0]
        #expect(refused.status == 413)
        #expect(refused.body.contains("line 10001: there are more than 10000 increments"))
    }
}
