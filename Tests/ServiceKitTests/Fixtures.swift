// What the tests share: folders that vanish, the probe process, and waiting for a condition with a bound.

import Glibc
import Testing

@testable import ServiceKit

/// Creates a folder, lends its path, and deletes it with its files.
func withFolder<Value>(_ body: (String) throws -> Value) throws -> Value {
    var template = Array("/tmp/servicekit-tests-XXXXXX".utf8CString)
    let made = try #require(mkdtemp(&template))
    let path = String(cString: made)
    defer {
        var plan = ChildProcess.Plan(executable: "/bin/rm", arguments: ["-rf", path])
        plan.errorOutput = .null
        do {
            _ = try ChildProcess.spawn(plan).wait()  // a folder that stays in /tmp hurts nobody
        } catch {
            Issue.record("cannot delete \(path): \(error)")
        }
    }
    return try body(path)
}

/// The probe beside the test program.
func probePath() throws -> String {
    var buffer = [CChar](repeating: 0, count: 4096)
    let length = readlink("/proc/self/exe", &buffer, buffer.count)
    try #require(length > 0)
    let program = String(decoding: buffer[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    let folder = program[..<(try #require(program.lastIndex(of: "/")))]
    return "\(folder)/servicekit-probe"
}

func startProbe(_ arguments: [String], environment: [String: String] = [:]) throws -> ChildProcess {
    var plan = ChildProcess.Plan(executable: try probePath(), arguments: arguments, environment: environment)
    plan.output = .pipe
    plan.errorOutput = .null
    return try ChildProcess.spawn(plan)
}

/// Reads lines until there are `count`, the other side has closed, or 20 s are over.
func lines(_ reader: LineReader?, count: Int = .max) throws -> [String] {
    let reader = try #require(reader)
    var found: [String] = []
    while found.count < count && !reader.isAtEnd {
        guard try reader.wait(timeoutMilliseconds: 20_000) else { break }
        found += try reader.readAvailable()
    }
    return found
}

/// Waits until a condition holds, for 20 s at most.
func eventually(_ condition: () -> Bool) -> Bool {
    let deadline = MonotonicClock.milliseconds() + 20_000
    while !condition() {
        if MonotonicClock.milliseconds() > deadline { return false }
        sched_yield()
    }
    return true
}

/// Whether a process runs: it exists and is no zombie.
func isRunning(_ pid: Int32) -> Bool {
    guard case .done(let descriptor) = SystemCall.open("/proc/\(pid)/stat", O_RDONLY) else { return false }
    defer { SystemCall.close(descriptor) }
    guard case .done(let bytes) = SystemCall.readUpTo(1024, from: descriptor) else { return false }
    let text = String(decoding: bytes, as: UTF8.self)
    return !text.contains(") Z ") && !text.contains(") X ") && !text.isEmpty
}

func content(_ path: String) throws -> String {
    guard case .done(let descriptor) = SystemCall.open(path, O_RDONLY) else {
        Issue.record("cannot open \(path)")
        return ""
    }
    defer { SystemCall.close(descriptor) }
    guard case .done(let bytes) = SystemCall.readUpTo(1 << 20, from: descriptor) else { return "" }
    return String(decoding: bytes, as: UTF8.self)
}
