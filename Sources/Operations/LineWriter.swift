// Counters as lines, written straight into one buffer of bytes: no text is made for a line, and none is measured
// before it is known to fit, because a key and what escaping adds to it are bounded.
//
//   text     key<TAB>value          no key holds a TAB or a line end; if the first one begins with U+FEFF, another
//                                   stands before it, because readers take it for a byte order mark
//   ndjson   {"key":"…","value":…}  of all that JSON escapes, only quotes and backslashes can be in a key
//   csv      key,value              RFC 4180 with a header; lines end with CR LF

import Glibc
import ServiceKit
import TallyCore

/// Writes counters to a file. Owned by one thread.
final class LineWriter {
    private let format: ExportFormat
    private let output: FileOutput
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bufferBytes, alignment: 16)
    private var used = 0
    private var isAtBeginning = true

    private static let bufferBytes = 1 << 20
    /// A key of which every byte is escaped, the digits, and what stands around them.
    private static let lineBytesMax = 2 * Limits.keyBytesMax + 64

    init(_ format: ExportFormat, _ output: FileOutput) {
        precondition(format != .sqlite, "a file of SQLite has no lines")
        self.format = format
        self.output = output
    }

    deinit { buffer.deallocate() }

    /// Writes what stands before the first line.
    func begin() throws(Failure) {
        if format == .csv { put("key,value\r\n") }
    }

    /// Writes one line.
    func write(_ key: UnsafeRawBufferPointer, _ value: Int64) throws(Failure) {
        if used + Self.lineBytesMax > Self.bufferBytes { try flush() }
        switch format {
        case .text, .sqlite:
            if isAtBeginning { putMark(before: key) }
            put(key)
            put(UInt8(ascii: "\t"))
            put(value)
        case .ndjson:
            put("{\"key\":\"")
            putEscaped(key)
            put("\",\"value\":")
            put(value)
            put(UInt8(ascii: "}"))
        case .csv:
            putCell(key)
            put(UInt8(ascii: ","))
            put(value)
            put(UInt8(ascii: "\r"))
        }
        put(UInt8(ascii: "\n"))
    }

    func end() throws(Failure) {
        try flush()
    }

    private func flush() throws(Failure) {
        try output.write(UnsafeRawBufferPointer(rebasing: buffer[..<used]))
        used = 0
    }

    // MARK: Pieces

    @inline(__always)
    private func put(_ byte: UInt8) {
        buffer[used] = byte
        used += 1
    }

    @inline(__always)
    private func put(_ bytes: UnsafeRawBufferPointer) {
        guard let target = buffer.baseAddress, let source = bytes.baseAddress else { return }
        memcpy(target + used, source, bytes.count)
        used += bytes.count
    }

    @inline(__always)
    private func put(_ text: StaticString) {
        put(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
    }

    @inline(__always)
    private func put(_ value: Int64) {
        if value < 0 { put(UInt8(ascii: "-")) }
        var rest = value.magnitude
        var digits = 1
        var bound: UInt64 = 10
        while rest >= bound, digits < 19 {
            digits += 1
            bound &*= 10
        }
        // 10^19 is the largest power of ten in 64 bits.
        if digits == 19, rest >= 10_000_000_000_000_000_000 { digits = 20 }
        var place = used + digits
        used = place
        repeat {
            place -= 1
            buffer[place] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
            rest /= 10
        } while rest > 0
    }

    private func putMark(before key: UnsafeRawBufferPointer) {
        isAtBeginning = false
        if key.starts(with: Self.mark) { put("\u{FEFF}") }
    }

    private static let mark: [UInt8] = [0xEF, 0xBB, 0xBF]

    private func putEscaped(_ key: UnsafeRawBufferPointer) {
        for byte in key {
            if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") { put(UInt8(ascii: "\\")) }
            put(byte)
        }
    }

    private func putCell(_ key: UnsafeRawBufferPointer) {
        guard key.contains(where: { $0 == UInt8(ascii: ",") || $0 == UInt8(ascii: "\"") }) else { return put(key) }
        put(UInt8(ascii: "\""))
        for byte in key {
            if byte == UInt8(ascii: "\"") { put(byte) }
            put(byte)
        }
        put(UInt8(ascii: "\""))
    }
}
