// One line of text that counts: the grammar that every door shares, because a line that two of them read differently
// is counted under a key that nobody meant in one of them.
//
//   key TAB value     the last TAB separates: a key may hold spaces and may be a number, but no TAB
//   key SPACE value   in a line without a TAB, with exactly one space, that does not begin with a number
//
// The rest can be read in two ways, and is refused. `a b 1` may have a key with spaces or be three fields, as lines of
// Graphite and of pageviews are. What begins with a number may be of `uniq -c`, which puts the count first: from a
// million on with nothing in front of it, so that `1234567 200` looks like a key and its count.
//
// Lines end with LF or CR LF, the last one perhaps with the text, and empty ones say nothing: that is seen to by
// whoever cuts the text into lines.

/// A key and a number, as bytes that are still to be looked at.
public struct TextLine {
    /// Into the line.
    public let key: UnsafeRawBufferPointer
    /// Into the line; may hold spaces.
    public let value: UnsafeRawBufferPointer

    private static let tab = UInt8(ascii: "\t")
    private static let space = UInt8(ascii: " ")

    /// - Parameter line: without its line end.
    /// - Throws: what the line can also mean, with the way to write it.
    @inline(__always)
    public init(_ line: UnsafeRawBufferPointer) throws(TextLineProblem) {
        // From the end: a value is shorter than a key.
        var start = line.count
        while start > 0, line[start - 1] != Self.tab, line[start - 1] != Self.space { start -= 1 }
        if start == 0 { throw .noSeparator }
        if line[start - 1] == Self.space { start = try Self.valueStart(behindSpaceAt: start - 1, line) }
        key = UnsafeRawBufferPointer(rebasing: line[..<(start - 1)])
        value = UnsafeRawBufferPointer(rebasing: line[start...])
    }

    /// Where the value begins in a line in which no TAB stands behind the space.
    private static func valueStart(
        behindSpaceAt index: Int, _ line: UnsafeRawBufferPointer
    ) throws(TextLineProblem) -> Int {
        var hasAnother = false
        var offset = index
        while offset > 0 {
            offset -= 1
            if line[offset] == tab { return offset + 1 }
            if line[offset] == space { hasAnother = true }
        }
        if beginsWithNumber(line) { throw .numberFirst }
        if hasAnother { throw .severalSpaces }
        return index + 1
    }

    /// Whether the first word is an integer, and another one follows.
    private static func beginsWithNumber(_ line: UnsafeRawBufferPointer) -> Bool {
        guard let first = line.firstIndex(where: { $0 != space }),
            line[first] == UInt8(ascii: "-") || DecimalText.isDigit(line[first]),
            let end = line[first...].firstIndex(of: space)
        else { return false }
        return DecimalText.int64(UnsafeRawBufferPointer(rebasing: line[first..<end])) != .notAnInteger
    }
}

/// Why a line of text does not say which is the key and which the value. No part of the line is in the text.
public enum TextLineProblem: Error, Hashable, Sendable, CustomStringConvertible {
    case noSeparator
    case severalSpaces
    case numberFirst

    public var description: String {
        switch self {
        case .noSeparator: "there is no TAB or space between key and value"
        case .severalSpaces: "there are several spaces: put a TAB between key and value"
        case .numberFirst:
            "it begins with a number, as `uniq -c` writes it: put the key first, then a TAB and the number"
        }
    }
}
