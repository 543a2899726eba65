// Differential fuzz: the same bytes through our parser and through NIO's HTTP codec (llhttp), the reference.
//
// Two things are demanded of every execution. What ours reads as a request, the codec reads as the same request:
// method, target, version, body, persistence. And what the codec refuses, ours refuses or still waits for. Ours is
// also fed in random pieces and must not notice, and once more with the heads that it has kept from all streams before.
//
// Ours is stricter on purpose, so the converse is not demanded: line ends of LF alone, empty lines before a request
// beyond one, repeated Content-Length of the same value, lists of transfer codings, transfer codings in HTTP/1.0,
// a missing or repeated Host, a repeated Authorization, versions but 1.0 and 1.1, unknown methods, targets with
// fragments, userinfo or bytes above 0x7E, tabs beside a length or a transfer coding, spaces in chunk size lines,
// trailers that would frame or route, control bytes, more of anything than the limits, Expect and Prefer of other
// forms. Not generated: CONNECT and Upgrade, after which the codec hands the connection over.
//
// TALLYMILL_FUZZ_EXECUTIONS and TALLYMILL_FUZZ_SEED set the length and the start.

import NIOCore
import NIOEmbedded
import NIOHTTP1
import TallyCore
import Testing

@testable import HTTPFront

#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

/// A request as either parser reports it.
private struct Seen: Equatable {
    var method: String
    var query: String?
    var isHTTP10: Bool
    var keepsAlive: Bool
    var body: [UInt8]
}

private struct Reading {
    var requests: [Seen] = []
    var isRefused = false
}

@Suite struct CodecFuzzTests {
    @Test func ourParserNeverDisagreesWithTheCodec() throws {
        let executions = setting("TALLYMILL_FUZZ_EXECUTIONS") ?? 20_000
        let seed = setting("TALLYMILL_FUZZ_SEED") ?? UInt64.random(in: 0..<1_000_000_000)
        print("codec fuzz: \(executions) executions from TALLYMILL_FUZZ_SEED=\(seed)")
        var requests = 0
        var refusals = 0
        var heads = HeadCache()
        for execution in 0..<executions {
            var generator = Generator(seed: seed &+ execution)
            let bytes = generator.stream()
            let ours = readOurs([bytes])
            let codec = readCodec(bytes)
            let place =
                "TALLYMILL_FUZZ_SEED=\(seed &+ execution): \(String(decoding: bytes, as: UTF8.self).debugDescription)"
            try #require(codec.requests.count >= ours.requests.count, "the codec read fewer requests; \(place)")
            try #require(Array(codec.requests.prefix(ours.requests.count)) == ours.requests, "\(place)")
            let pieces = readOurs(generator.pieces(bytes))
            try #require(pieces.requests == ours.requests && pieces.isRefused == ours.isRefused, "in pieces; \(place)")
            let remembered = readOurs([bytes], &heads)
            try #require(
                remembered.requests == ours.requests && remembered.isRefused == ours.isRefused,
                "with kept heads; \(place)")
            requests += ours.requests.count
            refusals += ours.isRefused ? 1 : 0
        }
        print("codec fuzz: \(requests) requests read alike, \(refusals) of \(executions) streams refused")
        // A generator that only makes rubbish, or none, would prove nothing.
        #expect(requests > Int(executions) / 4)
        #expect(refusals > Int(executions) / 10)
    }

    private func setting(_ name: String) -> UInt64? {
        getenv(name).flatMap { UInt64(String(cString: $0)) }
    }

    private func readOurs(_ pieces: [[UInt8]]) -> Reading {
        var none = HeadCache()
        return readOurs(pieces, &none)
    }

    private func readOurs(_ pieces: [[UInt8]], _ heads: inout HeadCache) -> Reading {
        var reading = Reading()
        var kept: [UInt8] = []
        var parser = RequestParser()
        for piece in pieces where !reading.isRefused {
            kept += piece
            while !kept.isEmpty {
                let used = kept.withUnsafeBytes { bytes -> Int? in
                    if parser.isFresh, let known = heads.find(bytes) {
                        parser = RequestParser(known)
                        return 0
                    }
                    do throws(Malformed) {
                        switch try parser.advance(bytes, HTTPLimits()) {
                        case .needsMore: return nil
                        case .head:
                            heads.keep(parser.head, bytes)
                            return 0
                        case .complete(let length):
                            let body = parser.withBody(bytes) { Array($0) }
                            reading.requests.append(seen(parser.head, bytes, body))
                            return length
                        }
                    } catch {
                        reading.isRefused = true
                        return nil
                    }
                }
                guard let used else { break }
                if used == 0 { continue }
                kept.removeSubrange(..<used)
                parser = RequestParser()
                if reading.requests.last?.keepsAlive == false { return reading }
            }
            if let chunks = parser.releaseDecodedChunks() { kept.removeSubrange(chunks) }
        }
        return reading
    }

    private func seen(_ head: RequestHead, _ bytes: UnsafeRawBufferPointer, _ body: [UInt8]) -> Seen {
        let end = bytes.firstIndex(of: ASCII.space, from: bytes.firstIndex { $0 > 0x20 } ?? 0)
        let start = bytes.firstIndex { $0 > 0x20 } ?? 0
        return Seen(
            method: String(decoding: bytes[start..<end], as: UTF8.self),
            query: head.hasQuery ? String(decoding: head.query.of(bytes), as: UTF8.self) : nil,
            isHTTP10: head.isHTTP10, keepsAlive: head.persistence != .closes, body: body)
    }

    private func readCodec(_ bytes: [UInt8]) -> Reading {
        var reading = Reading()
        let channel = EmbeddedChannel(
            handler: ByteToMessageHandler(HTTPRequestDecoder(leftOverBytesStrategy: .dropBytes)))
        do { try channel.writeInbound(ByteBuffer(bytes: bytes)) } catch { reading.isRefused = true }
        var head: HTTPRequestHead?
        var body: [UInt8] = []
        while let part = try? channel.readInbound(as: HTTPServerRequestPart.self) {  // nothing is left after an error
            switch part {
            case .head(let next):
                head = next
                body = []
            case .body(let buffer): body += Array(buffer.readableBytesView)
            case .end:
                guard let head else { continue }
                // RFC 9112, section 9.3: close wins over keep-alive; NIO's property lets the first field win.
                let closes = head.headers[canonicalForm: "connection"].contains { $0.lowercased() == "close" }
                let question = head.uri.firstIndex(of: "?")
                reading.requests.append(
                    Seen(
                        method: head.method.rawValue, query: question.map { String(head.uri[$0...].dropFirst()) },
                        isHTTP10: head.version.minor == 0, keepsAlive: head.isKeepAlive && !closes, body: body))
            }
        }
        _ = try? channel.finish()  // a request that was cut off is no finding
        return reading
    }
}

extension UnsafeRawBufferPointer {
    fileprivate func firstIndex(of byte: UInt8, from start: Int) -> Int {
        self[start...].firstIndex(of: byte) ?? count
    }
}

/// Streams of requests that follow the grammar, mostly, with a few bytes changed where parsers disagree.
private struct Generator {
    private var random: SplitMix64

    init(seed: UInt64) {
        random = SplitMix64(seed: seed)
        _ = random.next()  // neighbouring seeds begin alike
    }

    mutating func stream() -> [UInt8] {
        var bytes: [UInt8] = []
        for _ in 0...below(3) { bytes += Array(request().utf8) }
        if below(2) == 0 { for _ in 0...below(3) { mutate(&bytes) } }
        return bytes
    }

    mutating func pieces(_ bytes: [UInt8]) -> [[UInt8]] {
        var pieces: [[UInt8]] = []
        var rest = bytes[...]
        while !rest.isEmpty {
            let length = min(rest.count, 1 + below(below(4) == 0 ? 3 : 60))
            pieces.append(Array(rest.prefix(length)))
            rest = rest.dropFirst(length)
        }
        return pieces
    }

    private mutating func request() -> String {
        let method = rarely() ? pick(["PUT", "OPTIONS", "get", "HEAD", "G@T"]) : pick(["POST", "POST", "GET"])
        let target = pick([
            "/increment", "/increments?level=memory", "/x?a=b?c", "/?", "http://h/increment?x", "*", "/livez", "/%zz",
        ])
        let version = rarely() ? pick(["HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", "HTTP/1.1 "]) : "HTTP/1.1"
        var lines = ["\(method) \(target) \(version)"]
        if !rarely() { lines.append("Host: h") }
        for _ in 0..<below(3) { lines.append(field()) }
        let (framing, body) = self.body()
        lines += framing
        return (rarely() ? "\r\n" : "") + lines.joined(separator: rarely() ? "\n" : "\r\n") + "\r\n\r\n" + body
    }

    private mutating func field() -> String {
        if rarely() {
            return pick([
                "X : y", "X: y\r\n z", "X: a\0b", "Transfer-Encoding: gzip", "Transfer-Encoding : chunked",
                "Content-Length: 3", "X-\u{E9}: y", ": y",
            ])
        }
        return pick([
            "X: y", "X:", "X:  y \t", "Connection: keep-alive", "connection: x, y", "Content-Type: text/plain",
            "Prefer: wait=3", "Expect: 100-continue", "Authorization: Bearer x", "X: \u{E9}",
        ]).replacing("x, y", with: rarely() ? "x, Close" : "x, y")
    }

    private mutating func body() -> ([String], String) {
        let text = String(repeating: "k", count: below(5)) + pick(["", "=1", "\r\n", "GET / HTTP/1.1\r\n\r\n"])
        let length = text.utf8.count
        switch below(8) {
        case 0: return ([], "")
        case 1: return (["Content-Length: 0\(length)"], text)
        case 2, 3: return (["Transfer-Encoding: \(pick(["chunked", "Chunked", "\tchunked "]))"], chunks(text))
        case 4 where rarely():
            let lengths = [
                "+\(length)", "\(length), \(length)", "-0", "\(length) x", "99999999999999999999", "0x1", "",
            ]
            return (["Content-Length: \(pick(lengths))"], text)
        case 5 where rarely(): return (["Content-Length: \(length)", "Transfer-Encoding: chunked"], chunks(text))
        case 6 where rarely():
            return (["Transfer-Encoding: \(pick(["gzip, chunked", "chunked, x", "x"]))"], chunks(text))
        default: return (["Content-Length: \(length)"], text)
        }
    }

    private mutating func chunks(_ text: String) -> String {
        var body = ""
        var rest = Substring(text)
        while !rest.isEmpty {
            let part = rest.prefix(1 + below(4))
            rest = rest.dropFirst(part.count)
            let size = String(part.utf8.count, radix: 16)
            let line =
                rarely() ? pick(["+\(size)", "\(size) ", "0x\(size)", "", "\(size);", "ffffffffffffffff1"]) : size
            body += pick(["", "", "0"]) + line + pick(["", "", ";x=y"]) + "\r\n\(part)\r\n"
        }
        return body + "0\r\n" + (rarely() ? pick(trailers) : "") + "\r\n"
    }

    private let trailers = [
        "T: x\r\n", "T : x\r\n", " x\r\n", "x\r\n", "Content-Length: 3\r\n", "Connection: close\r\n",
        "Transfer-Encoding: chunked\r\n", "Content-Type: x\r\n",
    ]

    private mutating func mutate(_ bytes: inout [UInt8]) {
        let special = Array("\r\n\0 \t:,;+-0159aAfkx\"".utf8) + [0x7F, 0x80, 0xFF]
        let place = below(bytes.count)
        switch below(5) {
        case 0: bytes[place] = special[below(special.count)]
        case 1: bytes.insert(special[below(special.count)], at: place)
        case 2: bytes.remove(at: place)
        case 3: bytes[place] ^= 1 << UInt8(below(8))
        default:
            let end = min(bytes.count, place + 1 + below(30))
            bytes.insert(contentsOf: Array(bytes[place..<end]), at: below(bytes.count))
        }
        if bytes.isEmpty { bytes = [ASCII.space] }
    }

    private mutating func below(_ bound: Int) -> Int { Int.random(in: 0..<bound, using: &random) }
    private mutating func rarely() -> Bool { below(20) == 0 }
    private mutating func pick(_ choices: [String]) -> String { choices[below(choices.count)] }
}
