// The idempotency keys of tools, by their form: a client can name none of them.

import TallyCore
import Testing

@Suite struct ToolClaimTests {
    static let digits = "00112233445566778899aabbccddeeff"

    @Test(arguments: ["import:\(digits)", "import:\(digits):2", "import:\(digits):"])
    func imports(key: String) {
        #expect(ToolClaim(Array(key.utf8)) == Bytes16(Self.digits).map { .imported($0) })
    }

    @Test(arguments: ["dead-letter:\(digits):e1.p0:7", "dead-letter:\(digits)"])
    func deadLetters(key: String) {
        #expect(ToolClaim(Array(key.utf8)) == .deadLetter)
    }

    @Test(
        arguments: [
            "", "import", "import:", "import:\(digits.dropLast())", "import:\(digits)0", "import:\(digits.dropLast())g",
            "imports:\(digits)", " import:\(digits)", "dead-letter:1", "order-1", "dead-letter",
        ])
    func clientsMayUseAnythingElse(key: String) {
        #expect(ToolClaim(Array(key.utf8)) == nil)
    }
}
