// The oracle itself: it must see a loss, a duplicate, a refused increment that counted and a stray key, also where
// the sums agree by chance.

import ClusterSupport
import Testing

extension ClusterTests {
    @Suite struct OracleTests {
        private func posting(_ digit: Int, bulk: Int64) -> Posting {
            var posting = Posting()
            posting.digit = digit
            posting.tracerKeys = ["t"]
            posting.bulk = [Posting.Increment("b", bulk)]
            return posting
        }

        /// Digits 0, 1, 2, 3: acknowledged, refused, unknown, acknowledged.
        private func ledger() -> Ledger {
            var ledger = Ledger()
            ledger.record(posting(0, bulk: 5), .acknowledged)
            ledger.record(posting(1, bulk: 7), .refused)
            ledger.record(posting(2, bulk: 9), .unknown)
            ledger.record(posting(3, bulk: 1), .acknowledged)
            return ledger
        }

        struct Case: Sendable {
            let key: String
            let value: Int64
            let message: String
            let mayHeal: Bool

            init(_ key: String, _ value: Int64, _ message: String = "", mayHeal: Bool = false) {
                self.key = key
                self.value = value
                self.message = message
                self.mayHeal = mayHeal
            }
        }

        static let agreeing = [Case("t", 65), Case("t", 81), Case("b", 6), Case("b", 15)]

        static let differing = [
            Case("t", 1, "digit 3: acknowledged, but applied 0 times", mayHeal: true),
            Case("t", 69, "digit 1: refused, but applied 1 times"),
            Case("t", 97, "digit 2: unknown, but applied 2 times"),
            Case("t", 66, "digit 0: acknowledged, but applied 2 times"),
            Case("t", 65 | 1 << 60, "digit 30: never sent, but applied 1 times"),
            Case("b", 5, "b: 5, but 6 acknowledged and 9 unknown", mayHeal: true),
            Case("b", 16, "b: 16, but 6 acknowledged and 9 unknown"),
            Case("x", 0, "x: 0, but nothing on this key"),
        ]

        private func found(_ one: Case) -> [Discrepancy] {
            var counters: [String: Int64] = ["t": 65, "b": 6]
            counters[one.key] = one.value
            return ledger().discrepancies(in: counters)
        }

        @Test(arguments: agreeing)
        func agrees(one: Case) {
            #expect(found(one).isEmpty)
        }

        @Test(arguments: differing)
        func differs(one: Case) throws {
            let found = found(one)
            #expect(found.count == 1)
            let first = try #require(found.first)
            #expect(first.description.contains(one.message))
            #expect(first.mayHeal == one.mayHeal)
        }

        @Test func aLossAndADuplicateDoNotCancel() {
            var ledger = Ledger()
            for digit in 0..<2 {
                var posting = posting(digit, bulk: 1)
                posting.tracerKeys = ["t"]
                ledger.record(posting, .acknowledged)
            }
            // 1 + 4 was asked: one lost and the other twice is two differences, not none.
            #expect(ledger.discrepancies(in: ["t": 5, "b": 2]).isEmpty)
            #expect(ledger.discrepancies(in: ["t": 2, "b": 2]).count == 2)
            #expect(ledger.discrepancies(in: ["t": 8, "b": 2]).count == 2)
        }

        @Test func readmeBlocks() throws {
            let page = """
                text
                <!-- run -->
                ```sh
                tallymill report
                ```
                <!-- output -->
                ```text
                key     value
                apples  …
                ```
                ```sh
                not marked
                ```
                """
            let blocks = try ReadmeBlock.blocks(of: page)
            let expected = ReadmeBlock(line: 4, script: "tallymill report", output: "key     value\napples  …")
            #expect(blocks == [expected])
            #expect(expected.onlyReads)
            #expect(ReadmeBlock.matches("key value \napples    17\n", pattern: expected.output ?? ""))
            #expect(!ReadmeBlock.matches("key value\npears 17\n", pattern: expected.output ?? ""))
            #expect(ReadmeBlock.matches("a 1 b 2 c", pattern: "a…b…c"))
            #expect(!ReadmeBlock.matches("a 1 b 2 c d", pattern: "a…b…c"))
            #expect(ReadmeBlock.matches("same", pattern: "same"))
            #expect(!ReadmeBlock.matches("same but longer", pattern: "same"))
        }
    }
}
