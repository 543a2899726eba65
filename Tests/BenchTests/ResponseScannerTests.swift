import Testing

@testable import Bench

@Suite struct ResponseScannerTests {
    private static func feed(_ scanner: inout ResponseScanner, _ text: some Sequence<UInt8>) -> ResponseScanner.Result {
        Array(text).withUnsafeBytes { scanner.scan($0) }
    }

    private static let body = #"{"accepted":1,"level":"queued"}"#
    private static let answer =
        "HTTP/1.1 200 OK\r\nDate: Sat, 21 Nov 2026 12:00:00 GMT\r\n"
        + "Content-Type: application/json\r\nContent-Length: 31\r\n\r\n" + body

    /// An answer, split at every byte, and in three at every pair of bytes; the next one follows on the connection.
    @Test func splitAtEveryByte() {
        let bytes = Array(Self.answer.utf8)
        var scanner = ResponseScanner()
        for first in 0..<bytes.count {
            for second in first..<bytes.count {
                for part in [bytes[..<first], bytes[first..<second]] where !part.isEmpty {
                    #expect(Self.feed(&scanner, part) == .incomplete)
                }
                let expected = ResponseScanner.Result.answer(status: 200, closes: false, consumed: bytes.count - second)
                #expect(Self.feed(&scanner, bytes[second...]) == expected, "split at \(first) and \(second)")
            }
        }
    }

    @Test func byteByByte() {
        var scanner = ResponseScanner()
        for byte in Self.answer.utf8.dropLast() { #expect(Self.feed(&scanner, [byte]) == .incomplete) }
        #expect(Self.feed(&scanner, [UInt8(ascii: "}")]) == .answer(status: 200, closes: false, consumed: 1))
    }

    @Test func whatMattersIsFound() {
        let refusal =
            "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\ncontent-LENGTH:\t2 \r\nCONNECTION: Close\r\n\r\n{}"
        let empty = "HTTP/1.0 202 Accepted\r\nContent-Length: 0\r\n\r\n"
        let cases: [(String, ResponseScanner.Result)] = [
            (refusal, .answer(status: 503, closes: true, consumed: refusal.utf8.count)),
            (empty, .answer(status: 202, closes: false, consumed: empty.utf8.count)),
            ("HTTP/1.1 204\r\n\r\n", .answer(status: 204, closes: false, consumed: 16)),
            // Two answers to one request: the caller sees that not everything was consumed.
            ("HTTP/1.1 204\r\n\r\nHTTP/1.1 204\r\n\r\n", .answer(status: 204, closes: false, consumed: 16)),
        ]
        for (text, expected) in cases {
            var scanner = ResponseScanner()
            #expect(Self.feed(&scanner, text.utf8) == expected, "\(text)")
        }
    }

    @Test func theRestIsUnreadable() {
        let heads = [
            "ICY 200 OK", "HTTP/2 200 OK", "HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 100 Continue",
            "HTTP/1.1 200 OK", "HTTP/1.1 200 OK\r\nContent-Length: -1", "HTTP/1.1 200 OK\r\nContent-Length:",
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999", "HTTP/1.1 200 OK\r\nContent-Length: 9999999999",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2",
        ]
        for head in heads {
            var scanner = ResponseScanner()
            #expect(Self.feed(&scanner, "\(head)\r\n\r\n".utf8) == .unreadable, "\(head)")
        }
        // A head without end is not held for ever.
        var scanner = ResponseScanner()
        let line = Array("X-Field: \(String(repeating: "x", count: 1_000))\r\n".utf8)
        #expect(Self.feed(&scanner, "HTTP/1.1 200 OK\r\n".utf8) == .incomplete)
        var results: [ResponseScanner.Result] = []
        for _ in 0...(ResponseScanner.headBytesMax / line.count) { results.append(Self.feed(&scanner, line)) }
        #expect(results.dropLast().allSatisfy { $0 == .incomplete } && results.last == .unreadable)
    }

    @Test func resetForgets() {
        var scanner = ResponseScanner()
        let bytes = Array(Self.answer.utf8)
        for end in [10, bytes.count - 1] {
            #expect(Self.feed(&scanner, bytes[..<end]) == .incomplete)
            scanner.reset()
            #expect(Self.feed(&scanner, bytes) == .answer(status: 200, closes: false, consumed: bytes.count))
        }
    }
}
