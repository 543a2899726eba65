// Every command that the product prints is ready to be pasted: it has no option that its help does not know, and it
// names the cluster, Redis and settings that the command which printed it was given. Looked at wherever a test runs a
// command, so that no message is left out.

import Synchronization

public enum PrintedCommands {
    /// What a command that is about the same cluster has to repeat.
    private static let repeated = ["--data-dir", "--redis", "--namespace", "--config", "--redis-password-file"]
    /// Help texts by the words of a command.
    private static let helps = Mutex<[String: String]>([:])

    /// - Parameters:
    ///   - given: the arguments of the command that printed `text`.
    ///   - text: what it printed, with commands between backquotes and behind "$ ".
    static func check(_ text: String, given: [String]) throws(HarnessError) {
        if given.contains("--help") || given.first == "help" { return }
        for words in commands(in: text) {
            let options = words.filter { $0.hasPrefix("--") }.map { $0.split(separator: "=")[0] }
            let help = try help(words)
            if let unknown = options.first(where: { !names($0, in: help) }) {
                throw HarnessError("`\(words.joined(separator: " "))` is printed, and \(unknown) is not in its help")
            }
            let missing = repeated.first { option in
                given.contains(option) && names(option[...], in: help) && !options.contains(option[...])
            }
            if let missing, !given.contains("--config") || missing == "--config" {
                throw HarnessError("`\(words.joined(separator: " "))` is printed without the \(missing) that was given")
            }
        }
    }

    /// The words of each command behind the program's name.
    static func commands(in text: String) -> [[Substring]] {
        let lines = text.split(separator: "\n").map { $0.drop { $0 == " " } }
        let pasted = lines.filter { $0.hasPrefix("$ ") }.map { $0.dropFirst(2) }
        return (pasted + quoted(in: text)).compactMap { command in
            let words = command.split(separator: " ")
            guard let name = words.first, name == "tallymill" || name.hasSuffix("/tallymill"), words.count > 1 else {
                return nil
            }
            return Array(words.dropFirst())
        }
    }

    /// What stands between backquotes, in each line by itself.
    public static func quoted(in text: String) -> [Substring] {
        text.split(separator: "\n").flatMap { line in
            line.split(separator: "`", omittingEmptySubsequences: false).enumerated()
                .filter { $0.offset % 2 == 1 }.map(\.element)
        }
    }

    private static func names(_ option: Substring, in help: String) -> Bool {
        help.split { " ,\n[]()<>/'`=.;:|".contains($0) }.contains(option)
    }

    private static func help(_ words: [Substring]) throws(HarnessError) -> String {
        let groups: Set<Substring> = ["rebalance", "config", "dead-letters", "token"]
        let isInGroup = groups.contains(words[0]) && words.count > 1 && !words[1].hasPrefix("-")
        let path = words.prefix(isInGroup ? 2 : 1).map(String.init)
        let key = path.joined(separator: " ")
        if let known = helps.withLock({ $0[key] }) { return known }
        let result = try Command.run(TestEnvironment.binary(), path + ["--help"])
        guard result.code == 0 else { throw HarnessError("`tallymill \(key)` is printed, and has no help") }
        helps.withLock { $0[key] = result.outputText }
        return result.outputText
    }
}
