// A file of tokens, read strictly: a line that is not understood is an error with its number, never skipped.
//
//     file   = *( line LF ) [ line ]          UTF-8, at most 1 MiB, at most 4,096 tokens
//     line   = "" / "#" anything / NAME SP SCOPES SP RATE SP DIGEST       words are separated by spaces or tabs
//     NAME   = 1 to 64 letters, digits, '.', '_' and '-', once in the file
//     SCOPES = `write`, `admin` or `write,admin`
//     RATE   = requests a second from `1/s` to `1000000/s`, or `unlimited`
//     DIGEST = `sha256:` and the SHA-256 of the token, 64 hexadecimal digits, once in the file
//
// No message repeats a word of the file but a valid name: somebody may have put a token in the wrong place.

public import ServiceKit

/// The lines of a file of tokens.
public struct TokenFile: Sendable {
    /// The longest file that is read, in bytes.
    public static let bytesMax = 1 << 20
    public static let tokensMax = 4_096
    /// Problems that one message lists.
    static let problemsShownMax = 20

    /// In the order of the file.
    public let tokens: [Token]

    /// Parses the content of a file; `path` is part of every message.
    ///
    /// - Throws: 78, with everything that is wrong.
    public init(path: String, content: [UInt8]) throws(Failure) {
        guard content.count <= Self.bytesMax else {
            throw Failure(.configuration, "longer than \(Humanized.bytes(Self.bytesMax))", at: path, advice: Self.form)
        }
        guard let text = String(validating: content, as: UTF8.self) else {
            throw Failure(.configuration, "not valid UTF-8", at: path, advice: Self.form)
        }
        var reader = Reader(path: path)
        let rows = text.unicodeScalars.split(separator: "\n", omittingEmptySubsequences: false)
        for (index, row) in rows.enumerated() where !row.isEmpty && row.first != "#" {
            reader.read(Substring(row), number: index + 1)
        }
        if reader.tokens.count > Self.tokensMax {
            reader.problems.append(
                Failure(
                    .configuration, "\(reader.tokens.count) tokens, \(Self.tokensMax) are permitted", at: path,
                    advice: "Remove those that nobody uses any more."))
        }
        if !reader.problems.isEmpty { throw Failure(together: reader.problems) }
        tokens = reader.tokens
    }

    /// Reads and parses a file.
    ///
    /// - Throws: 78 if it cannot be read or something in it is wrong.
    public static func read(_ path: String) throws(Failure) -> TokenFile {
        let content: [UInt8]?
        do throws(Failure) {
            content = try FileContent.readIfPresent(path, maximumBytes: bytesMax)
        } catch {
            throw Failure(.configuration, "the file of tokens: \(error.what)", at: path, advice: error.advice)
        }
        guard let content else {
            throw Failure(
                .configuration, "there is no such file of tokens", at: path,
                advice: "Correct \(Setting.tokensFile.flag) or \(Setting.tokensFile.variable), "
                    + "or make one: tallymill token new NAME --scopes write --append FILE")
        }
        return try TokenFile(path: path, content: content)
    }

    static let form =
        "A line is NAME SCOPES RATE sha256:DIGEST, as `tallymill token new` prints it, a comment that begins with '#', "
        + "or empty."

    /// A token as a line, without its end.
    public static func line(_ token: Token) -> String {
        let rate = token.rate.map { "\($0)/s" } ?? "unlimited"
        return "\(token.name) \(token.scopes) \(rate) \(Reader.digestMark)\(token.digest.hex)"
    }
}

extension TokenFile {
    /// Reads line after line and gathers what is wrong.
    private struct Reader {
        static let digestMark = "sha256:"
        let path: String
        var tokens: [Token] = []
        var problems: [Failure] = []
        private var lineOfName: [String: Int] = [:]
        private var lineOfDigest: [String: Int] = [:]

        init(path: String) {
            self.path = path
        }

        mutating func read(_ row: Substring, number: Int) {
            do throws(Failure) {
                let token = try parse(row, at: "\(path):\(number)")
                try note(token, number)
                tokens.append(token)
            } catch {
                problems.append(error)
            }
        }

        private func parse(_ row: Substring, at place: String) throws(Failure) -> Token {
            func wrong(_ what: String, _ advice: String = TokenFile.form) -> Failure {
                Failure(.configuration, what, at: place, advice: advice)
            }
            if row.utf8.last == UInt8(ascii: "\r") {
                throw wrong("the line ends with a carriage return", "Save the file with Unix line ends.")
            }
            let words = row.split { $0 == " " || $0 == "\t" }
            guard words.count == 4 else {
                throw wrong("\(words.count) word\(words.count == 1 ? "" : "s") in a line of four")
            }
            guard Token.isName(words[0]) else {
                throw wrong("the name is not 1 to \(Token.nameBytesMax) letters, digits, '.', '_' or '-'")
            }
            guard let scopes = Scopes(words[1]) else {
                throw wrong("the scopes of \(words[0]) are not write, admin, or write,admin")
            }
            guard let rate = Self.rate(words[2]) else {
                throw wrong(
                    "the rate of \(words[0]) is not unlimited, or from \(Token.rateRange.lowerBound)/s to "
                        + "\(Token.rateRange.upperBound)/s")
            }
            if words[3].hasPrefix(TokenSecret.mark) {
                throw wrong(
                    "the token of \(words[0]) itself stands here, where its digest belongs",
                    "Who has read the file may use it: make another with `tallymill token new`.")
            }
            guard words[3].hasPrefix(Self.digestMark),
                let digest = TokenDigest(hex: words[3].dropFirst(Self.digestMark.count))
            else { throw wrong("the digest of \(words[0]) is not sha256: and 64 hexadecimal digits") }
            return Token(name: String(words[0]), scopes: scopes, rate: rate, digest: digest)
        }

        /// nil for no rate, nil inside for an unlimited one.
        private static func rate(_ word: Substring) -> Int?? {
            if word == "unlimited" { return .some(nil) }
            guard word.hasSuffix("/s"), case .integer(let rate)? = rateKind.parse(String(word.dropLast(2))) else {
                return nil
            }
            return rate
        }

        private static let rateKind = SettingKind.integer(Token.rateRange)

        private mutating func note(_ token: Token, _ number: Int) throws(Failure) {
            let place = "\(path):\(number)"
            if let earlier = lineOfName[token.name] {
                throw Failure(
                    .configuration, "the name \(token.name) is already in line \(earlier)", at: place,
                    advice: "Keep one of the two lines, or give this one another name.")
            }
            if let earlier = lineOfDigest[token.digest.hex] {
                throw Failure(
                    .configuration, "the token of \(token.name) is already in line \(earlier)", at: place,
                    advice: "Make one for each user with `tallymill token new`.")
            }
            lineOfName[token.name] = number
            lineOfDigest[token.digest.hex] = number
        }
    }
}

extension Failure {
    /// Several problems as one, each on a line with its advice below.
    fileprivate init(together problems: [Failure]) {
        var lines = problems.prefix(TokenFile.problemsShownMax).map { problem in
            problem.advice.map { "\(problem.sentence)\n  \($0)" } ?? problem.sentence
        }
        let more = problems.count - lines.count
        if more > 0 { lines.append("\(more) more lines are wrong") }
        self.init(.configuration, lines.joined(separator: "\n"))
    }
}
