// A child process whose output is read line by line, with a bound on every wait.

import Glibc
import Synchronization

/// Tests run side by side: a child must not inherit the pipes of another that is being started.
private let starting = Mutex(())

final class Child {
    private let pid: pid_t
    private let input: Int32
    private let output: Int32
    private var buffer: [UInt8] = []
    private var result: Int32?

    static let limitMilliseconds: Int32 = 60_000

    init(_ executable: String, _ arguments: [String]) {
        (pid, input, output) = starting.withLock { _ in Self.start(executable, arguments) }
    }

    private static func start(_ executable: String, _ arguments: [String]) -> (pid_t, Int32, Int32) {
        let toChild = makePipe()
        let fromChild = makePipe()
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawn_file_actions_adddup2(&actions, toChild.read, 0)
        posix_spawn_file_actions_adddup2(&actions, fromChild.write, 1)
        posix_spawn_file_actions_adddup2(&actions, fromChild.write, 2)
        var argv: [UnsafeMutablePointer<CChar>?] = ([executable] + arguments).map { strdup($0) }
        argv.append(nil)
        var pid: pid_t = 0
        let code = posix_spawn(&pid, executable, &actions, nil, argv, environ)
        precondition(code == 0, "cannot start \(executable): \(String(cString: strerror(code)))")
        posix_spawn_file_actions_destroy(&actions)
        argv.forEach { free($0) }
        close(toChild.read)
        close(fromChild.write)
        return (pid, toChild.write, fromChild.read)
    }

    private static func makePipe() -> (read: Int32, write: Int32) {
        var ends: [Int32] = [0, 0]
        precondition(pipe(&ends) == 0)
        for end in ends { precondition(fcntl(end, F_SETFD, FD_CLOEXEC) == 0) }
        return (ends[0], ends[1])
    }

    deinit {
        if result == nil { kill() }
        close(output)
    }

    var processNumber: Int32 { pid }

    /// The probe, built beside the test bundle.
    static func probe(_ arguments: [String], as user: UInt32? = nil) -> Child {
        guard let own = realpath("/proc/self/exe", nil) else { preconditionFailure("no path of this process") }
        defer { free(own) }
        let path = String(cString: own)
        let folder = path[..<(path.lastIndex(of: "/") ?? path.startIndex)]
        let probe = "\(folder)/shard-probe"
        guard let user else { return Child(probe, arguments) }
        return Child("/usr/bin/setpriv", ["--reuid=\(user)", "--regid=\(user)", "--clear-groups", probe] + arguments)
    }

    @discardableResult
    static func run(_ executable: String, _ arguments: [String]) -> (output: String, result: Int32) {
        Child(executable, arguments).finish()
    }

    /// The next line, nil at the end of the output.
    func readLine() -> String? {
        while true {
            if let end = buffer.firstIndex(of: UInt8(ascii: "\n")) {
                defer { buffer.removeFirst(end + 1) }
                return String(decoding: buffer[..<end], as: UTF8.self)
            }
            var ready = pollfd(fd: output, events: Int16(POLLIN), revents: 0)
            precondition(poll(&ready, 1, Self.limitMilliseconds) > 0, "the child says nothing")
            var chunk = [UInt8](repeating: 0, count: 1 << 14)
            let count = read(output, &chunk, chunk.count)
            if count <= 0 { return nil }
            buffer += chunk[..<count]
        }
    }

    /// kill -9.
    func kill() {
        Glibc.kill(pid, SIGKILL)
        _ = finish()  // its output is of no interest any more
    }

    /// Ends its input, reads the rest of its output and waits for its end.
    ///
    /// - Returns: the output without its last line end, and the exit code, or -1 if a signal ended it.
    @discardableResult
    func finish() -> (output: String, result: Int32) {
        if let result { return ("", result) }
        close(input)
        var lines: [String] = []
        while let line = readLine() { lines.append(line) }
        var status: Int32 = 0
        while waitpid(pid, &status, 0) < 0, errno == EINTR {}
        let ended: Int32 = status & 0x7F == 0 ? (status >> 8) & 0xFF : -1
        result = ended
        return (lines.joined(separator: "\n"), ended)
    }
}
