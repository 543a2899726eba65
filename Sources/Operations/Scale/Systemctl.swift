// The door to systemd: its own program, found along PATH, asked in the C locale and without a pager.
//
// A command that fails is a value, because what systemctl says about it is what the operator has to read. That nobody
// answers at all (no such program, no systemd as the first process, no bus) is a failure of its own, with 69: a
// container and a laptop that runs `tallymill up` have no units, and that is no fault of theirs.

import Glibc
public import ServiceKit

/// A way to systemd. A value: each question is a process of its own.
public struct Systemctl: Sendable {
    /// What came of one command.
    public struct Answer: Hashable, Sendable {
        public let ending: ChildProcess.Ending
        /// Its stdout, without LF.
        public let lines: [String]
        /// What it said on stderr, or on stdout where that is empty: one line, for a message.
        public let words: String

        public var succeeded: Bool { ending == .code(0) }
    }

    private static let unansweredAdvice =
        "Units need systemd. Without it `tallymill up` runs a whole cluster, and `tallymill consume` is for a"
        + " supervisor of your own."
    private let program: String
    private let environment: [String: String]

    /// Finds the program.
    ///
    /// - Parameter environment: of this process; PATH says where to look.
    /// - Throws: 69 if there is none.
    public init(environment: [String: String]) throws(Failure) {
        let folders = (environment["PATH"] ?? "/usr/bin:/bin").split(separator: ":")
        guard let folder = folders.first(where: { access("\($0)/systemctl", X_OK) == 0 }) else {
            throw Failure(
                .unavailable, "there is no systemctl along PATH, so no systemd here", advice: Self.unansweredAdvice)
        }
        program = "\(folder)/systemctl"
        self.environment = environment.merging(["LC_ALL": "C", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": "cat"]) { $1 }
    }

    /// Runs one command to its end; nothing is asked at the terminal.
    ///
    /// - Throws: 69 if systemd does not run here, 1 if the program cannot be started.
    public func run(_ arguments: [String]) throws(Failure) -> Answer {
        var plan = ChildProcess.Plan(
            executable: program, arguments: ["--no-ask-password"] + arguments, environment: environment)
        plan.output = .pipe
        plan.errorOutput = .pipe
        let child = try ChildProcess.spawn(plan)
        guard let output = child.output, let errorOutput = child.errorOutput else {
            preconditionFailure("a child with two pipes has two readers")
        }
        var lines: [String] = []
        var complaints: [String] = []
        while !output.isAtEnd || !errorOutput.isAtEnd {
            _ = try Waiting.wait(for: [output, errorOutput].filter { !$0.isAtEnd }.map(\.descriptor))  // either is read
            if !output.isAtEnd { lines += try output.readAvailable() }
            if !errorOutput.isAtEnd { complaints += try errorOutput.readAvailable() }
        }
        guard let ending = try child.wait() else { preconditionFailure("waiting for ever has an end") }
        let words = (complaints.isEmpty ? lines : complaints).filter { !Self.isNews($0) }.joined(separator: " ")
        if ending != .code(0), Self.isUnanswered(words) {
            throw Failure(
                .unavailable, "systemd does not run here", at: program, advice: Self.unansweredAdvice)
        }
        return Answer(ending: ending, lines: lines, words: words)
    }

    /// The lines of a question, whose failure is ours.
    ///
    /// - Throws: 1 with what systemctl said, 69 if systemd does not run here.
    func ask(_ arguments: [String]) throws(Failure) -> [String] {
        let answer = try run(arguments)
        guard answer.succeeded else {
            throw Failure(
                .failure, "`systemctl \(arguments.joined(separator: " "))` \(answer.ending): \(answer.words)",
                at: program)
        }
        return answer.lines
    }

    /// Which links it has made or removed, told on stderr: nothing that went wrong.
    private static func isNews(_ line: String) -> Bool {
        line.hasPrefix("Created symlink ") || line.hasPrefix("Removed ")
    }

    private static func isUnanswered(_ words: String) -> Bool {
        words.contains("not been booted with systemd") || words.contains("Failed to connect to bus")
    }
}
