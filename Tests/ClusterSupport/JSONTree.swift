// JSON as a value, read with the product's own scanner: order, repeats and all digits of numbers are kept.

import TallyCore

/// A JSON value; numbers as they were written.
public indirect enum JSONTree: Hashable, Sendable {
    public struct Member: Hashable, Sendable {
        public let name: String
        public let value: JSONTree
    }

    case object([Member])
    case array([JSONTree])
    case string(String)
    case number(String)
    case boolean(Bool)
    case null

    /// - Throws: if `bytes` are not one JSON text.
    public init(_ bytes: [UInt8]) throws(HarnessError) {
        let result: Result<JSONTree, JSONError> = bytes.withUnsafeBytes { buffer in
            Result { () throws(JSONError) in
                var scanner = JSONScanner(buffer)
                let value = try JSONTree.read(&scanner, buffer)
                try scanner.finish()
                return value
            }
        }
        switch result {
        case .success(let value): self = value
        case .failure(let error): throw HarnessError("not JSON: \(error); it begins: \(tail(Self.begin(bytes)))")
        }
    }

    private static func begin(_ bytes: [UInt8]) -> String { String(decoding: bytes.prefix(200), as: UTF8.self) }

    /// The first member of that name.
    public subscript(name: String) -> JSONTree? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.name == name }?.value
    }

    public var elements: [JSONTree] { if case .array(let elements) = self { elements } else { [] } }
    public var text: String? { if case .string(let text) = self { text } else { nil } }
    public var isTrue: Bool { self == .boolean(true) }

    /// The number, if it is an integer of the width that is asked for.
    public func integer<Value: FixedWidthInteger>() -> Value? {
        if case .number(let digits) = self { Value(digits) } else { nil }
    }

    private static func read(_ scanner: inout JSONScanner, _ bytes: UnsafeRawBufferPointer) throws(JSONError)
        -> JSONTree
    {
        var scratch: [UInt8] = []
        switch try scanner.nextKind() {
        case .object:
            var members: [Member] = []
            try scanner.beginObject()
            while try scanner.nextName(into: &scratch) {
                let name = String(decoding: scratch, as: UTF8.self)
                members.append(Member(name: name, value: try read(&scanner, bytes)))
            }
            return .object(members)
        case .array:
            var elements: [JSONTree] = []
            try scanner.beginArray()
            while try scanner.nextElement() { elements.append(try read(&scanner, bytes)) }
            return .array(elements)
        case .string:
            try scanner.string(into: &scratch)
            return .string(String(decoding: scratch, as: UTF8.self))
        case .number:
            let start = scanner.offset
            try scanner.skip()
            return .number(String(decoding: bytes[start..<scanner.offset], as: UTF8.self))
        case .boolean: return .boolean(try scanner.boolean())
        case .null:
            try scanner.null()
            return .null
        }
    }
}
