// Lines from a pipe without ever blocking: what a child prints is passed on as it comes, by a thread that has
// other things to do. A line without end cannot fill the memory: it is handed out in pieces.

import Glibc

/// Reads lines from a descriptor that it owns. Owned by one thread.
public final class LineReader {
    /// The longest line, in bytes without its LF; a longer one comes in pieces of this length.
    public static let lineBytesMax = 8192

    /// Readable when there is something to read, for `poll`.
    public let descriptor: Int32
    /// Whether the other side has closed; everything was handed out then.
    public private(set) var isAtEnd = false
    private var pending: [UInt8] = []

    /// Takes a descriptor over and makes it non-blocking.
    public init(owning descriptor: Int32) {
        self.descriptor = descriptor
        let flags = fcntl(descriptor, F_GETFL)
        let changed = fcntl(descriptor, F_SETFL, flags | O_NONBLOCK)
        precondition(flags >= 0 && changed == 0, "a line reader needs an open descriptor")
    }

    deinit { SystemCall.close(descriptor) }

    /// The lines that have arrived in full, without LF; the rest of the last line when the other side has closed.
    /// Reads at most 64 KiB, so that a talkative child cannot hold the caller. Bytes that are no UTF-8 are
    /// replaced by U+FFFD.
    ///
    /// - Throws: exit code 74 if reading fails.
    public func readAvailable() throws(Failure) -> [String] {
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        switch SystemCall.retrying({ read(descriptor, &chunk, chunk.count) }) {
        case .done(0): isAtEnd = true
        case .done(let count): pending += chunk[..<count]
        case .failed(EAGAIN): return []
        case .failed(let number): throw Failure(cannot: "read what a child prints", errno: number)
        }
        return takeLines()
    }

    /// Waits until there is something to read or the other side has closed.
    ///
    /// - Returns: false if neither happened in time.
    public func wait(timeoutMilliseconds: Int?) throws(Failure) -> Bool {
        switch SystemCall.waitReadable(descriptor, timeoutMilliseconds: timeoutMilliseconds) {
        case .done(let isReady): return isReady
        case .failed(let number): throw Failure(cannot: "wait for what a child prints", errno: number)
        }
    }

    private func takeLines() -> [String] {
        var lines: [String] = []
        var rest = pending[...]
        while true {
            let window = rest.prefix(Self.lineBytesMax + 1)
            if let end = window.firstIndex(of: UInt8(ascii: "\n")) {
                lines.append(String(decoding: rest[..<end], as: UTF8.self))
                rest = rest[(end + 1)...]
            } else if window.count > Self.lineBytesMax {
                lines.append(String(decoding: rest.prefix(Self.lineBytesMax), as: UTF8.self))
                rest = rest.dropFirst(Self.lineBytesMax)
            } else {
                break
            }
        }
        if isAtEnd && !rest.isEmpty {
            lines.append(String(decoding: rest, as: UTF8.self))
            rest = []
        }
        pending = Array(rest)
        return lines
    }
}
