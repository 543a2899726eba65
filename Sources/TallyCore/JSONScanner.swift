// A strict pull scanner for JSON (RFC 8259) over bytes in memory.
//
// A decoder or a dictionary would lose repeated names and merge names that differ only in Unicode normalization;
// this scanner hands over every name and value in the order of the text, byte for byte. The caller walks the
// grammar: `beginObject`, then `nextName` until it says false; `beginArray`, then `nextElement` until it says
// false; `string`, `integer`, `boolean`, `null` or `skip` for a value; `finish` at the end, which refuses trailing
// bytes. Strings are unescaped into storage of the caller, so a reused buffer makes scanning free of allocation.
//
// Refused: everything RFC 8259 refuses, and also lone surrogates, invalid UTF-8 and more than 32 open containers.
// Accepted as the RFC allows: repeated names (the caller sees each), -0, and numbers of any length for `skip`.

/// Reads one JSON text from `bytes`, which must outlive it.
public struct JSONScanner {
    /// Containers that may be open at once.
    public static let depthMax = 32

    private let bytes: UnsafeRawBufferPointer
    /// Where the next byte is read: after an error in a value, still somewhere inside it.
    public private(set) var offset = 0
    private var depth = 0
    /// Bit d: the container at depth d has had an element, so a comma must come before the next.
    private var hasElement: UInt64 = 0
    /// Bit d: the container at depth d is an object.
    private var isObject: UInt64 = 0

    public init(_ bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
    }

    // MARK: Structure

    /// What kind of value comes next. Nothing is consumed but white space.
    public mutating func nextKind() throws(JSONError) -> JSONKind {
        switch try peek() {
        case UInt8(ascii: "{"): .object
        case UInt8(ascii: "["): .array
        case UInt8(ascii: "\""): .string
        case UInt8(ascii: "t"), UInt8(ascii: "f"): .boolean
        case UInt8(ascii: "n"): .null
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): .number
        case let byte: throw JSONError(.unexpectedByte(byte), at: offset)
        }
    }

    public mutating func beginObject() throws(JSONError) {
        try expect(.object)
        try open()
        isObject |= 1 << UInt64(depth)
    }

    /// Reads the next member's name and its colon into `name`, or the closing brace: false.
    public mutating func nextName(into name: inout [UInt8]) throws(JSONError) -> Bool {
        guard try continues(until: UInt8(ascii: "}")) else { return false }
        let byte = try peek()
        if byte != UInt8(ascii: "\"") { throw JSONError(.unexpectedByte(byte), at: offset) }
        try string(into: &name)
        let colon = try peek()
        if colon != UInt8(ascii: ":") { throw JSONError(.unexpectedByte(colon), at: offset) }
        offset += 1
        return true
    }

    public mutating func beginArray() throws(JSONError) {
        try expect(.array)
        try open()
        isObject &= ~(1 << UInt64(depth))
    }

    /// True before an element; at the closing bracket, which is consumed, false.
    public mutating func nextElement() throws(JSONError) -> Bool {
        try continues(until: UInt8(ascii: "]"))
    }

    /// Refuses anything but white space after the one value.
    public mutating func finish() throws(JSONError) {
        precondition(depth == 0, "finish inside an open container")
        skipWhiteSpace()
        if offset < bytes.count { throw JSONError(.trailingBytes, at: offset) }
    }

    /// Reads over one value of any kind, checking all of it.
    public mutating func skip() throws(JSONError) {
        let floor = depth
        var scratch: [UInt8] = []
        repeat {
            if depth > floor, try !advanceInside(&scratch) { continue }
            switch try nextKind() {
            case .object: try beginObject()
            case .array: try beginArray()
            case .string: try string(into: &scratch)
            case .number: try number()
            case .boolean: _ = try boolean()  // the value is being skipped
            case .null: try null()
            }
        } while depth > floor
    }

    // MARK: Scalars

    /// Reads a string; its unescaped bytes replace those of `scratch`.
    public mutating func string(into scratch: inout [UInt8]) throws(JSONError) {
        try expect(.string)
        offset += 1
        scratch.removeAll(keepingCapacity: true)
        let start = offset
        var runStart = offset
        var nonASCII: UInt8 = 0
        while offset < bytes.count {
            let byte = bytes[offset]
            if byte == UInt8(ascii: "\"") {
                scratch.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[runStart..<offset]))
                offset += 1
                if nonASCII >= 0x80, !JSONText.isUTF8(scratch) { throw JSONError(.notUTF8, at: start) }
                return
            }
            if byte == UInt8(ascii: "\\") {
                scratch.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[runStart..<offset]))
                try escape(into: &scratch)
                runStart = offset
                continue
            }
            if byte < 0x20 { throw JSONError(.controlByte(byte), at: offset) }
            nonASCII |= byte
            offset += 1
        }
        throw JSONError(.endsTooEarly, at: offset)
    }

    /// Reads a number that is an integer within Int64. `1.0` and `1e3` are numbers but no integers.
    public mutating func integer() throws(JSONError) -> Int64 {
        try expect(.number)
        let start = offset
        guard try number() else { throw JSONError(.notInteger, at: start) }
        let digits = UnsafeRawBufferPointer(rebasing: bytes[start..<offset])
        guard case .value(let value) = DecimalText.int64(digits) else { throw JSONError(.outOfRange, at: start) }
        return value
    }

    public mutating func boolean() throws(JSONError) -> Bool {
        try expect(.boolean)
        let value = bytes[offset] == UInt8(ascii: "t")
        try literal(value ? "true" : "false")
        return value
    }

    public mutating func null() throws(JSONError) {
        try expect(.null)
        try literal("null")
    }

    // MARK: Parts

    private mutating func skipWhiteSpace() {
        while offset < bytes.count {
            switch bytes[offset] {
            case 0x20, 0x09, 0x0A, 0x0D: offset += 1
            default: return
            }
        }
    }

    /// The next byte that is not white space, not consumed.
    private mutating func peek() throws(JSONError) -> UInt8 {
        skipWhiteSpace()
        if offset == bytes.count { throw JSONError(.endsTooEarly, at: offset) }
        return bytes[offset]
    }

    private mutating func expect(_ kind: JSONKind) throws(JSONError) {
        let found = try nextKind()
        if found != kind { throw JSONError(.wrongKind(expected: kind, found: found), at: offset) }
    }

    private mutating func open() throws(JSONError) {
        if depth == JSONScanner.depthMax { throw JSONError(.tooDeep, at: offset) }
        offset += 1
        depth += 1
        hasElement &= ~(1 << UInt64(depth))
    }

    /// Consumes a comma where one is due, or `close`: false.
    private mutating func continues(until close: UInt8) throws(JSONError) -> Bool {
        precondition(depth > 0, "no container is open")
        let bit: UInt64 = 1 << UInt64(depth)
        let byte = try peek()
        if byte == close {
            offset += 1
            depth -= 1
            return false
        }
        if hasElement & bit == 0 {
            hasElement |= bit
            return true
        }
        if byte != UInt8(ascii: ",") { throw JSONError(.unexpectedByte(byte), at: offset) }
        offset += 1
        // A comma must be followed by an element; the caller would take a closing byte for the end.
        let next = try peek()
        if next == close { throw JSONError(.unexpectedByte(next), at: offset) }
        return true
    }
}

extension JSONScanner {
    /// Inside a container of unknown kind: moves to its next value, or past its end (false).
    private mutating func advanceInside(_ scratch: inout [UInt8]) throws(JSONError) -> Bool {
        isObject & (1 << UInt64(depth)) != 0 ? try nextName(into: &scratch) : try nextElement()
    }

    /// Reads one number of the grammar; false when it has a fraction or an exponent.
    @discardableResult
    private mutating func number() throws(JSONError) -> Bool {
        if bytes[offset] == UInt8(ascii: "-") { offset += 1 }
        let first = offset
        try digits()
        if bytes[first] == UInt8(ascii: "0"), offset - first > 1 {
            throw JSONError(.leadingZero, at: first)
        }
        var isInteger = true
        if offset < bytes.count, bytes[offset] == UInt8(ascii: ".") {
            isInteger = false
            offset += 1
            try digits()
        }
        if offset < bytes.count, bytes[offset] | 0x20 == UInt8(ascii: "e") {
            isInteger = false
            offset += 1
            if offset < bytes.count, bytes[offset] == UInt8(ascii: "+") || bytes[offset] == UInt8(ascii: "-") {
                offset += 1
            }
            try digits()
        }
        return isInteger
    }

    /// At least one digit.
    private mutating func digits() throws(JSONError) {
        let start = offset
        while offset < bytes.count, DecimalText.isDigit(bytes[offset]) { offset += 1 }
        if offset > start { return }
        if offset == bytes.count { throw JSONError(.endsTooEarly, at: offset) }
        throw JSONError(.unexpectedByte(bytes[offset]), at: offset)
    }

    private mutating func literal(_ text: StaticString) throws(JSONError) {
        for index in 0..<text.utf8CodeUnitCount {
            if offset == bytes.count { throw JSONError(.endsTooEarly, at: offset) }
            if bytes[offset] != text.utf8Start[index] { throw JSONError(.unexpectedByte(bytes[offset]), at: offset) }
            offset += 1
        }
    }

    /// Reads one escape, from its backslash on.
    private mutating func escape(into scratch: inout [UInt8]) throws(JSONError) {
        let start = offset
        offset += 1
        if offset == bytes.count { throw JSONError(.endsTooEarly, at: offset) }
        let byte = bytes[offset]
        offset += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): scratch.append(byte)
        case UInt8(ascii: "b"): scratch.append(0x08)
        case UInt8(ascii: "f"): scratch.append(0x0C)
        case UInt8(ascii: "n"): scratch.append(0x0A)
        case UInt8(ascii: "r"): scratch.append(0x0D)
        case UInt8(ascii: "t"): scratch.append(0x09)
        case UInt8(ascii: "u"): try unicodeEscape(at: start, into: &scratch)
        default: throw JSONError(.badEscape, at: start)
        }
    }

    /// The four digits after `\u`, and a second escape when they are the first half of a pair.
    private mutating func unicodeEscape(at start: Int, into scratch: inout [UInt8]) throws(JSONError) {
        var code = UInt32(try hexQuad(escapeAt: start))
        if (0xD800...0xDBFF).contains(code) {
            guard offset + 1 < bytes.count, bytes[offset] == UInt8(ascii: "\\"),
                bytes[offset + 1] == UInt8(ascii: "u")
            else { throw JSONError(.loneSurrogate, at: start) }
            offset += 2
            let low = UInt32(try hexQuad(escapeAt: offset - 2))
            guard (0xDC00...0xDFFF).contains(low) else { throw JSONError(.loneSurrogate, at: start) }
            code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
        }
        guard let scalar = Unicode.Scalar(code) else { throw JSONError(.loneSurrogate, at: start) }
        scratch.append(contentsOf: UTF8.encode(scalar).unsafelyUnwrapped)  // every scalar has an encoding
    }

    private mutating func hexQuad(escapeAt start: Int) throws(JSONError) -> UInt16 {
        var code: UInt16 = 0
        for _ in 0..<4 {
            if offset == bytes.count { throw JSONError(.endsTooEarly, at: offset) }
            guard let digit = Hex.value(bytes[offset]) else { throw JSONError(.badEscape, at: start) }
            code = code << 4 | UInt16(digit)
            offset += 1
        }
        return code
    }
}
