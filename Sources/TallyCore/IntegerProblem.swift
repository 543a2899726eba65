// Why a value is not taken: in words that say what to change, at every door.

/// What is wrong with the bytes of a value.
public enum IntegerProblem: Error, Hashable, Sendable, CustomStringConvertible {
    case empty
    case plusSign
    case separators
    case spaces
    case notAnInteger
    case outOfRange

    /// - Parameter value: something that `DecimalText.int64` does not take.
    public init(_ value: UnsafeRawBufferPointer) {
        if value.isEmpty {
            self = .empty
        } else if DecimalText.int64(value) == .outOfRange {
            self = .outOfRange
        } else if Self.isInteger(value.filter { $0 != UInt8(ascii: " ") && $0 != UInt8(ascii: "\t") }),
            Self.isSpace(value[0]) || Self.isSpace(value[value.count - 1])
        {
            self = .spaces
        } else if value[0] == UInt8(ascii: "+"), Self.isInteger(value.dropFirst()) {
            self = .plusSign
        } else if Self.isInteger(value.filter { !",_' ".utf8.contains($0) }), value[0] != UInt8(ascii: ",") {
            self = .separators
        } else {
            self = .notAnInteger
        }
    }

    private static func isSpace(_ byte: UInt8) -> Bool { byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t") }

    private static func isInteger(_ bytes: some Sequence<UInt8>) -> Bool {
        Array(bytes).withUnsafeBytes { DecimalText.int64($0) != .notAnInteger }
    }

    public var description: String {
        switch self {
        case .empty: "the value is empty"
        case .plusSign: "the value has a plus sign: leave it out"
        case .separators: "the value has separators between its digits: leave them out"
        case .spaces: "there are spaces around the value: leave them out"
        case .notAnInteger: "the value is not an integer"
        case .outOfRange: "the value is outside the range of 64 bits"
        }
    }
}

extension DecimalText {
    /// The integer that bytes spell.
    @inline(__always)
    public static func integer(_ bytes: UnsafeRawBufferPointer) throws(IntegerProblem) -> Int64 {
        guard case .value(let value) = int64(bytes) else { throw IntegerProblem(bytes) }
        return value
    }

    public static func integer(_ bytes: [UInt8]) throws(IntegerProblem) -> Int64 {
        try bytes.withUnsafeBufferPointer { typed throws(IntegerProblem) in
            try integer(UnsafeRawBufferPointer(typed))
        }
    }
}
