// A role that cannot be kept alive, with the lines that it printed last: they say why, and its own exit code becomes
// the exit code of the whole.

public import ServiceKit

/// Why the cluster has to stop.
public struct LostRole: Hashable, Sendable {
    public let code: ExitCode
    /// "consumer 2 ended with code 65".
    public let sentence: String
    public let lastWords: [String]

    /// For stderr.
    public var report: String {
        guard !lastWords.isEmpty else { return "tallymill: \(sentence), without a word" }
        return "tallymill: \(sentence); its last words:" + lastWords.map { "\n  | \($0)" }.joined()
    }
}

/// The last lines of a process.
struct LastWords {
    static let linesMax = 20
    private(set) var lines: [String] = []

    mutating func append(_ line: String) {
        if lines.count == Self.linesMax { lines.removeFirst() }
        lines.append(line)
    }
}
