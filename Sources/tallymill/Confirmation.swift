// A question before something that cannot be taken back: asked on a terminal; elsewhere the answer is a flag.

import Glibc
import ServiceKit

enum Confirmation {
    /// Whether to go on.
    ///
    /// - Parameters:
    ///   - question: without a question mark, such as "Change to 7 partitions".
    ///   - isGiven: whether `--yes` was.
    /// - Throws: 64 if nobody can be asked.
    static func ask(_ question: String, isGiven: Bool) throws(Failure) -> Bool {
        if isGiven { return true }
        guard isatty(STDIN_FILENO) == 1, Terminal.standardError.isTerminal else {
            throw Failure(.usage, "nobody can be asked: \(question)?", advice: "--yes answers with yes.")
        }
        Output.prompt("\(question)? [y/N] ")
        let answer = readLine()?.lowercased() ?? ""
        return answer == "y" || answer == "yes"
    }
}
