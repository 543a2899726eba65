// A file of settings, read strictly: a line that is not understood is a problem with its number, never skipped. The
// other lines are read all the same, so that all mistakes of a file are told at once.
//
//     file  = *( line LF ) [ line ]          UTF-8, at most 64 KiB
//     line  = "" / "#" anything / KEY "=" value
//     KEY   = the name of a variable, such as TALLYMILL_OUTBOX_BYTES, at most once
//     value = 1 to 4095 bytes, taken as they are: no quotes, no escapes, no spaces around, no comment behind
//
// This is a subset of what systemd's EnvironmentFile= accepts, with the same meaning.

import Glibc

/// The lines of a file of settings, each with its number.
public struct SettingsFile: Sendable {
    /// The longest file that is read, in bytes.
    public static let bytesMax = 64 << 10

    struct Line: Sendable {
        let setting: Setting
        let text: String
        let number: Int
    }

    /// As given by the operator; part of every message.
    public let path: String
    let lines: [Line]
    /// One for each line that is wrong, all with exit code 78.
    let problems: [Failure]

    /// Parses the content of a file. Values are not yet checked.
    ///
    /// - Throws: one problem, if it is no text, or too long for a file of settings.
    public init(path: String, content: [UInt8]) throws(SettingsError) {
        guard content.count <= Self.bytesMax else { throw SettingsError([Self.tooLong(path)]) }
        guard let text = String(validating: content, as: UTF8.self) else {
            throw SettingsError([Failure(.configuration, "not valid UTF-8", at: path, advice: Self.formAdvice)])
        }
        var lines: [Line] = []
        var problems: [Failure] = []
        var firstNumber: [Setting: Int] = [:]
        let rows = text.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false)
        for (index, row) in rows.enumerated() where !row.isEmpty && row.first != "#" {
            let place = "\(path):\(index + 1)"
            switch Self.parse(String(row), at: place) {
            case .success(let (setting, value)):
                if let earlier = firstNumber[setting] {
                    problems.append(Self.repeated(setting, earlier: earlier, at: place))
                } else {
                    firstNumber[setting] = index + 1
                    lines.append(Line(setting: setting, text: value, number: index + 1))
                }
            case .failure(let problem):
                problems.append(problem)
            }
        }
        self.path = path
        self.lines = lines
        self.problems = problems
    }

    /// Reads and parses a file.
    ///
    /// - Throws: exit code 78 if it cannot be read, is longer than `bytesMax` or is no text.
    public static func read(_ path: String) throws(SettingsError) -> SettingsFile {
        let descriptor: Int32
        switch SystemCall.open(path, O_RDONLY) {
        case .done(let opened): descriptor = opened
        case .failed(let number): throw SettingsError([unreadable(path, number)])
        }
        defer { SystemCall.close(descriptor) }
        switch SystemCall.readUpTo(bytesMax + 1, from: descriptor) {
        case .done(let content): return try SettingsFile(path: path, content: content)
        case .failed(let number): throw SettingsError([unreadable(path, number)])
        }
    }
}

extension SettingsFile {
    private static let formAdvice = "A line is KEY=VALUE, a comment that begins with '#', or empty."

    private static func parse(_ row: String, at place: String) -> Result<(Setting, String), Failure> {
        func wrong(_ what: String, _ advice: String = formAdvice) -> Result<(Setting, String), Failure> {
            .failure(Failure(.configuration, what, at: place, advice: advice))
        }
        if row.utf8.last == UInt8(ascii: "\r") {
            return wrong("the line ends with a carriage return", "Save the file with Unix line ends.")
        }
        guard let equals = row.firstIndex(of: "=") else { return wrong("no '=' in \(quoted(row))") }
        let key = String(row[..<equals])
        let value = String(row[row.index(after: equals)...])
        guard let setting = Setting.ofVariable(key) else {
            return .failure(.unknownVariable(key, at: place))
        }
        guard setting.isAllowedInFile else {
            return wrong("\(key) cannot be set in a file", "Use \(setting.flag), or \(key) in the environment.")
        }
        if value.hasPrefix(" ") || value.hasSuffix(" ") || value.hasPrefix("\t") || value.hasSuffix("\t") {
            return wrong("\(key) has spaces around its value", "Write KEY=VALUE without spaces.")
        }
        if value.hasPrefix("\"") || value.hasPrefix("'") {
            return wrong("\(key) has a quoted value", "Values are taken as they are: remove the quotes.")
        }
        if value.contains(" #") {
            return wrong("\(key) has a comment behind its value", "Put the comment on a line of its own.")
        }
        return .success((setting, value))
    }

    private static func repeated(_ setting: Setting, earlier: Int, at place: String) -> Failure {
        Failure(
            .configuration, "\(setting.variable) is already set in line \(earlier)", at: place,
            advice: "Keep one of the two lines.")
    }

    private static func tooLong(_ path: String) -> Failure {
        Failure(
            .configuration, "longer than \(SettingKind.bytesText(bytesMax))", at: path,
            advice: "Is this a file of settings? \(formAdvice)")
    }

    private static func unreadable(_ path: String, _ number: Int32) -> Failure {
        Failure(
            cannot: "read the file of settings", errno: number, at: path, code: .configuration,
            advice: "Correct \(Setting.config.flag) or \(Setting.config.variable), or the file's permissions.")
    }
}
