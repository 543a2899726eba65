// The other side of the control socket: a command that asks the `up` of a data folder, and waits for lines.
//
// Whether one runs is told by its lock. One that has just taken it may not listen yet, and one of an earlier release
// never will: so the socket is looked for during a short time, and then that is said.

import Glibc
import ServiceKit

/// A connection to a running `up`. Owned by one thread.
final class ControlClient {
    /// How long an `up` may take from its lock to its socket.
    static let listenMilliseconds: UInt64 = 2_000
    private static let lookMilliseconds: Int32 = 10
    /// The longest answer: `state` of 1,024 partitions is far below it.
    private static let answerBytesMax = 64 << 10

    enum Answer {
        case line(String)
        /// The other side has closed the connection.
        case ended
        /// Not in time.
        case late
    }

    /// The process of that `up`.
    let pid: Int32
    private let descriptor: Int32
    private var pending: [UInt8] = []

    private init(owning descriptor: Int32, pid: Int32) {
        self.descriptor = descriptor
        self.pid = pid
    }

    deinit { close(descriptor) }

    /// Connects to the `up` that runs in a data folder.
    ///
    /// - Returns: nil if there is none.
    /// - Throws: 75 if it does not listen, 74 if this user may not speak to it.
    static func connect(dataFolder: String) throws(Failure) -> ControlClient? {
        let deadline = MonotonicClock.milliseconds() + listenMilliseconds
        while let pid = try UpFolder.holder(ofDataFolder: dataFolder) {
            let isLast = MonotonicClock.milliseconds() >= deadline
            if let path = try UpFolder.controlSocket(ofDataFolder: dataFolder) {
                switch UnixSocket.connect(to: path) {
                case .connected(let descriptor): return ControlClient(owning: descriptor, pid: pid)
                case .failed(ENOENT) where !isLast, .failed(ECONNREFUSED) where !isLast, .failed(EAGAIN) where !isLast:
                    break
                case .failed(let number):
                    throw Failure(
                        cannot: "speak to the `up` of process \(pid)", errno: number, at: path,
                        advice: "The same user can, and root.")
                }
            } else if isLast {
                throw Failure(
                    .locked, "the `up` of process \(pid) has no control socket: it is of an earlier release",
                    at: dataFolder, advice: "Stop it with Ctrl-C and start it with this release, then run this again.")
            }
            _ = poll(nil, 0, lookMilliseconds)  // room for the other side; the next turn looks
        }
        return nil
    }

    /// Sends a line. What is wrong with the connection shows in the answer.
    func send(_ line: String) {
        let bytes = Array("\(line)\n".utf8)
        _ = Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL))  // too long for the buffer: no line of ours
    }

    /// The next line.
    ///
    /// - Throws: 74 if the system refuses to wait or to read.
    func receive(waitingMilliseconds: UInt64) throws(Failure) -> Answer {
        let deadline = MonotonicClock.milliseconds() &+ waitingMilliseconds
        while true {
            if let end = pending.firstIndex(of: UInt8(ascii: "\n")) {
                defer { pending.removeFirst(end + 1) }
                return .line(String(decoding: pending[..<end], as: UTF8.self))
            }
            let now = MonotonicClock.milliseconds()
            var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            let count = poll(&entry, 1, now >= deadline ? 0 : Int32(clamping: deadline - now))
            if count == 0 { return .late }
            guard count > 0 || errno == EINTR else { throw Failure(cannot: "wait for `up`", errno: errno) }
            if count > 0, try !readMore() { return .ended }
        }
    }

    /// False at the end of the connection.
    private func readMore() throws(Failure) -> Bool {
        var chunk = [UInt8](repeating: 0, count: 4_096)
        let count = recv(descriptor, &chunk, chunk.count, 0)
        if count < 0 {
            switch errno {
            case EINTR, EAGAIN: return true
            case ECONNRESET: return false
            default: throw Failure(cannot: "read what `up` says", errno: errno)
            }
        }
        guard count > 0, pending.count + count <= Self.answerBytesMax else { return false }
        pending += chunk[..<count]
        return true
    }

    /// The `up` has ended, or does not want to speak any more.
    var ended: Failure {
        Failure(
            .unavailable, "the `up` of process \(pid) has closed the connection",
            advice: "If it has ended, start it again: it starts the consumers that the cluster file asks for.")
    }

    /// It has answered something else than hoped for.
    func refusal(_ line: String) -> Failure {
        let words = line.hasPrefix("error ") ? String(line.dropFirst("error ".count)) : line
        return Failure(.failure, "the `up` of process \(pid) says: \(words)")
    }
}
