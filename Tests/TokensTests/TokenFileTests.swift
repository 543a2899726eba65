// What a file of tokens may say, and every message about one that may not, word for word.

import Glibc
import ServiceKit
import Testing

@testable import Tokens

@Suite struct TokenFileTests {
    private static let hex = String(repeating: "0a", count: 32)

    private func parse(_ text: String) throws(Failure) -> [Token] {
        try TokenFile(path: "t", content: Array(text.utf8)).tokens
    }

    @Test func everyFormOfALine() throws {
        let tokens = try parse(
            """
            # comment = anything

            a write unlimited sha256:\(Self.hex)
            B.b_b-9 \t admin  1/s\tsha256:\(String(repeating: "AF", count: 32))
              both admin,write 1000000/s sha256:\(String(repeating: "1", count: 64))
            """)
        #expect(tokens.map(\.name) == ["a", "B.b_b-9", "both"])
        #expect(tokens.map(\.scopes) == [.write, .admin, [.write, .admin]])
        #expect(tokens.map(\.rate) == [nil, 1, 1_000_000])
        #expect(tokens[1].digest.hex == String(repeating: "af", count: 32))
        #expect(TokenFile.line(tokens[2]).hasPrefix("both write,admin 1000000/s sha256:1111"))
        #expect(try parse("").isEmpty && parse("\n#\n").isEmpty)
        #expect(try parse("\(String(repeating: "n", count: 64)) write unlimited sha256:\(Self.hex)").count == 1)
    }

    @Test func whatIsWrittenIsReadAgain() throws {
        for (index, rate) in [nil, 1, 999, 1_000_000].enumerated() {
            let token = Token(name: "n\(index)", scopes: [.write, .admin], rate: rate, digest: digest("x"))
            let read = try #require(try parse(TokenFile.line(token)).first)
            #expect(read.name == token.name && read.scopes == token.scopes && read.rate == rate)
            #expect(read.digest.isSame(as: token.digest))
        }
    }

    static let wrong: [(String, String)] = [
        ("a write unlimited", "3 words in a line of four"),
        ("a", "1 word in a line of four"),
        ("a write unlimited sha256:\(hex) # why", "6 words in a line of four"),
        ("a:b write unlimited sha256:\(hex)", "the name is not 1 to 64 letters, digits, '.', '_' or '-'"),
        (
            "\(String(repeating: "n", count: 65)) write unlimited sha256:\(hex)",
            "the name is not 1 to 64 letters, digits, '.', '_' or '-'"
        ),
        ("a read unlimited sha256:\(hex)", "the scopes of a are not write, admin, or write,admin"),
        ("a write,write unlimited sha256:\(hex)", "the scopes of a are not write, admin, or write,admin"),
        ("a write, unlimited sha256:\(hex)", "the scopes of a are not write, admin, or write,admin"),
        ("a write 0/s sha256:\(hex)", "the rate of a is not unlimited, or from 1/s to 1000000/s"),
        ("a write 1000001/s sha256:\(hex)", "the rate of a is not unlimited, or from 1/s to 1000000/s"),
        ("a write 5 sha256:\(hex)", "the rate of a is not unlimited, or from 1/s to 1000000/s"),
        ("a write +5/s sha256:\(hex)", "the rate of a is not unlimited, or from 1/s to 1000000/s"),
        ("a write unlimited \(hex)", "the digest of a is not sha256: and 64 hexadecimal digits"),
        ("a write unlimited sha256:\(hex)0", "the digest of a is not sha256: and 64 hexadecimal digits"),
        ("a write unlimited sha256:\(hex.dropLast())g", "the digest of a is not sha256: and 64 hexadecimal digits"),
    ]

    @Test(arguments: wrong)
    func aWrongLine(text: String, sentence: String) {
        let found = failure { () throws(Failure) in _ = try parse("# one\n\(text)\n") }
        #expect(found?.code == .configuration)
        #expect(
            found?.report == """
                tallymill: t:2: \(sentence)
                  A line is NAME SCOPES RATE sha256:DIGEST, as `tallymill token new` prints it, a comment that begins \
                with '#', or empty.
                """)
    }

    @Test func aTokenInPlaceOfItsDigestIsNotRepeated() {
        let found = failure { () throws(Failure) in _ = try parse("a write unlimited tm_secret") }
        #expect(
            found?.report == """
                tallymill: t:1: the token of a itself stands here, where its digest belongs
                  Who has read the file may use it: make another with `tallymill token new`.
                """)
        for text in ["tm_secret write unlimited", "a tm_secret unlimited sha256:\(Self.hex)", "a write tm_secret x"] {
            let report = failure { () throws(Failure) in _ = try parse(text) }?.report ?? ""
            #expect(!report.contains("tm_secret"), "\(report)")
        }
    }

    @Test func allProblemsAtOnce() {
        let text = line("a", "1") + line("a", "2") + line("b", "1") + "a write unlimited\r\n"
        #expect(
            failure { () throws(Failure) in _ = try parse(text) }?.report == """
                tallymill: t:2: the name a is already in line 1
                  Keep one of the two lines, or give this one another name.
                t:3: the token of b is already in line 1
                  Make one for each user with `tallymill token new`.
                t:4: the line ends with a carriage return
                  Save the file with Unix line ends.
                """)
        let many = failure { () throws(Failure) in _ = try parse(String(repeating: "x\n", count: 25)) }
        #expect(many?.report.hasSuffix("\n5 more lines are wrong") == true)
    }

    @Test func theBounds() throws {
        let lines = (0..<TokenFile.tokensMax).map { line("n\($0)", "t\($0)") }.joined()
        #expect(try parse(lines).count == TokenFile.tokensMax)
        #expect(
            failure { () throws(Failure) in _ = try parse(lines + line("n", "t")) }?.report == """
                tallymill: t: 4097 tokens, 4096 are permitted
                  Remove those that nobody uses any more.
                """)
        let long = [UInt8](repeating: UInt8(ascii: "\n"), count: TokenFile.bytesMax)
        #expect(try TokenFile(path: "t", content: long).tokens.isEmpty)
        let tooLong = failure { () throws(Failure) in _ = try TokenFile(path: "t", content: long + [10]) }
        #expect(tooLong?.sentence == "t: longer than 1.0 MiB")
        let other = failure { () throws(Failure) in _ = try TokenFile(path: "t", content: [0xFF]) }
        #expect(other?.sentence == "t: not valid UTF-8")
    }

    @Test func aMissingFileSaysHowToMakeOne() {
        #expect(
            failure { () throws(Failure) in _ = try TokenFile.read("/nowhere/tokens") }?.report == """
                tallymill: /nowhere/tokens: there is no such file of tokens
                  Correct --tokens-file or TALLYMILL_TOKENS_FILE, or make one: \
                tallymill token new NAME --scopes write --append FILE
                """)
        #expect(
            failure { () throws(Failure) in _ = try TokenFile.read("/") }?.sentence
                == "/: the file of tokens: cannot read: Is a directory")
    }

    // MARK: Appending

    private func token(_ name: String, _ text: String) -> Token {
        Token(name: name, scopes: .write, rate: 5, digest: digest(text))
    }

    @Test func appendingMakesAndExtends() throws {
        try withFolder { folder in
            let path = "\(folder)/tokens"
            try TokenFile.append(token("a", "1"), to: path)
            var status = stat()
            #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o640)
            // A last line without its end gets one; permissions stay.
            try write("# mine\n\(line("b", "2").dropLast())", to: path, mode: 0o600)
            try TokenFile.append(token("c", "3"), to: path)
            #expect(try content(path) == "# mine\n" + line("b", "2") + line("c", "3", rate: "5/s"))
            #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o600)
        }
    }

    @Test func appendingRefusesAndChangesNothing() throws {
        try withFolder { folder in
            let path = "\(folder)/tokens"
            try TokenFile.append(token("a", "1"), to: path)
            let before = try content(path)
            let twice = failure { () throws(Failure) in try TokenFile.append(token("a", "2"), to: path) }
            #expect(twice?.what.contains("\(path):2: the name a is already in line 1") == true)
            let same = failure { () throws(Failure) in try TokenFile.append(token("b", "1"), to: path) }
            #expect(same?.what.contains("\(path):2: the token of b is already in line 1") == true)
            #expect(try content(path) == before)
            try write("wrong", to: path)
            let wrong = failure { () throws(Failure) in try TokenFile.append(token("c", "3"), to: path) }
            #expect(wrong?.what.contains("\(path):1: 1 word in a line of four") == true)
        }
    }

    @Test func appendingIsForOneAtATime() throws {
        try withFolder { folder in
            let path = "\(folder)/tokens"
            guard case .acquired(let lock) = try FileLock.attempt("\(path).lock") else {
                Issue.record("the lock is not free")
                return
            }
            withExtendedLifetime(lock) {
                let held = failure { () throws(Failure) in try TokenFile.append(token("c", "3"), to: path) }
                #expect(
                    held
                        == Failure(
                            .locked, "another process is changing this file", at: path, advice: "Run this again."))
            }
        }
    }
}
