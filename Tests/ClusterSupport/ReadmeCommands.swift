// The commands that a page of Markdown shows, and the output that it claims for them.
//
// A fenced block of ```sh that follows the line `<!-- run -->` is run; a block of ```text that follows the line
// `<!-- output -->` is what the block before it prints. `…` in it stands for anything, blanks count once, and lines
// that are not shown do not exist: the whole output is compared.

/// One block of commands.
public struct ReadmeBlock: Hashable, Sendable {
    /// The line of the page on which the commands begin, from 1.
    public let line: Int
    public let script: String
    public var output: String?

    public init(line: Int, script: String, output: String?) {
        self.line = line
        self.script = script
        self.output = output
    }

    /// The marked blocks of a page, in order.
    public static func blocks(of page: String) throws(HarnessError) -> [ReadmeBlock] {
        var blocks: [ReadmeBlock] = []
        let lines = page.split(separator: "\n", omittingEmptySubsequences: false)
        for (index, line) in lines.enumerated() {
            let marker = line.drop { $0 == " " }
            guard marker == "<!-- run -->" || marker == "<!-- output -->" else { continue }
            let isRun = marker == "<!-- run -->"
            let fence = isRun ? "```sh" : "```text"
            guard index + 1 < lines.count, lines[index + 1].drop(while: { $0 == " " }) == fence else {
                throw HarnessError("line \(index + 1): \(marker) must be followed by \(fence)")
            }
            let content = lines[(index + 2)...].prefix { $0.drop { $0 == " " } != "```" }.joined(separator: "\n")
            if isRun {
                blocks.append(ReadmeBlock(line: index + 3, script: content, output: nil))
            } else {
                guard !blocks.isEmpty else { throw HarnessError("line \(index + 1): no command before this output") }
                blocks[blocks.count - 1].output = content
            }
        }
        return blocks
    }

    /// Whether every command only reads, so that it may be run until its output is what is claimed.
    public var onlyReads: Bool {
        script.split(separator: "\n").filter { !$0.hasPrefix("#") && !$0.hasPrefix(" ") }.allSatisfy { line in
            ["tallymill report", "tallymill merge", "tallymill status"].contains { line.hasPrefix($0) }
        }
    }

    /// Whether `text` is what the page claims.
    public static func matches(_ text: String, pattern: String) -> Bool {
        let pieces = squeeze(pattern).split(separator: "…", omittingEmptySubsequences: false)
        var rest = squeeze(text)[...]
        for (index, piece) in pieces.enumerated() {
            if index == 0 {
                guard rest.hasPrefix(piece) else { return false }
                rest = rest.dropFirst(piece.count)
            } else if index == pieces.count - 1 {
                return rest.hasSuffix(piece)
            } else {
                guard let found = rest.firstRange(of: piece) else { return false }
                rest = rest[found.upperBound...]
            }
        }
        return rest.isEmpty
    }

    /// Lines without the blanks at both ends, runs of blanks as one, no empty lines.
    private static func squeeze(_ text: String) -> String {
        text.split(separator: "\n").map { $0.split(whereSeparator: \.isWhitespace).joined(separator: " ") }
            .filter { !$0.isEmpty }.joined(separator: "\n")
    }
}
