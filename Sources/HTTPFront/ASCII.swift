// Classes of bytes as HTTP defines them, and comparisons without regard to case.

enum ASCII {
    static let tab: UInt8 = 0x09
    static let lineFeed: UInt8 = 0x0A
    static let carriageReturn: UInt8 = 0x0D
    static let space: UInt8 = 0x20

    /// `tchar` of RFC 9110: the bytes of methods and field names.
    @inline(__always)
    static func isToken(_ byte: UInt8) -> Bool {
        if byte < 64 { return tokensBelow64 & (1 << UInt64(byte)) != 0 }
        return byte < 128 && tokensFrom64 & (1 << UInt64(byte - 64)) != 0
    }

    private static let tokensBelow64 = bits("!#$%&'*+-.0123456789", from: 0)
    private static let tokensFrom64 = bits(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ^_`abcdefghijklmnopqrstuvwxyz|~", from: 64)

    private static func bits(_ text: StaticString, from base: UInt8) -> UInt64 {
        text.withUTF8Buffer { $0.reduce(0) { $0 | 1 << UInt64($1 - base) } }
    }

    /// A byte of a field value: anything but control bytes, tab excepted (RFC 9110, section 5.5).
    @inline(__always)
    static func isFieldValue(_ byte: UInt8) -> Bool {
        byte >= 0x20 && byte != 0x7F || byte == tab
    }

    /// Letters compare without regard to case. `lower` is in lower case, `bytes` are free of control bytes.
    @inline(__always)
    static func matches(_ bytes: UnsafeRawBufferPointer, _ lower: StaticString) -> Bool {
        guard bytes.count == lower.utf8CodeUnitCount else { return false }
        for index in 0..<bytes.count {
            let expected = lower.utf8Start[index]
            let byte = bytes[index]
            // Only letters may differ by the bit: `{` is no `[`.
            if byte == expected { continue }
            guard byte | 0x20 == expected, byte &- UInt8(ascii: "A") < 26 else { return false }
        }
        return true
    }

    static func equals(_ bytes: UnsafeRawBufferPointer, _ text: StaticString) -> Bool {
        guard bytes.count == text.utf8CodeUnitCount else { return false }
        for index in 0..<bytes.count where bytes[index] != text.utf8Start[index] { return false }
        return true
    }

    /// `bytes` without spaces and tabs at either end.
    static func trimmed(_ bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
        var start = 0
        var end = bytes.count
        while start < end, bytes[start] == space || bytes[start] == tab { start += 1 }
        while end > start, bytes[end - 1] == space || bytes[end - 1] == tab { end -= 1 }
        return UnsafeRawBufferPointer(rebasing: bytes[start..<end])
    }
}

extension ASCII {
    static func isOneOf(_ byte: UInt8, _ set: StaticString) -> Bool {
        set.withUTF8Buffer { $0.contains(byte) }
    }
}
