// The little of HTTP/1.1 that an answer to an increment has: a status line, header lines, and a body whose length the
// header tells. Anything else is unreadable: the connection is given up, and the request's fate is unknown.
//
// A head that arrives in one piece, as nearly all do, is read in place. A split one is put together first.

import Glibc

/// Reads the answers of one connection, one after another.
struct ResponseScanner {
    enum Result: Hashable {
        /// Everything was taken, and the answer goes on.
        case incomplete
        /// The answer has ended after so many bytes of those given.
        case answer(status: Int, closes: Bool, consumed: Int)
        case unreadable
    }

    private struct Head {
        var status = 0
        var closes = false
        var bodyBytes: Int?
        var headBytes = 0
    }

    private enum Parsed {
        case incomplete
        case head(Head)
        case unreadable
    }

    static let headBytesMax = 16 << 10
    static let bodyBytesMax = 1 << 20

    /// The beginning of a head that was split.
    private var held: [UInt8] = []
    /// The answer whose body is being read.
    private var current: Head?
    private var bodyBytesLeft = 0

    mutating func scan(_ bytes: UnsafeRawBufferPointer) -> Result {
        if current != nil { return body(bytes, from: 0) }
        let heldBytes = held.count
        if heldBytes > 0 { held.append(contentsOf: bytes) }
        let parsed = heldBytes > 0 ? held.withUnsafeBytes(Self.parse) : Self.parse(bytes)
        switch parsed {
        case .unreadable: return .unreadable
        case .incomplete:
            if heldBytes == 0 { held.append(contentsOf: bytes) }
            return held.count > Self.headBytesMax ? .unreadable : .incomplete
        case .head(let head):
            guard let length = head.bodyBytes ?? (head.status == 204 ? 0 : nil), length <= Self.bodyBytesMax else {
                return .unreadable
            }
            held.removeAll(keepingCapacity: true)
            current = head
            bodyBytesLeft = length
            return body(bytes, from: head.headBytes - heldBytes)
        }
    }

    /// Forgets what was read, for another connection.
    mutating func reset() {
        held.removeAll(keepingCapacity: true)
        current = nil
        bodyBytesLeft = 0
    }

    private mutating func body(_ bytes: UnsafeRawBufferPointer, from offset: Int) -> Result {
        let taken = min(bodyBytesLeft, bytes.count - offset)
        bodyBytesLeft -= taken
        guard bodyBytesLeft == 0, let head = current else { return .incomplete }
        current = nil
        return .answer(status: head.status, closes: head.closes, consumed: offset + taken)
    }

    private static func parse(_ bytes: UnsafeRawBufferPointer) -> Parsed {
        var head = Head()
        var start = 0
        while let end = lineEnd(bytes, from: start) {
            let line = UnsafeRawBufferPointer(rebasing: bytes[start..<end])
            let isFirst = start == 0
            start = end + 2
            if isFirst {
                guard let status = status(line) else { return .unreadable }
                head.status = status
            } else if line.isEmpty {
                head.headBytes = start
                return .head(head)
            } else if !read(line, into: &head) {
                return .unreadable
            }
        }
        return .incomplete
    }

    /// Where the CR of the next CR LF is.
    private static func lineEnd(_ bytes: UnsafeRawBufferPointer, from start: Int) -> Int? {
        var from = start
        while from < bytes.count, let base = bytes.baseAddress,
            let found = memchr(base + from, 0x0A, bytes.count - from)
        {
            let index = UnsafeRawPointer(found) - base
            if index > start && bytes[index - 1] == 0x0D { return index - 1 }
            from = index + 1
        }
        return nil
    }

    /// The status of `HTTP/1.x NNN ...`.
    private static func status(_ line: UnsafeRawBufferPointer) -> Int? {
        guard line.count >= 12, equals(line, 0, "http/1."), line[8] == 0x20 else { return nil }
        guard let status = number(line, 9..<12), status >= 200, line.count == 12 || line[12] == 0x20 else { return nil }
        return status
    }

    /// Takes from a header line what matters; false if the answer cannot be read.
    private static func read(_ line: UnsafeRawBufferPointer, into head: inout Head) -> Bool {
        switch line[0] | 0x20 {
        case UInt8(ascii: "c"):
            if let value = value(line, "content-length:") {
                guard head.bodyBytes == nil, let length = number(line, value) else { return false }
                head.bodyBytes = length
            } else if let value = value(line, "connection:"), value.count == 5, equals(line, value.lowerBound, "close")
            {
                head.closes = true
            }
            return true
        case UInt8(ascii: "t"): return value(line, "transfer-encoding:") == nil
        default: return true
        }
    }

    /// The range of a field's value without outer spaces, if the line begins with that name.
    private static func value(_ line: UnsafeRawBufferPointer, _ name: StaticString) -> Range<Int>? {
        guard equals(line, 0, name) else { return nil }
        var range = name.utf8CodeUnitCount..<line.count
        while let first = range.first, line[first] == 0x20 || line[first] == 0x09 { range = range.dropFirst() }
        while let last = range.last, line[last] == 0x20 || line[last] == 0x09 { range = range.dropLast() }
        return range
    }

    /// Whether `text`, in lower case, stands at `offset` in any case.
    private static func equals(_ line: UnsafeRawBufferPointer, _ offset: Int, _ text: StaticString) -> Bool {
        text.withUTF8Buffer { text in
            guard line.count - offset >= text.count else { return false }
            for index in 0..<text.count {
                let byte = line[offset + index]
                let lower = byte &- 0x41 < 26 ? byte | 0x20 : byte
                if lower != text[index] { return false }
            }
            return true
        }
    }

    private static func number(_ line: UnsafeRawBufferPointer, _ range: Range<Int>) -> Int? {
        guard (1...9).contains(range.count) else { return nil }
        var number = 0
        for index in range {
            let digit = line[index] &- UInt8(ascii: "0")
            guard digit < 10 else { return nil }
            number = number * 10 + Int(digit)
        }
        return number
    }
}
