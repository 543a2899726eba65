public import ArgumentParser
import Glibc
import ServiceKit
public import Tokens

/// `tallymill token`: the tokens that clients of web nodes bring.
struct TokenCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "token", abstract: "Makes the tokens that a web node demands, and checks a file of them.",
        discussion: """
            EXAMPLES
              tallymill token new shop --scopes write --rate 1000 --append tokens
              tallymill token new operator --scopes write,admin
              tallymill token digest shop --scopes write < secret.txt
              tallymill token check /etc/tallymill/tokens

            A client sends its token as `Authorization: Bearer TOKEN`. The scope write opens /increment and \
            /increments; admin opens /ledger, and /status and /metrics of an admin listener that other machines \
            reach. A web node reads the file of --tokens-file, and again after SIGHUP; the file holds digests only, \
            so a token that is lost cannot be had again: make another.
            """,
        subcommands: [New.self, Digest.self, Check.self])
}

/// What a line says beside the digest.
struct TokenOptions: ParsableArguments {
    @Argument(help: "whose token it is: 1 to 64 letters, digits, '.', '_' or '-'") var name: String
    @Option(help: ArgumentHelp("write, admin, or write,admin", valueName: "scopes")) var scopes: Scopes
    @Option(help: ArgumentHelp("most requests a second to one web node (default: unlimited)", valueName: "n"))
    var rate: Int?
    @Option(help: ArgumentHelp("the file of tokens that gets the line (default: it is printed)", valueName: "file"))
    var append: String?

    func validate() throws {
        guard Token.isName(name) else {
            throw ValidationError("NAME takes 1 to \(Token.nameBytesMax) letters, digits, '.', '_' or '-'")
        }
        let range = Token.rateRange
        if let rate, !range.contains(rate) {
            throw ValidationError("--rate takes a whole number from \(range.lowerBound) to \(range.upperBound)")
        }
    }

    /// Adds the token's line to the file; without one, returns it.
    func keep(_ secret: TokenSecret) throws(Failure) -> String? {
        let token = Token(name: name, scopes: scopes, rate: rate, digest: secret.digest)
        guard let append else { return TokenFile.line(token) }
        try TokenFile.append(token, to: append)
        Output.error("\(append) has a line for \(name); web nodes that run read it after SIGHUP")
        return nil
    }
}

extension TokenCommand {
    /// `tallymill token new`.
    struct New: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Prints a new token, this once, and below it the line for the file of tokens.")

        @OptionGroup var options: TokenOptions

        func run() throws {
            try run { () throws(Failure) in
                let secret = TokenSecret.random()
                // The line first: a token that no file knows is not shown.
                let line = try options.keep(secret)
                Output.line(secret.text)
                if let line { Output.line(line) }
                return .ok
            }
        }
    }

    /// `tallymill token digest`.
    struct Digest: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Reads a token of your own from the first line of stdin, and prints its line.",
            discussion: "Take one that nobody can guess: its digest is a plain SHA-256. `token new` makes such.")

        @OptionGroup var options: TokenOptions

        func run() throws {
            try run { () throws(Failure) in
                let input = FileInput(standardInputAs: "stdin")
                let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: TokenSecret.bytesMax + 1, alignment: 1)
                defer {
                    if let start = buffer.baseAddress { explicit_bzero(start, buffer.count) }
                    buffer.deallocate()
                }
                let count = try input.read(into: buffer)
                let secret = try TokenSecret(firstLineOf: Array(buffer[..<count]), at: input.path)
                if let line = try options.keep(secret) { Output.line(line) }
                return .ok
            }
        }
    }

    /// `tallymill token check`.
    struct Check: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Reads a file of tokens as a web node would, and lists them.",
            discussion: "EXIT CODES\n  0 it can be used, 78 it cannot")

        @Argument(help: "the file of tokens") var file: String

        func run() throws {
            try run { () throws(Failure) in
                let summary = try Access(path: file).summary
                var table = TextTable([.left("name"), .left("scopes"), .right("requests a second")])
                for token in try TokenFile.read(file).tokens {
                    table.add([token.name, "\(token.scopes)", token.rate.map { "\($0)" } ?? "unlimited"])
                }
                Output.write(Array(table.text.utf8), to: STDOUT_FILENO)
                for warning in summary.warnings { Output.error("tallymill: \(file): \(warning)") }
                return .ok
            }
        }
    }
}

extension Scopes: ExpressibleByArgument {
    public init?(argument: String) {
        self.init(argument)
    }
}
