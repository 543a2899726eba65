// One connection to the control socket, seen from `up`: lines in, lines out, never waiting for the other side.
//
// Answers are short and the system buffers some hundred kilobytes of them, so one that does not fit at once means a
// peer that asks and does not read: the connection is given up. So is one whose line has no end.

import CPlatform
import Glibc

/// Somebody who speaks to this `up`. Owned by the supervisor's thread.
final class ControlConnection {
    /// The longest line of a peer, without its LF.
    static let lineBytesMax = 1_024
    private static let readBytesMax = 4_096

    let id: Int
    let descriptor: Int32
    /// The process that connected.
    let process: Int32
    /// The user that it ran as then.
    let user: UInt32
    /// Whether it will be spoken to no more: the other side has closed, or was given up.
    private(set) var isOver = false
    private var pending: [UInt8] = []

    /// Takes a descriptor over; nil, and errno, if the system does not say who is there.
    init?(owning descriptor: Int32, id: Int) {
        var process: Int32 = 0
        var user: UInt32 = 0
        guard tm_peer(descriptor, &process, &user) == 0 else {
            close(descriptor)
            return nil
        }
        self.id = id
        self.descriptor = descriptor
        self.process = process
        self.user = user
    }

    deinit { close(descriptor) }

    /// The lines that have arrived in full, without LF; bytes that are no UTF-8, and control bytes, are replaced.
    func read() -> [String] {
        var chunk = [UInt8](repeating: 0, count: Self.readBytesMax)
        let count = recv(descriptor, &chunk, chunk.count, 0)
        if count < 0, errno == EAGAIN || errno == EINTR { return [] }
        if count <= 0 {
            isOver = true
            return []
        }
        pending += chunk[..<count]
        var lines: [String] = []
        while let end = pending.firstIndex(of: UInt8(ascii: "\n")), end <= Self.lineBytesMax {
            lines.append(Self.text(pending[..<end]))
            pending.removeFirst(end + 1)
        }
        if pending.count > Self.lineBytesMax { giveUp("a line has at most \(Self.lineBytesMax) bytes") }
        return lines
    }

    func send(_ line: String) {
        if isOver { return }
        let bytes = Array("\(line)\n".utf8)
        let count = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))
        if count != bytes.count { isOver = true }
    }

    /// Tells the other side why, and speaks to it no more.
    func giveUp(_ reason: String) {
        send("error \(reason)")
        isOver = true
    }

    private static func text(_ bytes: ArraySlice<UInt8>) -> String {
        String(decoding: bytes.map { $0 < 0x20 || $0 == 0x7F ? UInt8(ascii: " ") : $0 }, as: UTF8.self)
    }
}
