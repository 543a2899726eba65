// What nobody can decide about any more, and what is lost: visible in the dead letters and in the ledger, and never
// counted twice.

import Testing

@testable import TallyCore

@Suite struct ApplyForgottenTests {
    typealias Fixture = CoreFixture
    typealias Rules = ApplyRulesTests

    @Test func anOriginOfAPurgedEpochIsBuriedOnce() throws {
        var tables = Rules.MemoryTables()
        tables.forgotten = 1
        let origin = Fixture.batchID(5, producer: 9, epoch: 1, partition: 3)
        let entries = [Fixture.entry("a", 1, 2), Fixture.entry("b", 4, group: "r")]
        var applied = try Rules.commit(Rules.stream([entries], origins: [origin]), to: &tables)
        #expect(tables.counters.isEmpty && applied.dead == Amount(increments: 3, sum: 5))
        #expect(tables.letters.map(\.reason) == [.forgotten, .forgotten])
        #expect(tables.letters.map(\.detail) == Array(repeating: "epoch 1, from which it comes, was purged", count: 2))
        // The same increments by another way, and the same request in another batch of that time.
        let other = Fixture.batchID(6, producer: 9, epoch: 1, partition: 3)
        applied = try Rules.commit(
            Rules.stream([entries, [entries[1]]], producer: 2, origins: [origin, other]), to: &tables)
        #expect(tables.letters.count == 2 && applied.dead == .zero)
        #expect(applied.repeated == Amount(increments: 4, sum: 9))
    }

    /// The replay of a dead letter that cannot be counted leaves its letter alone, and can be tried again.
    @Test(arguments: [0, 1] as [UInt32])
    func aReplayThatCannotBeCounted(forgotten: UInt32) throws {
        var tables = Rules.MemoryTables()
        tables.forgotten = forgotten
        tables.counters = ["a": .max]
        let claim = "dead-letter:\(Bytes16(high: 1, low: 2)):1"
        let origin = Fixture.batchID(5, producer: 9, epoch: 1, partition: 3)
        let replay = [Fixture.entry("a", 7, group: claim)]
        let applied = try Rules.commit(
            Rules.stream([replay], origins: [forgotten > 0 ? origin : nil]), to: &tables)
        #expect(tables.letters.isEmpty && tables.idempotent.isEmpty && tables.counters == ["a": .max])
        #expect(applied.dead == .zero && applied.repeated == Amount(increments: 1, sum: 7))
        tables.counters = ["a": 1]
        for (producer, counted): (UInt64, Bool) in [(2, true), (3, false)] {
            let again = try Rules.commit(Rules.stream([replay], producer: producer), to: &tables)
            #expect((again.applied == Amount(increments: 1, sum: 7)) == counted)
        }
        #expect(tables.counters == ["a": 8])
    }

    @Test func whatIsKnownIsStillRecognised() throws {
        var tables = Rules.MemoryTables()
        tables.forgotten = 1
        tables.idempotent = [Rules.MemoryTables.Idempotent(id: "r", key: "a")]
        let origin = Fixture.batchID(5, producer: 9, epoch: 1, partition: 3)
        let applied = try Rules.commit(
            Rules.stream([[Fixture.entry("a", 1, group: "r")]], origins: [origin]), to: &tables)
        #expect(tables.letters.isEmpty && applied.repeated == Amount(increments: 1, sum: 1))
    }

    @Test func epochsAboveTheForgottenOneCount() throws {
        var tables = Rules.MemoryTables()
        tables.forgotten = 1
        let origin = Fixture.batchID(5, producer: 9, epoch: 2, partition: 3)
        _ = try Rules.commit(Rules.stream([[Fixture.entry("a", 1)]], origins: [origin]), to: &tables)
        #expect(tables.counters == ["a": 1] && tables.letters.isEmpty)
    }

    @Test(arguments: [true, false])
    func whatIsTooLateIsBuriedOnce(folding: Bool) throws {
        var tables = Rules.MemoryTables()
        tables.decidesFrom = 100
        let late = Fixture.batches([Fixture.entry("b", 2), Fixture.entry("a", 1, group: "r")], frozenAt: 99)
        let applied = try Rules.commit(late, to: &tables, folding: folding)
        #expect(tables.counters == ["b": 2] && applied.dead == Amount(increments: 1, sum: 1))
        #expect(tables.letters.map(\.reason) == [.late])
        #expect(tables.letters.map(\.detail) == ["it was sent at 99, and claims from then have been forgotten"])
        let again = Fixture.batches(
            [Fixture.entry("a", 1, group: "r")], id: Fixture.batchID(1, producer: 2), frozenAt: 99)
        #expect(try Rules.commit(again, to: &tables, folding: folding).repeated == Amount(increments: 1, sum: 1))
        let fresh = Fixture.batches(
            [Fixture.entry("a", 1, group: "s")], id: Fixture.batchID(1, producer: 3), frozenAt: 100)
        #expect(try Rules.commit(fresh, to: &tables, folding: folding).applied == Amount(increments: 1, sum: 1))
        #expect(tables.letters.count == 1)
    }

    @Test func theNextBatchTellsHowMuchALossWas() throws {
        var tables = Rules.MemoryTables()
        let batches = Rules.stream([
            [Fixture.entry("a", 1)], [Fixture.entry("a", 20, 3)], [Fixture.entry("a", 300)],
            [Fixture.entry("a", 4_000)],
        ])
        _ = try Rules.commit([batches[0]], to: &tables)
        tables.records[Fixture.stream()]?.watermark = 3
        tables.losses = [StreamLoss(stream: Fixture.stream(), sequences: 2...3)]
        #expect(tables.losses[0].batches == 2)
        let applied = try Rules.commit(batches, to: &tables)
        #expect(tables.counters == ["a": 4_001] && tables.letters.isEmpty)
        #expect(applied.skippedBatches == 3, "an accepted loss is final")
        #expect(tables.losses[0].amount == Amount(increments: 4, sum: 320))
        #expect(tables.records[Fixture.stream()]?.unaccounted == Amount(increments: 4, sum: 320))
    }

    @Test func aLossIsSettledOnce() throws {
        var tables = Rules.MemoryTables()
        tables.losses = [
            StreamLoss(stream: Fixture.stream(), sequences: 1...1, amount: Amount(increments: 1, sum: 1))
        ]
        tables.records[Fixture.stream()] = StreamRecord(
            watermark: 1, through: Amount(increments: 1, sum: 1), applied: .zero, repeated: .zero, dead: .zero)
        let wrong = Rules.stream([[Fixture.entry("a", 1)]], from: 2, after: Amount(increments: 5, sum: 50))
        _ = try Rules.commit(wrong, to: &tables)
        #expect(tables.letters.map(\.reason) == [.damaged] && tables.counters.isEmpty)
    }
}
