// What is wrong with the settings: every problem at once, so that an operator corrects a file in one go, and the
// sentences that more than one source needs.

/// One or more wrong settings.
public struct SettingsError: Error, Hashable, Sendable {
    /// At least one: first those of flags (exit code 64), then of the environment and the file (78).
    public let problems: [Failure]

    init(_ problems: [Failure]) {
        precondition(!problems.isEmpty, "an error without a problem")
        self.problems = problems
    }

    /// The exit code: 64 if a flag is wrong, else 78.
    public var code: ExitCode { problems.contains { $0.code == .usage } ? .usage : .configuration }

    /// What a command prints to stderr, one block a problem.
    public var report: String { problems.map(\.report).joined(separator: "\n") }
}

extension Failure {
    static func unknownVariable(_ variable: String, at place: String) -> Failure {
        let nearest = NearestName.of(variable, among: Setting.table.map(\.variable))
        return Failure(
            .configuration, "unknown key \(quoted(variable))", at: place,
            advice: nearest.map { "Did you mean \($0)?" } ?? "`tallymill config show` lists the keys; remove this one.")
    }

    static func badValue(_ text: String, of setting: Setting, from origin: SettingOrigin) -> Failure {
        let shown = setting.isSecret ? "a value that is not shown" : quoted(setting.redacted(text))
        let otherwise = setting.defaultText ?? setting.absence
        return Failure(
            origin.isFlag ? .usage : .configuration,
            "\(origin.spelling(of: setting)) is \(shown): must be \(setting.kind.permitted)", at: origin.place,
            advice: "Correct it, or remove it for the default" + (otherwise.map { ": \($0)." } ?? "."))
    }
}

/// A text from outside in quotes: control characters escaped, at most 80 characters of it.
public func quoted(_ text: String) -> String {
    var bytes: [UInt8] = []
    LogLine.appendEscaped(text, for: .quotedText, bytesMax: 80, to: &bytes)
    return "\"\(String(decoding: bytes, as: UTF8.self))\""
}
