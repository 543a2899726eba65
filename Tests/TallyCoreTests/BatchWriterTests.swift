// A writer cuts a stream into batches of bounded size: nothing is split or lost at a cut, sequences stay dense, and
// every header carries the ledger up to and including its own batch.

import Testing

@testable import TallyCore

@Suite struct BatchWriterTests {
    typealias Fixture = CoreFixture

    @Test func nothingWrittenIsNoBatch() {
        #expect(Fixture.batches([]).isEmpty)
    }

    /// An entry is taken if its largest possible form fits, so the bound holds whatever the numbers are.
    @Test func cutsAtTheLimit() {
        let first = Fixture.entry("aaaa", 1)
        let second = Fixture.entry("bbbb", 1)
        let firstBytes = 1 + 4 + 1 + 1
        let fits = 120 + firstBytes + (22 + 4) + 8
        #expect(Fixture.batches([first, second], limitBytes: fits - 1).count == 2)
        #expect(Fixture.batches([first, second], limitBytes: fits).count == 1)
        #expect(Fixture.batches([first, second], limitBytes: fits + 1).count == 1)
        // The largest numbers that there are still stay within the limit.
        let largest = Fixture.batches(
            [first, Fixture.entry("bbbb", .min, .max)], limitBytes: fits)
        #expect(largest.count == 1 && largest[0].bytes.count <= fits)
    }

    @Test func anEntryLargerThanTheLimitGoesAlone() throws {
        let key = String(repeating: "k", count: 512)
        let batches = Fixture.batches(
            [Fixture.entry("a", 1), Fixture.entry(key, 2), Fixture.entry("b", 3)], limitBytes: 200)
        #expect(try batches.map { try Fixture.entries(of: $0.bytes).map(\.sum) } == [[1], [2], [3]])
    }

    @Test func sequencesAndLedgerRunOverCuts() throws {
        let entries = (1...100).map {
            Fixture.entry("key\($0)", Int64($0) * ($0.isMultiple(of: 2) ? -7 : 5), UInt64($0))
        }
        let start = Amount(increments: 1_000, sum: -5)
        let batches = Fixture.batches(entries, id: Fixture.batchID(41), after: start, limitBytes: 256)
        #expect(batches.count > 5)
        var ledger = start
        var read: [Fixture.Entry] = []
        for (index, batch) in batches.enumerated() {
            let header = try Fixture.header(of: batch.bytes)
            #expect(batch.id == Fixture.batchID(41 + UInt64(index)) && header.id == batch.id)
            #expect(batch.bytes.count <= 256)
            let part = try Fixture.entries(of: batch.bytes)
            for entry in part { ledger += Amount(increments: entry.increments, sum: Int128(entry.sum)) }
            #expect(header.cumulative == ledger)
            #expect(header.entries == UInt32(part.count) && header.groups == 0)
            read += part
        }
        #expect(read == entries)
    }

    @Test func aGroupReopensBehindACut() throws {
        let entries =
            (0..<10).map { Fixture.entry("p\($0)", 1) } + (0..<90).map { Fixture.entry("a\($0)", 2, group: "first") }
            + (0..<90).map { Fixture.entry("b\($0)", 3, group: "second") }
        let batches = Fixture.batches(entries, limitBytes: 300)
        #expect(batches.count > 5)
        #expect(try batches.flatMap { try Fixture.entries(of: $0.bytes) } == entries)
        for batch in batches { #expect(batch.bytes.count <= 300) }
    }

    @Test func groupsAreCutAtTheLimit() {
        // 133 bytes are set aside for a group's own header, whatever its length is.
        let entries = [Fixture.entry("p", 1), Fixture.entry("q", 2, group: "i")]
        let fits = 120 + 4 + 133
        #expect(Fixture.batches(entries, limitBytes: fits).count == 1)
        #expect(Fixture.batches(entries, limitBytes: fits - 1).count == 2)
    }

    @Test func everyPartCarriesTheOrigin() throws {
        let origin = Fixture.batchID(7, producer: 3, epoch: 2, partition: 4)
        let batches = Fixture.batches(
            (0..<50).map { Fixture.entry("k\($0)", 1) }, origin: origin, limitBytes: 200)
        for batch in batches { #expect(try Fixture.header(of: batch.bytes).origin == origin) }
    }

    @Test func theLastSequenceIsUsable() throws {
        let batches = Fixture.batches([Fixture.entry("a", 1)], id: Fixture.batchID(Limits.sequenceMax))
        #expect(try Fixture.header(of: batches[0].bytes).id.sequence == Limits.sequenceMax)
    }

    @Test func theLedgerWrapsAt128Bits() throws {
        let batches = Fixture.batches([Fixture.entry("a", 1, 2)], after: Amount(increments: .max, sum: .max))
        #expect(try Fixture.header(of: batches[0].bytes).cumulative == Amount(increments: 1, sum: .min))
    }
}
