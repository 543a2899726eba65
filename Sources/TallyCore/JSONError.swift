// Why bytes are not the JSON that was asked for, and where.

/// The kinds of JSON values.
public enum JSONKind: Hashable, Sendable, CustomStringConvertible {
    case object, array, string, number, boolean, null

    /// With its article, for messages.
    public var description: String {
        switch self {
        case .object: "an object"
        case .array: "an array"
        case .string: "a string"
        case .number: "a number"
        case .boolean: "a boolean"
        case .null: "null"
        }
    }
}

/// A failure of `JSONScanner` at a byte offset from the start of the text.
public struct JSONError: Error, Hashable, Sendable, CustomStringConvertible {
    public enum Code: Hashable, Sendable {
        case endsTooEarly
        case unexpectedByte(UInt8)
        case controlByte(UInt8)
        case badEscape
        case loneSurrogate
        case leadingZero
        case notUTF8
        case tooDeep
        case trailingBytes
        // The text may well be JSON, but not what was asked for.
        case wrongKind(expected: JSONKind, found: JSONKind)
        case notInteger
        case outOfRange
    }

    public let code: Code
    public let offset: Int

    public init(_ code: Code, at offset: Int) {
        self.code = code
        self.offset = offset
    }

    /// True when the bytes are not JSON at all; false when a valid value is of the wrong kind or size.
    public var isSyntax: Bool {
        switch code {
        case .wrongKind, .notInteger, .outOfRange: false
        default: true
        }
    }

    public var description: String { "\(sentence) at byte \(offset)" }

    private var sentence: String {
        switch code {
        case .endsTooEarly: "the JSON ends too early"
        case .unexpectedByte(let byte): "unexpected \(JSONError.name(byte)) in the JSON"
        case .controlByte(let byte): "unescaped control byte 0x\(Hex.text([byte])) in a JSON string"
        case .badEscape: "unknown escape in a JSON string"
        case .loneSurrogate: "half of a surrogate pair in a JSON string"
        case .leadingZero: "a JSON number with a leading zero"
        case .notUTF8: "invalid UTF-8 in the JSON string"
        case .tooDeep: "JSON nested deeper than \(JSONScanner.depthMax)"
        case .trailingBytes: "bytes after the end of the JSON"
        case .wrongKind(let expected, let found): "\(expected) was expected and \(found) found"
        case .notInteger: "a number that is not an integer"
        case .outOfRange: "an integer outside the range of 64 bits"
        }
    }

    private static func name(_ byte: UInt8) -> String {
        (0x21...0x7E).contains(byte) ? "'\(Unicode.Scalar(byte))'" : "byte 0x\(Hex.text([byte]))"
    }
}
