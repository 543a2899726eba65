// Real processes, a real Redis, and kill -9: what a user is promised, checked increment by increment.
//
// Every test that owns a cluster lies inside this suite, whose tests run one after another: two clusters at a time
// would only measure how long the machine takes. What the tests take from the environment is listed in
// ClusterSupport/TestEnvironment.swift.

import ClusterSupport
import ServiceKit
import Testing

/// The root of all cluster tests.
@Suite(.serialized) enum ClusterTests {
    /// Runs a test in a folder of its own, which is kept if the test fails.
    static func inFolder(_ name: String, _ body: (TestFolder) throws -> Void) throws {
        let folder = try TestFolder(name)
        defer { folder.remove() }
        do {
            try body(folder)
        } catch {
            folder.keep()
            throw error
        }
    }

    /// Runs a test against a fresh `up`, which ends with it.
    static func withUp(_ name: String, partitions: Int = 4, _ body: (UpCluster) throws -> Void) throws {
        try inFolder(name) { folder in
            let cluster = try UpCluster(folder, partitions: partitions)
            defer { cluster.destroy() }
            try body(cluster)
        }
    }

    /// Runs a test against a cluster that nothing restarts.
    static func withPieces(
        _ name: String, partitions: Int = 4, _ body: (ManualCluster) throws -> Void
    ) throws {
        try inFolder(name) { folder in
            let cluster = try ManualCluster(folder, partitions: partitions)
            defer { cluster.destroy() }
            try body(cluster)
        }
    }

    /// Fails the test, throwing, unless a condition holds.
    static func check(_ condition: Bool, _ text: @autoclosure () -> String) throws(HarnessError) {
        if !condition { throw HarnessError(text()) }
    }

    /// What a command prints, which must end with `code`.
    @discardableResult
    static func run(_ arguments: [String], code: Int32 = 0) throws(HarnessError) -> String {
        let result = try Command.tallymill(arguments, within: 60)
        let said = result.outputText + result.errorText
        try check(result.code == code, "\(arguments.joined(separator: " ")) ended with \(result.code): \(said)")
        return said
    }

    /// Runs a command, which must print each of `words`.
    static func expect(_ arguments: [String], code: Int32 = 0, words: [String]) throws(HarnessError) {
        let said = try run(arguments, code: code)
        for word in words { try check(said.contains(word), "`\(word)` is not in `\(arguments[0])`: \(said)") }
    }

    /// Posts an object of increments, which must reach `level` in time.
    static func post(
        _ port: UInt16, _ json: String, level: String = "stored", idempotencyKey: String? = nil
    ) throws(HarnessError) {
        var request = HTTPRequest("/increments?level=\(level)")
        request.headers = [("Content-Type", "application/json")]
        if let idempotencyKey { request.headers.append(("Idempotency-Key", idempotencyKey)) }
        request.body = Array(json.utf8)
        let answer = Loopback.ask(port, request)
        let text = answer.map { "\($0.status) \($0.text)" } ?? "no answer"
        try check(answer?.status == 200 && answer?.level == level, text)
    }

    /// Ctrl-C for `up`, which must end with 0.
    static func interrupt(_ cluster: UpCluster) throws(HarnessError) {
        let ending = try cluster.interrupt()
        try check(ending == .code(0), "`up` \(ending): \(tail(cluster.process.errorOutput))")
    }

    /// No client saw an answer that it should not.
    static func checkComplaints(_ load: Load) throws(HarnessError) {
        let complaints = load.complaints
        try check(complaints.isEmpty, "unexpected answers: \(complaints.joined(separator: "; "))")
    }
}
