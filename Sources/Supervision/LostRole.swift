// A role that cannot be kept alive. The lines that it printed last say why, and its own exit code becomes the exit code
// of the whole. They are told once: where its lines have gone to stderr, they stand there already.

public import ServiceKit

/// Why the cluster has to stop.
public struct LostRole: Hashable, Sendable {
    public let code: ExitCode
    /// "consumer 2 ended with code 65".
    public let sentence: String
    public let lastWords: [String]
    /// Whether they are on stderr already.
    public let isTold: Bool

    /// As it is told.
    public var failure: Failure {
        guard !lastWords.isEmpty else { return Failure(code, "\(sentence), without a word") }
        if isTold { return Failure(code, "\(sentence); it has said why, above") }
        return Failure(code, "\(sentence); its last words:" + lastWords.map { "\n  | \($0)" }.joined())
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
