// Why a command ends, in the form of whoever reads its stderr: a person, a program that has asked for JSON, or the log
// of a role.

import ArgumentParser
import Glibc
import Logging
import ServiceKit
import TallyCore

/// What reads the output of this process.
enum Reader {
    /// Whether the result is asked for in JSON: then nothing else is on stdout, and a failure is JSON, too.
    static let isProgram = asksForJSON(CommandLine.arguments)

    /// Whether this process is one that logs.
    static let isLog = ["up", "web", "consume"].contains(CommandLine.arguments.dropFirst().first)

    /// `--format json` or `--format ndjson` of a command that has a result; with import and export that is their data.
    static func asksForJSON(_ arguments: [String]) -> Bool {
        guard let command = arguments.dropFirst().first, !["import", "export"].contains(command) else { return false }
        return value(of: "--format", in: arguments).map { ["json", "ndjson"].contains($0) } ?? false
    }

    /// The form of the log, also before the settings have been read.
    static func logFormat(_ arguments: [String], _ environment: [String: String]) -> LogOutput.Format {
        let text = value(of: Setting.logFormat.flag, in: arguments) ?? environment[Setting.logFormat.variable]
        return text.flatMap { LogOutput.Format(rawValue: $0) } ?? .auto
    }

    /// The last value of an option before `--`.
    private static func value(of option: String, in arguments: [String]) -> String? {
        let words = arguments.prefix { $0 != "--" }
        var found: String?
        for (index, word) in words.enumerated() {
            if word == option, index + 1 < words.count { found = words[index + 1] }
            if word.hasPrefix(option + "=") { found = String(word.dropFirst(option.count + 1)) }
        }
        return found
    }
}

extension Output {
    /// Why the command ends: for a person the sentence and the advice below it, for a program a line of JSON, in a log
    /// one event.
    static func failure(_ failure: Failure) {
        let given = Session.current?.given ?? .none
        if Reader.isProgram { return write(Array((failure.json(given) + "\n").utf8), to: STDERR_FILENO) }
        let log = Session.current?.log ?? Self.ownLog
        guard log.format == .journal || Reader.isLog && log.format == .json else { return error(failure.report) }
        var fields: Logger.Metadata = ["exit_code": "\(failure.code.rawValue)"]
        if let advice = failure.advice { fields["advice"] = "\(given.completing(advice))" }
        log.logger("tallymill").critical("\(given.completing(failure.sentence))", metadata: fields)
    }

    private static var ownLog: LogOutput {
        let environment = Environment.current
        return LogOutput(
            format: Reader.logFormat(CommandLine.arguments, environment), level: .info,
            journalStream: environment["JOURNAL_STREAM"])
    }
}

extension Failure {
    func json(_ given: GivenOptions) -> String {
        var object = JSONObject()
        object.add("error", finding(given))
        return object.text
    }

    var finding: JSONObject { finding(.none) }

    /// As findings are told: `where`, `what`, `advice`.
    private func finding(_ given: GivenOptions) -> JSONObject {
        var object = JSONObject()
        object.add("exit_code", code.rawValue)
        object.add("where", location)
        object.add("what", given.completing(what))
        object.add("advice", advice.map { given.completing($0) })
        return object
    }
}

extension Tallymill {
    /// Parses and runs; what the parser finds wrong is told as everything else is.
    static func runCommand() {
        do {
            var command = try parseAsRoot()
            try command.run()
        } catch {
            let code = exitCode(for: error)
            // A code of our own comes behind a failure that was told.
            if Reader.isProgram, code == .validationFailure, !(error is ArgumentParser.ExitCode) {
                Output.failure(
                    Failure(.usage, message(for: error), advice: "--help shows every option of a command."))
                exit(withError: code)
            }
            exit(withError: error)
        }
    }
}
