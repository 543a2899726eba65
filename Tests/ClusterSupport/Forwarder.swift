// A loopback port that leads to a unix socket, as a virtual address or a balancer does in front of a Redis: a new
// connection goes to the target of its moment, and stays there whatever the target becomes.

import Glibc
import ServiceKit
import Synchronization

/// Forwards connections until `stop`.
public final class Forwarder: Sendable {
    public let port: UInt16
    private let target: Target
    /// Written to end the thread, which waits at the other end.
    private let end: Int32
    private let thread: ServiceThread

    /// Where new connections go.
    private final class Target: Sendable {
        /// nil: nowhere, they are closed at once.
        let path: Mutex<String?>
        let turnedAway = Atomic<Int>(0)

        init(_ path: String?) { self.path = Mutex(path) }
    }

    /// - Parameter path: the socket that it leads to; nil for none.
    public init(to path: String?) throws(HarnessError) {
        var ends: [Int32] = [0, 0]
        guard pipe(&ends) == 0, ends.allSatisfy({ fcntl($0, F_SETFD, FD_CLOEXEC) == 0 }) else {
            throw HarnessError(cannot: "make a pipe")
        }
        let (listener, port) = try Loopback.bind()
        guard listen(listener, 64) == 0 else { throw HarnessError(cannot: "listen") }
        let target = Target(path)
        let stopped = ends[0]
        self.port = port
        self.target = target
        end = ends[1]
        thread = ServiceThread(name: "forwarder") {
            var turns = ForwarderTurns(stopped: stopped, listener: listener)
            while let client = turns.next() {
                let server = target.path.withLock { $0 }.flatMap { ForwarderTurns.connect($0) }
                if let server {
                    turns.add(client, server)
                } else {
                    close(client)
                    target.turnedAway.add(1, ordering: .relaxed)
                }
            }
        }
    }

    public var url: String { "redis://127.0.0.1:\(port)" }

    /// Connections that were made while it led nowhere.
    public var turnedAway: Int { target.turnedAway.load(ordering: .relaxed) }

    /// New connections go there from now on.
    public func lead(to path: String?) { target.path.withLock { $0 = path } }

    /// Ends all connections; once.
    public func stop() {
        let isTold = write(end, [0], 1) == 1
        precondition(isTold, "an open pipe takes a byte")
        thread.join()
        close(end)
    }
}

/// The connections, on the forwarder's thread.
private struct ForwarderTurns {
    let stopped: Int32
    let listener: Int32
    /// Client and server.
    private var pairs: [(Int32, Int32)] = []

    init(stopped: Int32, listener: Int32) {
        self.stopped = stopped
        self.listener = listener
    }

    mutating func add(_ client: Int32, _ server: Int32) { pairs.append((client, server)) }

    /// Passes bytes on until a client connects: its descriptor; nil at the end.
    mutating func next() -> Int32? {
        while true {
            let watched = [stopped, listener] + pairs.flatMap { [$0.0, $0.1] }
            var entries = watched.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
            guard poll(&entries, nfds_t(entries.count), -1) > 0 || errno == EINTR, entries[0].revents == 0 else {
                for descriptor in watched { close(descriptor) }
                return nil
            }
            let ready = Set(entries.filter { $0.revents != 0 }.map(\.fd))
            pairs.removeAll { pair in
                let lives = [pair, (pair.1, pair.0)].allSatisfy { from, to in
                    !ready.contains(from) || Self.pass(from: from, to: to)
                }
                if !lives {
                    close(pair.0)
                    close(pair.1)
                }
                return !lives
            }
            if ready.contains(listener) {
                let client = accept(listener, nil, nil)
                if client >= 0 { return client }
            }
        }
    }

    /// What is there, all of it; false at the end of either.
    private static func pass(from source: Int32, to sink: Int32) -> Bool {
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        let count = read(source, &chunk, chunk.count)
        var sent = 0
        while sent < count {
            let more = send(sink, chunk[sent..<count].map(\.self), count - sent, Int32(MSG_NOSIGNAL))
            if more <= 0 { return false }
            sent += more
        }
        return count > 0
    }

    /// nil if nobody listens there.
    static func connect(_ path: String) -> Int32? {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return nil }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array(path.utf8).prefix($0.count - 1)) }
        let result = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        if result == 0 { return descriptor }
        close(descriptor)
        return nil
    }
}
