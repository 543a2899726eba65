// A private redis-server on a unix socket in a folder of its own, which a test may kill, stop, restart and turn back
// in time. It logs every write and fsyncs, as the product demands, unless the options say otherwise.
//
// Nothing survives the test process, not even when that is killed: a small shell holds the other end of a pipe, and
// when the pipe closes it kills the server whose process id it was told last, and deletes the folder.

import CPlatform
import Glibc
public import RedisQueue
import Synchronization

/// A redis-server for tests. May be used by several threads.
public final class RedisServer: Sendable {
    public struct Failure: Error, CustomStringConvertible {
        public let description: String
    }

    public let folder: String
    /// The TCP port on 127.0.0.1, 0 if there is none.
    public let port: UInt16
    private let options: [String]
    private let watchdog: pid_t
    private let watchdogInput: Int32
    private let state = Mutex(State())

    private struct State {
        /// 0: not running.
        var pid: pid_t = 0
        var copies = 0
    }

    /// Starts a server and waits until it serves.
    ///
    /// - Parameters:
    ///   - options: further options of redis-server, such as `["--maxmemory", "4mb"]`; they win over the defaults.
    ///   - listensOnPort: also on a free TCP port.
    public init(_ options: [String] = [], listensOnPort: Bool = false) throws {
        var template = Array("/tmp/tallymill-redis-XXXXXX".utf8CString)
        let made = template.withUnsafeMutableBufferPointer { buffer in
            buffer.baseAddress.flatMap { mkdtemp($0) }.map { String(cString: $0) }
        }
        guard let made else { throw Failure(description: "no temporary folder") }
        folder = made
        self.options = options
        port = listensOnPort ? try Self.freePort() : 0
        var ends: [Int32] = [0, 0]
        guard tm_pipe(&ends) == 0 else { throw Failure(description: "no pipe") }
        let script = #"while read -r pid; do last=$pid; done; [ -n "$last" ] && kill -9 "$last"; rm -rf "$0""#
        watchdog = Spawn.start(["sh", "-c", script, made], input: ends[0])
        close(ends[0])
        watchdogInput = ends[1]
        try start()
    }

    deinit {
        kill()
        close(watchdogInput)
        Spawn.wait(watchdog)
    }

    public var socket: String { folder + "/redis.sock" }
    public var url: RedisURL { RedisURL(address: .unix(path: socket)) }

    /// A link with short timeouts.
    public func link(commandMilliseconds: UInt64 = 5_000) -> RedisLink {
        RedisLink(url: url, clientName: "test", connectMilliseconds: 2_000, commandMilliseconds: commandMilliseconds)
    }

    public func connect(commandMilliseconds: UInt64 = 5_000) throws(RedisError) -> RedisConnection {
        try RedisConnection(link(commandMilliseconds: commandMilliseconds))
    }

    /// The server's process, 0 if it does not run.
    public var pid: Int32 { state.withLock { $0.pid } }

    /// Starts the server again on its folder and waits until it serves.
    public func start() throws {
        unlink(socket)
        mkdir(folder + "/data", 0o700)
        let arguments =
            [
                "redis-server", "--port", "\(port)", "--bind", "127.0.0.1", "--unixsocket", socket, "--dir",
                folder + "/data", "--logfile", folder + "/log", "--save", "", "--appendonly", "yes", "--appendfsync",
                "always",
                // A rewrite's child outlives its killed parent for a moment, and would change the files under a copy.
                "--auto-aof-rewrite-percentage", "0",
            ] + options
        let pid = Spawn.start(arguments)
        state.withLock { $0.pid = pid }
        tell("\(pid)\n")
        let isServing = waitUntil {
            guard let connection = try? connect() else { return false }  // not yet: asked again until the bound
            return (try? connection.command(RedisCommand("PING"))) != nil  // loading: asked again until the bound
        }
        guard isServing else { throw Failure(description: "redis-server does not serve: see \(folder)/log") }
    }

    /// Ends the server with SIGKILL.
    public func kill() {
        let pid = state.withLock { state in
            defer { state.pid = 0 }
            return state.pid
        }
        guard pid != 0 else { return }
        Glibc.kill(pid, SIGKILL)
        Spawn.wait(pid)
        tell("\n")
    }

    /// Kills the server and starts it again.
    public func restart() throws {
        kill()
        try start()
    }

    /// Lets the server hang: connections stay, nothing is answered.
    public func pause() {
        Glibc.kill(pid, SIGSTOP)
    }

    public func resume() {
        Glibc.kill(pid, SIGCONT)
    }

    /// Copies what the server has on disk; the copy's path.
    public func copyData() -> String {
        let copy = state.withLock { state in
            state.copies += 1
            return "\(folder)/copy-\(state.copies)"
        }
        Spawn.run("cp", "-a", folder + "/data", copy)
        return copy
    }

    /// Kills the server and starts it again on a copy, as a restored backup would.
    public func replaceData(with copy: String) throws {
        kill()
        Spawn.run("rm", "-rf", folder + "/data")
        Spawn.run("cp", "-a", copy, folder + "/data")
        try start()
    }

    private func tell(_ line: String) {
        let bytes = Array(line.utf8)
        let written = write(watchdogInput, bytes, bytes.count)
        precondition(written == bytes.count, "the watchdog of \(folder) is gone")
    }

    /// A port that was free a moment ago.
    public static func freePort() throws -> UInt16 {
        let descriptor = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(descriptor) }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let code = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                bind(descriptor, address, length) == 0 ? getsockname(descriptor, address, &length) : -1
            }
        }
        guard code == 0 else { throw Failure(description: "no free port") }
        return UInt16(bigEndian: address.sin_port)
    }
}

/// Asks every 2 ms whether something has come about; false if it has not within `seconds`.
public func waitUntil(seconds: Double = 20, _ condition: () throws -> Bool) rethrows -> Bool {
    let start = ContinuousClock.now
    while start.duration(to: .now) < .seconds(seconds) {
        if try condition() { return true }
        usleep(2_000)
    }
    return try condition()
}
