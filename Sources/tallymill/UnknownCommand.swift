// A command that does not exist, most likely a slip: the parser only says that the word is unexpected.

import ArgumentParser
import ServiceKit

extension Tallymill {
    /// Says what was probably meant by the first word, and ends the process; returns if the word may be a command.
    static func refuseUnknownCommand() {
        guard let word = CommandLine.arguments.dropFirst().first, !word.hasPrefix("-") else { return }
        let commands = configuration.subcommands.map { $0.configuration }
        let names = commands.compactMap(\.commandName) + commands.flatMap(\.aliases) + ["help"]
        if names.contains(word) { return }
        let failure = Failure(
            .usage, "there is no command \(quoted(word))",
            advice: NearestName.of(word, among: names).map { "Did you mean `tallymill \($0)`?" }
                ?? "`tallymill --help` lists them.")
        Output.failure(failure)
        exit(withError: ArgumentParser.ExitCode(failure.code.rawValue))
    }
}
