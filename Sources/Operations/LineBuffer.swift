// Cuts a file into lines where they lie in a large buffer.
//
// A line ends with LF or CR LF, the last one also with the file. A byte order mark before the first line does not
// belong to it. A record of CSV with a quoted field goes on over line ends until the quote closes: no key
// can hold a line end, but the lines of such a record must not be taken for records of their own.

import Glibc
import ServiceKit

/// The lines of one file. `fill`, then `next` until there is none, and so on until `fill` says false.
final class LineBuffer {
    /// For messages.
    let name: String
    private(set) var bytesRead = 0
    /// The number of the line that `next` returned, from 1: of a record of several lines, the first.
    private(set) var number = 0
    /// The line that `next` returned as it stands in the file, without its LF.
    private(set) var verbatim = UnsafeRawBufferPointer(start: nil, count: 0)
    /// Whether the line goes on behind what `next` returned, because it is longer than any can be.
    private(set) var isCut = false
    private let input: FileInput
    private let isCSV: Bool
    private let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bufferBytes + padding, alignment: 8)
    private var position = 0
    private var end = 0
    private var isAtEnd = false
    private var lineEnds = 0

    private static let bufferBytes = 4 << 20
    /// Eight bytes may be loaded at the last byte of a line.
    private static let padding = 8
    private static let mark: [UInt8] = [0xEF, 0xBB, 0xBF]
    private static let lineFeed: Int32 = 0x0A

    init(_ input: FileInput, isCSV: Bool) {
        self.input = input
        self.isCSV = isCSV
        name = input.path
    }

    deinit { buffer.deallocate() }

    /// Reads on behind what is left; false if there is nothing more.
    func fill() throws(Failure) -> Bool {
        if isAtEnd { return false }
        let left = end - position
        UnsafeMutableRawBufferPointer(rebasing: buffer[..<left])
            .copyMemory(from: UnsafeRawBufferPointer(rebasing: buffer[position..<end]))
        let room = UnsafeMutableRawBufferPointer(rebasing: buffer[left..<Self.bufferBytes])
        let count = try input.read(into: room)
        isAtEnd = count < room.count
        position = bytesRead == 0 && count >= 3 && room.starts(with: Self.mark) ? Self.mark.count : 0
        end = left + count
        bytesRead += count
        return true
    }

    /// What the buffer holds and `next` has not returned; lives until `fill`.
    var unread: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: buffer[position..<end]) }

    /// The next line, nil if the buffer holds no whole one. It lives until `fill`.
    @inline(__always)
    func next() -> UnsafeRawBufferPointer? {
        guard let base = buffer.baseAddress, position < end else { return nil }
        let start = base + position
        guard let found = memchr(start, Self.lineFeed, end - position) else { return unended() }
        let count = UnsafeRawPointer(found) - UnsafeRawPointer(start)
        if count > ImportLine.bytesMax { return cut() }
        if isCSV, Self.beginsQuotedField(start, count) { return record() }
        return take(count, lines: 1, ended: true)
    }

    /// Whether the first quote of a line is one in front of a field.
    @inline(__always)
    private static func beginsQuotedField(_ line: UnsafeMutableRawPointer, _ count: Int) -> Bool {
        guard let found = memchr(line, Int32(UInt8(ascii: "\"")), count) else { return false }
        let offset = UnsafeRawPointer(found) - UnsafeRawPointer(line)
        return offset == 0 || line.load(fromByteOffset: offset - 1, as: UInt8.self) == UInt8(ascii: ",")
    }

    /// Takes `count` bytes that begin at the position.
    @inline(__always)
    private func take(_ count: Int, lines: Int, ended: Bool) -> UnsafeRawBufferPointer {
        verbatim = UnsafeRawBufferPointer(rebasing: buffer[position..<position + count])
        position += count + (ended ? 1 : 0)
        number = lineEnds + 1
        lineEnds += lines
        guard let last = verbatim.last, last == 0x0D else { return verbatim }
        return UnsafeRawBufferPointer(rebasing: verbatim.dropLast())
    }

    /// What is left without an LF: the last line, the beginning of the next one, or one that is too long.
    private func unended() -> UnsafeRawBufferPointer? {
        if end - position > ImportLine.bytesMax + 1 { return cut() }
        if !isAtEnd { return nil }
        return take(end - position, lines: 1, ended: false)
    }

    /// The beginning of a line that is too long.
    private func cut() -> UnsafeRawBufferPointer {
        let text = take(ImportLine.bytesMax + 1, lines: 0, ended: false)
        isCut = true
        return text
    }

    /// Goes on behind a line that is too long: `verbatim` is the next piece of it, and `isCut` says whether there is
    /// more.
    func skipRest() {
        guard let base = buffer.baseAddress else { return }
        if let found = memchr(base + position, Self.lineFeed, end - position) {
            isCut = false
            let count = UnsafeRawPointer(found) - UnsafeRawPointer(base + position)
            verbatim = UnsafeRawBufferPointer(rebasing: buffer[position..<position + count])
            position += count + 1
            lineEnds += 1
        } else {
            isCut = !isAtEnd
            verbatim = UnsafeRawBufferPointer(rebasing: buffer[position..<end])
            position = end
            if isAtEnd { lineEnds += 1 }
        }
    }

    /// A record of CSV with a quoted field, with the lines that it goes on over. One whose quote does not
    /// close is its first line alone.
    private func record() -> UnsafeRawBufferPointer? {
        let limit = min(end, position + ImportLine.bytesMax + 1)
        var isQuoted = false
        var firstEnd: Int?
        var lines = 0
        for offset in position..<limit {
            let byte = buffer[offset]
            if byte == UInt8(ascii: "\"") {
                isQuoted.toggle()
            } else if byte == 0x0A {
                lines += 1
                firstEnd = firstEnd ?? offset
                if !isQuoted { return take(offset - position, lines: lines, ended: true) }
            }
        }
        if limit == end, !isAtEnd { return nil }
        if limit == end, !isQuoted { return take(end - position, lines: lines + 1, ended: false) }
        return take((firstEnd ?? limit) - position, lines: 1, ended: firstEnd != nil)
    }
}
