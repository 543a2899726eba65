// What the tests share: a cluster of fake roles in a process of its own, and waiting for a condition with a bound.

import Glibc
import Testing

@testable import ServiceKit
@testable import Supervision

/// Creates a folder, lends its path, and deletes it with all that is in it.
func withFolder<Value>(_ body: (String) throws -> Value) throws -> Value {
    var template = Array("/tmp/supervision-tests-XXXXXX".utf8CString)
    let path = String(cString: try #require(mkdtemp(&template)))
    defer {
        do {
            _ = try ChildProcess.spawn(.init(executable: "/bin/rm", arguments: ["-rf", path])).wait()
        } catch {
            Issue.record("cannot delete \(path): \(error)")
        }
    }
    return try body(path)
}

/// Waits until a condition holds, for 20 s at most.
func eventually(_ condition: () throws -> Bool) rethrows -> Bool {
    let deadline = MonotonicClock.milliseconds() + 20_000
    while try !condition() {
        if MonotonicClock.milliseconds() > deadline { return false }
        // Not the condition itself, only room for others: these tests run many processes.
        _ = poll(nil, 0, 1)
    }
    return true
}

/// Whether a process runs: it exists and is no zombie.
func isRunning(_ pid: Int32) throws -> Bool {
    guard let bytes = try FileContent.readIfPresent("/proc/\(pid)/stat", maximumBytes: 4096) else { return false }
    let text = String(decoding: bytes, as: UTF8.self)
    return !text.contains(") Z ") && !text.contains(") X ")
}

func touch(_ path: String, _ text: String = "") throws {
    try AtomicFile.write(Array(text.utf8), to: path)
}

/// A probe that runs a cluster; killed at the end if it still runs.
final class Cluster {
    let folder: String
    let process: ChildProcess
    private(set) var printed: [String] = []
    private(set) var errors: [String] = []

    /// - Parameter user: the number of another user who runs it, if it is not this one.
    init(
        _ arguments: [String], in folder: String, command: String = "up", environment: [String: String] = [:],
        user: UInt32? = nil
    ) throws {
        self.folder = folder
        let own = try Programs.own()
        let program = own[..<(try #require(own.lastIndex(of: "/")))] + "/supervision-probe"
        var variables = environment
        variables["PATH"] = variables["PATH"] ?? "/usr/bin:/bin"
        var plan = ChildProcess.Plan(
            executable: String(program), arguments: [command, folder] + arguments, environment: variables)
        if let user {
            plan.arguments = ["--reuid", "\(user)", "--clear-groups", "--", plan.executable] + plan.arguments
            plan.executable = "/usr/bin/setpriv"
        }
        plan.output = .pipe
        plan.errorOutput = .pipe
        process = try ChildProcess.spawn(plan)
    }

    deinit {
        do {
            if process.ending == nil { try process.send(SIGKILL) }
            _ = try process.wait()
        } catch {
            Issue.record("cannot end the probe: \(error)")
        }
    }

    func read() throws {
        printed += try process.output?.readAvailable() ?? []
        errors += try process.errorOutput?.readAvailable() ?? []
    }

    func prints(_ line: String) throws -> Bool {
        try eventually {
            try read()
            return printed.contains(line)
        }
    }

    func complains(_ part: String) throws -> Bool {
        try eventually {
            try read()
            return errors.contains { $0.contains(part) }
        }
    }

    /// Waits for the end; reads all that was printed.
    func end() throws -> ChildProcess.Ending? {
        _ = try eventually {
            try read()
            return try process.poll() != nil
        }
        try read()
        try read()
        return process.ending
    }

    /// What happened so far, without the numbers of processes and the questions for the queues.
    func trace() throws -> [String] {
        try rawTrace().filter { $0.first != "asked" }.map { words in
            words.filter { Int($0) == nil || $0.count < 2 }.joined(separator: " ")
        }
    }

    func happens(_ line: String, times: Int = 1) throws -> Bool {
        try eventually { try hasHappened(line, times: times) }
    }

    func hasHappened(_ line: String, times: Int = 1) throws -> Bool {
        try rawTrace().map { $0.joined(separator: " ") }.filter { $0.hasPrefix(line) }.count >= times
    }

    /// The process of the last start of a role.
    func pid(of role: String) throws -> Int32 {
        let starts = try rawTrace().map { $0.joined(separator: " ") }.filter { $0.hasPrefix("\(role) start ") }
        return try #require(starts.last?.split(separator: " ").last.flatMap { Int32($0) })
    }

    private func rawTrace() throws -> [[Substring]] {
        let bytes = try FileContent.readIfPresent("\(folder)/trace", maximumBytes: 1 << 20) ?? []
        return String(decoding: bytes, as: UTF8.self).split(separator: "\n").map { $0.split(separator: " ") }
    }
}
