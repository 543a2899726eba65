// Unix stream sockets by their path: made, bound and connected, always non-blocking; and the question whether a Redis
// serves at one: PING, and +PONG. One that listens may still be loading its files, and says so.

import Glibc
import ServiceKit

enum UnixSocket {
    /// What came of connecting.
    enum Connecting {
        /// A descriptor that the caller closes.
        case connected(Int32)
        /// An errno. ENOENT, ECONNREFUSED and EAGAIN pass if somebody is about to listen or to accept.
        case failed(Int32)
    }

    /// How long a Redis may take to answer.
    static let answerMilliseconds: Int32 = 100
    /// How many connections may wait to be accepted.
    private static let waitingConnectionsMax: Int32 = 16

    /// Whether a Redis at the socket answers a PING now.
    static func answers(_ path: String) -> Bool {
        guard case .connected(let descriptor) = connect(to: path) else { return false }
        defer { close(descriptor) }
        let ping = Array("PING\r\n".utf8)
        guard send(descriptor, ping, ping.count, Int32(MSG_NOSIGNAL)) == ping.count else { return false }
        var entry = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        guard poll(&entry, 1, answerMilliseconds) == 1 else { return false }
        var answer = [UInt8](repeating: 0, count: 64)
        let count = recv(descriptor, &answer, answer.count, 0)
        return count > 0 && answer[..<count].starts(with: "+PONG".utf8)
    }

    /// Connects; does not wait.
    static func connect(to path: String) -> Connecting {
        guard let address = UnixAddress(path) else { return .failed(ENAMETOOLONG) }
        let descriptor = make()
        guard descriptor >= 0 else { return .failed(errno) }
        guard address.withPointer({ Glibc.connect(descriptor, $0, $1) }) == 0 else {
            let number = errno
            close(descriptor)
            return .failed(number)
        }
        return .connected(descriptor)
    }

    /// Listens at a path where nobody else does: what lies there is left of a run that was killed. Only this user, and
    /// root, can connect.
    ///
    /// - Returns: a descriptor that the caller closes.
    /// - Throws: exit code 74.
    static func listen(at path: String) throws(Failure) -> Int32 {
        guard let address = UnixAddress(path) else {
            throw Failure(cannot: "listen", errno: ENAMETOOLONG, at: path)
        }
        guard unlink(path) == 0 || errno == ENOENT else {
            throw Failure(cannot: "delete the socket of an earlier run", errno: errno, at: path)
        }
        let descriptor = make()
        guard descriptor >= 0 else { throw Failure(cannot: "make a socket", errno: errno, at: path) }
        // The file gets the mode of the socket, so that there is no moment at which others could connect.
        guard fchmod(descriptor, 0o600) == 0, address.withPointer({ bind(descriptor, $0, $1) }) == 0,
            Glibc.listen(descriptor, waitingConnectionsMax) == 0
        else {
            let number = errno
            close(descriptor)
            throw Failure(cannot: "listen", errno: number, at: path)
        }
        return descriptor
    }

    /// -1, and errno, if the system has no descriptor left.
    private static func make() -> Int32 {
        socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
    }
}
