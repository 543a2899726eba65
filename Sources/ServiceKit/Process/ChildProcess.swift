// A child process, started with posix_spawn from the calling thread.
//
// The thread matters: a child that asks for a parent-death signal (ParentDeath, or `setpriv --pdeathsig`) gets it
// when the *thread* that started it ends, so children must be started by a thread that lives as long as the parent
// means to. That is why this is not done through swift-subprocess, whose worker threads come and go.
//
// A child starts clean: its own process group (a terminal's Ctrl-C reaches the parent alone), no blocked signals,
// default dispositions (also of SIGPIPE, which the parent ignores), stdin from /dev/null, exactly the arguments
// and variables given, and no descriptor but 0, 1 and 2.
//
// Owned by one thread. A child that is not waited for stays a zombie until the parent ends.

import CPlatform
import Glibc

/// A running or ended child.
public final class ChildProcess {
    /// What to start.
    public struct Plan: Sendable {
        /// Where the child's stdout or stderr goes.
        public enum Output: Hashable, Sendable {
            /// To where the parent's goes.
            case inherit
            case null
            /// Appended to a file, created with mode 0644.
            case file(String)
            /// To a pipe, read with `ChildProcess.output` or `errorOutput`.
            case pipe
        }

        /// A path; there is no search along PATH.
        public var executable: String
        /// All of argv after argv[0], which is the executable's path.
        public var arguments: [String]
        /// The whole environment.
        public var environment: [String: String]
        public var output: Output = .inherit
        public var errorOutput: Output = .inherit
        /// Starts it with SIGINT, SIGTERM and SIGHUP blocked, for a program that waits for them (`SignalWaiter`): one
        /// that comes in its first moments is kept.
        public var keepsSignals = false

        public init(executable: String, arguments: [String] = [], environment: [String: String] = [:]) {
            self.executable = executable
            self.arguments = arguments
            self.environment = environment
        }
    }

    /// How a child ended.
    public enum Ending: Hashable, Sendable {
        case code(Int32)
        case signal(Int32)
    }

    public let pid: Int32
    /// The child's stdout, if the plan asked for a pipe.
    public let output: LineReader?
    /// The child's stderr, if the plan asked for a pipe.
    public let errorOutput: LineReader?
    /// Readable once the child has ended, for `poll`; -1 on a kernel without pidfd_open.
    public let descriptor: Int32
    /// How it ended, once `poll` or `wait` has seen it.
    public private(set) var ending: Ending?

    init(pid: Int32, output: LineReader?, errorOutput: LineReader?) {
        self.pid = pid
        self.output = output
        self.errorOutput = errorOutput
        self.descriptor = tm_pidfd_open(pid)
    }

    deinit { if descriptor >= 0 { SystemCall.close(descriptor) } }

    /// Sends a signal to the child's process group, which is the child and what it started.
    ///
    /// - Returns: false if the child has ended and was waited for: its number may belong to somebody else now.
    /// - Throws: exit code 1 if the system refuses.
    @discardableResult
    public func send(_ signal: Int32) throws(Failure) -> Bool {
        guard ending == nil else { return false }
        guard kill(-pid, signal) == 0 else {
            throw Failure(cannot: "send signal \(signal) to process \(pid)", errno: errno, code: .failure)
        }
        return true
    }

    /// Looks whether the child has ended.
    ///
    /// - Returns: nil while it runs.
    /// - Throws: exit code 1 if somebody else has waited for it.
    public func poll() throws(Failure) -> Ending? {
        try collect(flags: WNOHANG)
    }

    /// Waits for the child's end.
    ///
    /// - Parameter timeoutMilliseconds: nil waits for ever.
    /// - Returns: nil if it still runs after that time.
    /// - Throws: exit code 1 if somebody else has waited for it.
    public func wait(timeoutMilliseconds: Int? = nil) throws(Failure) -> Ending? {
        guard let timeoutMilliseconds else { return try collect(flags: 0) }
        let deadline = MonotonicClock.milliseconds() &+ UInt64(max(0, timeoutMilliseconds))
        while true {
            if let ending = try poll() { return ending }
            let now = MonotonicClock.milliseconds()
            guard now < deadline else { return nil }
            try waitForChange(milliseconds: Int(deadline - now))
        }
    }

    private func waitForChange(milliseconds: Int) throws(Failure) {
        guard descriptor >= 0 else {
            // Before Linux 5.3: look again after a while.
            usleep(UInt32(min(milliseconds, 10)) * 1_000)
            return
        }
        if case .failed(let number) = SystemCall.waitReadable(descriptor, timeoutMilliseconds: milliseconds) {
            throw Failure(cannot: "wait for process \(pid)", errno: number, code: .failure)
        }
    }

    private func collect(flags: Int32) throws(Failure) -> Ending? {
        if let ending { return ending }
        var status: Int32 = 0
        switch SystemCall.retrying({ waitpid(pid, &status, flags) }) {
        case .done(0): return nil
        case .done: ending = Ending(waitStatus: status)
        case .failed(let number):
            throw Failure(cannot: "wait for process \(pid)", errno: number, code: .failure)
        }
        return ending
    }
}

extension ChildProcess.Ending: CustomStringConvertible {
    /// The low 7 bits are the signal, 0 for an exit; the next byte is the exit code.
    init(waitStatus: Int32) {
        let signal = waitStatus & 0x7F
        self = signal == 0 ? .code(waitStatus >> 8 & 0xFF) : .signal(signal)
    }

    /// The exit code as one of ours, if it is one.
    public var exitCode: ExitCode? {
        guard case .code(let code) = self else { return nil }
        return ExitCode(rawValue: code)
    }

    public var description: String {
        switch self {
        case .code(let code): "ended with code \(code)"
        case .signal(let signal): "was killed by signal \(signal)"
        }
    }
}
