// How much Redis may still answer. A server that is out of its mind, or something else behind its address, may answer
// without end: what is read is bounded before it is understood. An element of an array costs some 64 bytes of memory
// and may have four, so each line is charged with more than its bytes.

import Glibc
import TallyCore

/// What is left for the answers that are due. A value of one connection.
struct AnswerBudget {
    let bytesMax: Int
    private var left: Int

    init(bytes: Int) {
        bytesMax = bytes
        left = bytes
    }

    /// New answers are due.
    mutating func renew() { left = bytesMax }

    /// Charges what was read; false if that is too much.
    mutating func take(_ bytes: UnsafeRawBufferPointer) -> Bool {
        left -= bytes.count + Self.lines(in: bytes) * Limits.answerLineBytes
        return left >= 0
    }

    private static func lines(in bytes: UnsafeRawBufferPointer) -> Int {
        guard var from = bytes.baseAddress else { return 0 }
        let end = from + bytes.count
        var lines = 0
        while let found = memchr(from, Int32(UInt8(ascii: "\n")), end - from) {
            lines += 1
            from = UnsafeRawPointer(found) + 1
        }
        return lines
    }
}
