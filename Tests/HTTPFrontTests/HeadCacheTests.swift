// Which heads are kept, for how long, and that a kept one is found again and no other.

import Testing

@testable import HTTPFront

@Suite struct HeadCacheTests {
    private var cache = HeadCache()

    private func head(_ fields: String, target: String = "/increment") -> [UInt8] {
        Array("POST \(target) HTTP/1.1\r\nHost: h\r\n\(fields)\r\n".utf8)
    }

    /// Reads and keeps a head; nil if it is none.
    private mutating func keep(_ bytes: [UInt8]) throws -> RequestHead {
        try bytes.withUnsafeBytes { bytes in
            var parser = RequestParser()
            guard case .head = try parser.advance(bytes, HTTPLimits()) else { throw Malformed("no head") }
            cache.keep(parser.head, bytes)
            return parser.head
        }
    }

    private mutating func find(_ bytes: [UInt8]) -> RequestHead? {
        bytes.withUnsafeBytes { cache.find($0) }
    }

    @Test mutating func aKeptHeadIsFoundWithAnyBody() throws {
        let bytes = head("Content-Length: 13\r\nContent-Type: text/plain\r\n")
        #expect(find(bytes) == nil)
        let read = try keep(bytes)
        for rest in ["", "k", "key=a&value=1POST"] {
            let found = try #require(find(bytes + Array(rest.utf8)))
            #expect(found.contentLength == 13 && found.mediaType == .text && found.bodyStart == read.bodyStart)
        }
        #expect(find(bytes.dropLast()) == nil)
        #expect(find(head("Content-Length: 14\r\nContent-Type: text/plain\r\n")) == nil)
    }

    @Test mutating func theLengthOfAHeadDecides() throws {
        // The first is what the second begins with, but for the empty line.
        _ = try keep(head("Content-Length: 1\r\n"))
        #expect(find(head("Content-Length: 1\r\nContent-Type: text/plain\r\n")) == nil)
    }

    @Test mutating func whatComesOnceIsNotKept() throws {
        for bytes in [
            head("Content-Length: 1\r\nIdempotency-Key: x\r\n"), head("", target: "/increment?key=a&value=1"),
            head("X: \(String(repeating: "x", count: 600))\r\nContent-Length: 1\r\n"),
        ] {
            _ = try keep(bytes)
            #expect(find(bytes) == nil)
        }
    }

    private func head(credentials: String) -> [UInt8] {
        head("Authorization: \(credentials)\r\nContent-Length: 1\r\n")
    }

    @Test mutating func credentialsAreNotCompared() throws {
        let read = try keep(head(credentials: "Bearer secret"))
        for other in ["Bearer secret", "Bearer SECRET", "Basic 1234567", "x \t ä======="] {
            let bytes = head(credentials: other)
            let found = try #require(find(bytes), "\(other)")
            #expect(found.bodyStart == read.bodyStart)
            let value = bytes.withUnsafeBytes { Array(found.authorization.of($0)) }
            #expect(value == Array(other.utf8), "what is found are the credentials of this head")
        }
    }

    @Test mutating func credentialsAreNotKept() throws {
        _ = try keep(head(credentials: "Bearer ~~~~"))
        var dumped = ""
        dump(cache, to: &dumped)
        func holds(_ byte: UInt8) -> Bool { dumped.contains("- \(byte)\n") }
        #expect(holds(UInt8(ascii: "P")) && !holds(UInt8(ascii: "~")))
    }

    @Test mutating func whatWouldBeReadDifferentlyIsNotFound() throws {
        _ = try keep(head(credentials: "Bearer secret"))
        for other in [
            "Bearer secre", "Bearer secrets", " earer secret", "\tearer secret", "Bearer secre ", "Bearer secre\t",
            "Bearer\0secret", "Bearer\nsecret", "B\r\nX: secrets", "Bearer se\u{7F}ret",
        ] {
            #expect(find(head(credentials: other)) == nil, "\(other.debugDescription)")
        }
        #expect(find(head("Content-Length: 1\r\n")) == nil)
    }

    @Test mutating func whatIsUsedOutlivesWhatIsNot() throws {
        let used = head("X: used\r\nContent-Length: 1\r\n")
        _ = try keep(used)
        for number in 0..<200 {
            #expect(find(used) != nil)
            _ = try keep(head("X: \(number)\r\nContent-Length: 1\r\n"))
        }
    }
}
