// A counter's name: 1...512 bytes of valid UTF-8 without control characters, compared byte by byte.
//
// `String` is the wrong type for it: it treats the composed and the decomposed form of a letter as equal, so two
// counters would silently become one. Hot paths pass keys as raw bytes and use `Key.validate` alone.
//
// The control characters of ISO 6429 above ASCII, U+0080 to U+009F, were taken once. Doors refuse them with the others,
// but shards, lists and backups may hold such keys, and those are counted, moved and shown as ever: what is inside
// already is looked at with `Key.validateStored`.

/// A validated key.
public struct Key: Hashable, Sendable {
    public let bytes: [UInt8]

    /// - Throws: `KeyError` that says what is wrong with the bytes.
    public init(_ bytes: [UInt8]) throws(KeyError) {
        if let error = bytes.withUnsafeBytes({ Key.validate($0) }) { throw error }
        self.bytes = bytes
    }

    /// - Throws: `KeyError` that says what is wrong with the text.
    public init(_ text: String) throws(KeyError) {
        try self.init(Array(text.utf8))
    }

    /// A key that may be older than the rule that doors have now.
    ///
    /// - Throws: `KeyError` that says what is wrong with the bytes.
    public init(stored bytes: [UInt8]) throws(KeyError) {
        if let error = bytes.withUnsafeBytes({ Key.validateStored($0) }) { throw error }
        self.bytes = bytes
    }

    /// Bytes that were validated before they were written, such as those behind a batch's checksum.
    init(validated bytes: [UInt8]) {
        self.bytes = bytes
    }

    /// XXH64 of the bytes, seed 0: decides the partition.
    public var hash64: UInt64 { XXH64.hash(bytes) }

    /// What is wrong with `bytes` as a key that comes in, or nil.
    public static func validate(_ bytes: UnsafeRawBufferPointer) -> KeyError? {
        if (1...Limits.keyBytesMax).contains(bytes.count), isPrintableASCII(bytes) { return nil }
        if let error = validateStored(bytes) { return error }
        // Two bytes each: 0xC2, and the code. In valid UTF-8, 0xC2 begins a character.
        for index in 1..<bytes.count where bytes[index - 1] == 0xC2 && bytes[index] < 0xA0 {
            return .controlCharacter(bytes[index], at: index - 1)
        }
        return nil
    }

    /// What is wrong with `bytes` as a key that came in once, or nil.
    public static func validateStored(_ bytes: UnsafeRawBufferPointer) -> KeyError? {
        if bytes.isEmpty { return .empty }
        if bytes.count > Limits.keyBytesMax { return .tooLong(bytes: bytes.count) }
        if isPrintableASCII(bytes) { return nil }
        var nonASCII: UInt8 = 0
        for (index, byte) in bytes.enumerated() {
            if byte < 0x20 || byte == 0x7F { return .controlByte(byte, at: index) }
            nonASCII |= byte
        }
        if nonASCII < 0x80 { return nil }
        return bytes.withMemoryRebound(to: UInt8.self) { typed in
            (try? UTF8Span(validating: typed.span)) == nil ? .notUTF8 : nil  // the position is of no use to a client
        }
    }

    /// Eight bytes at a time: most keys need no closer look.
    @inline(__always)
    private static func isPrintableASCII(_ bytes: UnsafeRawBufferPointer) -> Bool {
        let tops: UInt64 = 0x8080_8080_8080_8080
        let ones: UInt64 = 0x0101_0101_0101_0101
        // The top bit of a byte is set if it is beyond ASCII, below 0x20 (the subtraction borrows), or 0x7F (the
        // addition carries into it). A borrow goes on into the next byte only from one that is refused itself.
        func refused(_ word: UInt64) -> UInt64 { (word | (word &- ones &* 0x20) | (word &+ ones)) & tops }
        var offset = 0
        var found: UInt64 = 0
        while offset + 8 <= bytes.count {
            found |= refused(bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
            offset += 8
        }
        while offset < bytes.count {
            // The other seven bytes are spaces, which are fine.
            found |= refused(UInt64(bytes[offset]) | (ones &* 0x20 & ~0xFF))
            offset += 1
        }
        return found == 0
    }
}

extension Key: Comparable {
    public static func < (left: Key, right: Key) -> Bool {
        left.bytes.lexicographicallyPrecedes(right.bytes)
    }
}

extension Key: CustomStringConvertible {
    public var description: String { String(decoding: bytes, as: UTF8.self) }
}

/// Why bytes are not a key.
public enum KeyError: Error, Hashable, Sendable, CustomStringConvertible {
    case empty
    case tooLong(bytes: Int)
    case controlByte(UInt8, at: Int)
    /// U+0080 to U+009F.
    case controlCharacter(UInt8, at: Int)
    case notUTF8

    public var description: String {
        switch self {
        case .empty: "the key is empty"
        case .tooLong(let bytes): "the key has \(bytes) bytes; \(Limits.keyBytesMax) are allowed"
        case .controlByte(let byte, let index):
            "the key has the control byte 0x\(Hex.text([byte])) at offset \(index)"
        case .controlCharacter(let code, let index):
            "the key has the control character U+00\(Hex.text([code]).uppercased()) at offset \(index)"
        case .notUTF8: "the key is not valid UTF-8"
        }
    }
}
