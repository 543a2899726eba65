// What one line of an import says: a key and a number, or why it is not accepted. Strict, because a line that is
// understood in two ways is counted wrongly in one of them:
//
//   text     key<TAB>value or key<SPACE>value, by the grammar that posted text has, too: `TextLine`
//   ndjson   {"key":"…","value":…}: these two members, each once, in any order
//   csv      key,value by RFC 4180, either of them quoted or not
//
// Numbers are decimal integers of 64 bits with a sign or without. Keys are what the web nodes accept as keys.

import Glibc
import TallyCore

/// Why a line is not accepted. No part of the line is in the text.
enum ImportProblem: Error, Hashable, CustomStringConvertible {
    case tooLong
    case text(TextLineProblem)
    case value(IntegerProblem)
    case key(KeyError)
    case json(JSONError)
    case unknownMember
    case repeatedMember
    case missingMember(String)
    case fields
    case quote
    case openQuote
    case noKey
    case wrongType(String)
    case notUTF16(String)

    var description: String {
        switch self {
        case .tooLong: "the line has more than \(ImportLine.bytesMax) bytes"
        case .text(let problem): problem.description
        case .value(let problem): problem.description
        case .key(let error): error.description
        case .json(let error): error.description
        case .unknownMember: "a member is neither \"key\" nor \"value\""
        case .repeatedMember: "a member comes twice"
        case .missingMember(let name): "the member \"\(name)\" is missing"
        case .fields: "there are not two fields, key and value: a field with a comma in it is quoted as a whole"
        case .quote: "a quote stands inside a field: such a field is quoted as a whole, its quotes doubled"
        case .openQuote: "a quoted field does not end"
        case .noKey: "the key is NULL"
        case .wrongType(let column): "the \(column) is neither an integer nor text"
        case .notUTF16(let column): "the \(column) is not valid UTF-16, as the file says that its text is"
        }
    }
}

/// The parser of one line at a time, which is not empty. It keeps the memory for keys that have to be unescaped.
struct ImportLine {
    /// Without its line end: a key of JSON in which every byte is escaped fits many times.
    static let bytesMax = 1 << 16

    /// Into the line or into `scratch`; valid until the next line.
    private(set) var key = UnsafeRawBufferPointer(start: nil, count: 0)
    private(set) var value: Int64 = 0
    private let scratch = Scratch()
    private var members: [UInt8] = []

    private static let comma = UInt8(ascii: ",")
    private static let quote = UInt8(ascii: "\"")

    /// Memory of its own for a key that is not in the line as it is.
    private final class Scratch {
        var bytes: [UInt8] = []
        /// A copy whose address holds until the next call.
        private let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: ImportLine.bytesMax, alignment: 8)

        deinit { copy.deallocate() }

        func keep() -> UnsafeRawBufferPointer {
            let count = min(bytes.count, copy.count)
            bytes.withUnsafeBytes { copy.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[..<count])) }
            return UnsafeRawBufferPointer(rebasing: copy[..<count])
        }
    }

    // MARK: Text

    mutating func parseText(_ line: UnsafeRawBufferPointer) -> ImportProblem? {
        do throws(TextLineProblem) {
            let parts = try TextLine(line)
            return accept(parts.key, number: parts.value)
        } catch {
            return .text(error)
        }
    }

    /// Takes a key and its number if they are valid.
    @inline(__always)
    mutating func accept(
        _ name: UnsafeRawBufferPointer, number: UnsafeRawBufferPointer
    ) -> ImportProblem? {
        do throws(IntegerProblem) { value = try DecimalText.integer(number) } catch { return .value(error) }
        if let error = Key.validate(name) { return .key(error) }
        key = name
        return nil
    }

    // MARK: JSON

    mutating func parseJSON(_ line: UnsafeRawBufferPointer) -> ImportProblem? {
        if let problem = parsePlainJSON(line) { return problem }
        do throws(ImportProblem) {
            try scanJSON(line)
            return nil
        } catch {
            return error
        }
    }

    /// `{"key":"` and `","value`, as eight bytes loaded little-endian.
    private static let plainHead: UInt64 = 0x223A_2279_656B_227B
    private static let plainMiddle: UInt64 = 0x6575_6C61_7622_2C22
    private static let headBytes = 8
    private static let middleBytes = 10

    /// The form in which `export` writes, read without the scanner; nil if it is another.
    private mutating func parsePlainJSON(_ line: UnsafeRawBufferPointer) -> ImportProblem?? {
        guard line.count > Self.headBytes + Self.middleBytes + 1, line[line.count - 1] == UInt8(ascii: "}"),
            UInt64(littleEndian: line.loadUnaligned(as: UInt64.self)) == Self.plainHead
        else { return nil }
        var end = Self.headBytes
        while end < line.count, line[end] != Self.quote {
            if line[end] == UInt8(ascii: "\\") { return nil }
            end += 1
        }
        let numberStart = end + Self.middleBytes
        guard numberStart < line.count - 1,
            UInt64(littleEndian: line.loadUnaligned(fromByteOffset: end, as: UInt64.self)) == Self.plainMiddle,
            line[end + 8] == Self.quote, line[end + 9] == UInt8(ascii: ":")
        else { return nil }
        let number = UnsafeRawBufferPointer(rebasing: line[numberStart..<(line.count - 1)])
        // Leading zeros and what is no plain integer are matters of the grammar.
        guard Self.isPlainNumber(number) else { return nil }
        return .some(accept(UnsafeRawBufferPointer(rebasing: line[Self.headBytes..<end]), number: number))
    }

    private static func isPlainNumber(_ text: UnsafeRawBufferPointer) -> Bool {
        let digits = text.first == UInt8(ascii: "-") ? text.dropFirst() : text[...]
        guard let first = digits.first, digits.allSatisfy({ DecimalText.isDigit($0) }) else { return false }
        return first != UInt8(ascii: "0") || digits.count == 1
    }

    private mutating func scanJSON(_ line: UnsafeRawBufferPointer) throws(ImportProblem) {
        var scanner = JSONScanner(line)
        var number: Int64?
        var hasKey = false
        try Self.json { () throws(JSONError) in try scanner.beginObject() }
        while try Self.json({ () throws(JSONError) in try scanner.nextName(into: &members) }) {
            if members.elementsEqual("key".utf8) {
                if hasKey { throw .repeatedMember }
                try Self.json { () throws(JSONError) in try scanner.string(into: &scratch.bytes) }
                hasKey = true
            } else if members.elementsEqual("value".utf8) {
                if number != nil { throw .repeatedMember }
                number = try Self.number(&scanner, &members)
            } else {
                throw .unknownMember
            }
        }
        try Self.json { () throws(JSONError) in try scanner.finish() }
        if !hasKey { throw .missingMember("key") }
        guard let number else { throw .missingMember("value") }
        key = scratch.keep()
        if let error = Key.validate(key) { throw .key(error) }
        value = number
    }

    /// A number, or a string of decimal digits, as at the HTTP door. `scratch` is overwritten.
    private static func number(
        _ scanner: inout JSONScanner, _ scratch: inout [UInt8]
    ) throws(ImportProblem) -> Int64 {
        let kind = try json { () throws(JSONError) in try scanner.nextKind() }
        if kind != .string { return try json { () throws(JSONError) in try scanner.integer() } }
        try json { () throws(JSONError) in try scanner.string(into: &scratch) }
        do throws(IntegerProblem) { return try DecimalText.integer(scratch) } catch { throw .value(error) }
    }

    private static func json<Value>(_ body: () throws(JSONError) -> Value) throws(ImportProblem) -> Value {
        do throws(JSONError) { return try body() } catch {
            switch error.code {
            case .notInteger: throw .value(.notAnInteger)
            case .outOfRange: throw .value(.outOfRange)
            default: throw .json(error)
            }
        }
    }

    // MARK: CSV

    mutating func parseCSV(_ line: UnsafeRawBufferPointer) -> ImportProblem? {
        do throws(ImportProblem) {
            var offset = 0
            let name = try keyField(line, &offset)
            guard offset < line.count else { throw .fields }
            return accept(name, number: try Self.numberField(line, from: offset + 1))
        } catch {
            return error
        }
    }

    /// Whether a line is the header `key,value`, in capitals or not.
    static func isCSVHeader(_ line: UnsafeRawBufferPointer) -> Bool {
        ["key,value", "\"key\",\"value\""].contains {
            // The bit tells small letters from capitals, and is set in commas and quotes.
            line.count == $0.utf8.count && zip(line, $0.utf8).allSatisfy { $0 | 0x20 == $1 }
        }
    }

    /// Reads the first field up to its comma or the end of the line.
    private func keyField(
        _ line: UnsafeRawBufferPointer, _ offset: inout Int
    ) throws(ImportProblem) -> UnsafeRawBufferPointer {
        if line[0] == Self.quote { return try quoted(line, &offset) }
        while offset < line.count, line[offset] != Self.comma {
            if line[offset] == Self.quote { throw .quote }
            offset += 1
        }
        return UnsafeRawBufferPointer(rebasing: line[..<offset])
    }

    /// The second field, which is the last. In a number there is no quote to be doubled.
    private static func numberField(
        _ line: UnsafeRawBufferPointer, from start: Int
    ) throws(ImportProblem) -> UnsafeRawBufferPointer {
        let field = line[start...]
        guard field.first == quote else {
            if field.contains(comma) { throw .fields }
            return UnsafeRawBufferPointer(rebasing: field)
        }
        let content = field.dropFirst()
        guard let end = content.firstIndex(of: quote) else { throw .openQuote }
        guard end + 1 == line.count else { throw line[end + 1] == comma ? .fields : .quote }
        return UnsafeRawBufferPointer(rebasing: content[..<end])
    }

    private func quoted(
        _ line: UnsafeRawBufferPointer, _ offset: inout Int
    ) throws(ImportProblem) -> UnsafeRawBufferPointer {
        scratch.bytes.removeAll(keepingCapacity: true)
        offset += 1
        while offset < line.count {
            let byte = line[offset]
            offset += 1
            if byte == Self.quote {
                guard offset < line.count, line[offset] == Self.quote else {
                    if offset < line.count, line[offset] != Self.comma { throw .quote }
                    return scratch.keep()
                }
                offset += 1
            }
            scratch.bytes.append(byte)
        }
        throw .openQuote
    }
}
