// Before something that cannot be taken back: a question on a terminal, a flag everywhere else.

import Glibc
import ServiceKit

enum Confirmation {
    /// Whether to go on.
    ///
    /// - Parameter isGiven: `--yes` was.
    /// - Throws: 64 if there is nobody to ask.
    static func ask(_ question: String, isGiven: Bool) throws(Failure) -> Bool {
        if isGiven { return true }
        guard isatty(STDIN_FILENO) == 1, Terminal.standardError.isTerminal else {
            throw Failure(
                .usage, "this needs a confirmation, and there is no terminal to ask on", at: "--yes",
                advice: "Nothing was done. Look at what would be done, then run it again with --yes.")
        }
        Output.write(Array("\(question) [y/N] ".utf8), to: STDERR_FILENO)
        let answer = readLine()?.lowercased() ?? ""
        return answer == "y" || answer == "yes"
    }
}
