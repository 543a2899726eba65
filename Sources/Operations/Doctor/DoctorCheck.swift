// What a check of `doctor` is: a name, and what came of it. A finding says what is wrong in one sentence and carries
// the commands that mend it, ready to be pasted; what could not be looked at is said, too, because silence would read
// as health.

import ServiceKit
import TallyCore

/// One check and what came of it.
public struct DoctorCheck: Hashable, Sendable {
    /// What is checked; stable, for scripts.
    public enum Name: String, CaseIterable, Sendable {
        case redisConnection = "redis-connection"
        case redisVersion = "redis-version"
        case redisRole = "redis-role"
        case redisPersistence = "redis-persistence"
        case redisWrites = "redis-writes"
        case redisEviction = "redis-eviction"
        case redisMemory = "redis-memory"
        case redisFunctions = "redis-functions"
        case redisOvercommit = "redis-overcommit"
        case redisHugePages = "redis-huge-pages"
        case redisDisk = "redis-disk"
        case clock
        case clusterFile = "cluster-file"
        case rebalance
        case topology
        case shards
        case deadLetters = "dead-letters"
        case consumers
        case queues
        case behind
        case permissions
        case secrets
        case dataDisk = "data-disk"
        case dataFileSystem = "data-file-system"
        case openFiles = "open-files"
        case units
    }

    public enum Severity: String, Hashable, Sendable {
        /// Increments are refused, wait, or may be lost.
        case error
        /// Nothing is lost yet.
        case warning
    }

    /// How a finding is mended.
    public struct Mend: Hashable, Sendable {
        /// Lines for a shell, in order; without any, `advice` says what to do.
        public let commands: [String]
        /// Sentences.
        public let advice: String?

        init(_ commands: String..., advice: String? = nil) {
            self.init(commands, advice: advice)
        }

        init(_ commands: [String], advice: String? = nil) {
            precondition(!commands.isEmpty || advice != nil, "a finding that nobody can mend")
            self.commands = commands
            self.advice = advice
        }
    }

    public enum Outcome: Hashable, Sendable {
        /// What was seen.
        case ok(String)
        /// What is wrong, one sentence without a full stop.
        case found(Severity, String, Mend)
        /// Why it was not checked.
        case skipped(String)
    }

    public let name: Name
    public let outcome: Outcome

    static func ok(_ name: Name, _ seen: String) -> DoctorCheck {
        DoctorCheck(name: name, outcome: .ok(seen))
    }

    static func error(_ name: Name, _ what: String, _ mend: Mend) -> DoctorCheck {
        DoctorCheck(name: name, outcome: .found(.error, what, mend))
    }

    static func warning(_ name: Name, _ what: String, _ mend: Mend) -> DoctorCheck {
        DoctorCheck(name: name, outcome: .found(.warning, what, mend))
    }

    static func skipped(_ name: Name, _ reason: String) -> DoctorCheck {
        DoctorCheck(name: name, outcome: .skipped(reason))
    }

    /// What a library threw, as a finding.
    static func error(_ name: Name, _ failure: Failure, otherwise advice: String) -> DoctorCheck {
        .error(name, failure.sentence, Mend(advice: failure.advice ?? advice))
    }

    /// With commands that can be pasted.
    func completed(by given: GivenOptions) -> DoctorCheck {
        guard case .found(let severity, let what, let mend) = outcome else { return self }
        let mended = Mend(mend.commands.map { given.command($0) }, advice: mend.advice.map { given.completing($0) })
        return DoctorCheck(name: name, outcome: .found(severity, given.completing(what), mended))
    }

    /// nil unless something was found.
    public var severity: Severity? {
        if case .found(let severity, _, _) = outcome { severity } else { nil }
    }
}

extension [DoctorCheck] {
    /// What was found, or that all is well.
    func orOK(_ name: DoctorCheck.Name, _ seen: @autoclosure () -> String) -> [DoctorCheck] {
        isEmpty ? [.ok(name, seen())] : self
    }
}

// MARK: As text

extension DoctorCheck {
    /// Lines for a person.
    var text: String {
        switch outcome {
        case .ok(let seen): return "ok       \(name.rawValue): \(seen)\n"
        case .skipped(let reason): return "skipped  \(name.rawValue): \(reason)\n"
        case .found(let severity, let what, let mend):
            let word = severity == .error ? "ERROR  " : "WARNING"
            let advice = mend.advice.map { "           \($0)\n" } ?? ""
            // What is to be known about a command comes behind it: many read no further than to the command.
            return "\(word)  \(name.rawValue): \(what)\n"
                + mend.commands.map { "           $ \($0)\n" }.joined() + advice
        }
    }

    var json: String {
        let head = #"{"check":"\#(name.rawValue)","outcome":"#
        switch outcome {
        case .ok(let seen): return head + #""ok","what":\#(JSONText.quote(seen))}"#
        case .skipped(let reason): return head + #""skipped","what":\#(JSONText.quote(reason))}"#
        case .found(let severity, let what, let mend):
            let commands = mend.commands.map { JSONText.quote($0) }.joined(separator: ",")
            return head + #""\#(severity.rawValue)","what":\#(JSONText.quote(what)),"commands":[\#(commands)],"#
                + #""advice":\#(mend.advice.map { JSONText.quote($0) } ?? "null")}"#
        }
    }
}
