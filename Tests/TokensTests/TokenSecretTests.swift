// Tokens as their owners have them: how they are made, which bytes they may have, and their digests.

import ServiceKit
import Testing

@testable import Tokens

@Suite struct TokenSecretTests {
    @Test func newOnesDifferAndMayBeSent() throws {
        var seen: Set<String> = []
        for _ in 0..<1_000 {
            let secret = TokenSecret.random()
            #expect(secret.text.hasPrefix("tm_") && secret.text.utf8.count == 3 + 43)
            #expect(TokenSecret(secret.text)?.text == secret.text)
            seen.insert(secret.text)
        }
        #expect(seen.count == 1_000)
        // All of the alphabet turns up, so no bits are lost.
        #expect(Set(seen.flatMap { $0.dropFirst(3) }).count == 64)
    }

    @Test func digestsAreSHA256() {
        // FIPS 180-2, appendix B.1.
        #expect(digest("abc").hex == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        #expect(digest("").hex == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        #expect(digest("abc").isSame(as: digest("abc")) && !digest("abc").isSame(as: digest("abd")))
        let hex = digest("abc").hex
        #expect(TokenDigest(hex: hex[...])?.isSame(as: digest("abc")) == true)
        // One bit anywhere is a difference.
        for place in 0..<64 {
            var digits = Array(hex)
            digits[place] = digits[place] == "0" ? "1" : "0"
            #expect(TokenDigest(hex: String(digits)[...])?.isSame(as: digest("abc")) == false)
        }
    }

    @Test(arguments: ["a", "A-Z.a_z~0+9/", "abc=", "abc==", String(repeating: "x", count: 256)])
    func maySend(text: String) { #expect(TokenSecret(text)?.text == text) }

    @Test(arguments: ["", "=", "a b", "a=b", "a,b", "ä", "a\n", "a\u{0}", "a:b", String(repeating: "x", count: 257)])
    func mayNotSend(text: String) { #expect(TokenSecret(text) == nil) }

    @Test func aFileHasItInItsFirstLine() throws {
        try withFolder { folder in
            let path = "\(folder)/token"
            try write("tm_one\nsomething else\n", to: path)
            #expect(try TokenSecret(file: path).text == "tm_one")
            for wrong in ["", "\ntm_one", " tm_one\n", "tm_one\r\n", "tm one"] {
                try write(wrong, to: path)
                #expect(
                    failure { () throws(Failure) in _ = try TokenSecret(file: path) }?.report == """
                        tallymill: \(path): the first line is no token: 1 to 256 letters, digits and -._~+/, \
                        then any number of =
                          `tallymill token new` prints one.
                        """)
            }
        }
        #expect(
            failure { () throws(Failure) in _ = try TokenSecret(file: "/nowhere") }?.report == """
                tallymill: /nowhere: there is no such file of a token
                  Correct --token-file or TALLYMILL_TOKEN_FILE.
                """)
    }

    @Test func isNotPrintedByAccident() {
        let secret = TokenSecret.random()
        var dumped = ""
        dump(secret, to: &dumped)
        for text in ["\(secret)", String(reflecting: secret), dumped, "\([secret])"] {
            #expect(!text.contains(secret.text))
        }
    }
}
