// Increments that do not fit their counters, among many that do: they alone leave the fold, and what becomes of them is
// what entry by entry would have become of them.

import Testing

@testable import TallyCore

@Suite struct ApplyMisfitTests {
    typealias Fixture = CoreFixture
    typealias Rules = ApplyRulesTests
    typealias MemoryTables = ApplyRulesTests.MemoryTables

    static let full = ["full0", "full1", "full2", "full3"]

    private func tables() -> MemoryTables {
        var tables = MemoryTables()
        for key in Self.full { tables.counters[key] = .max }
        return tables
    }

    /// Batches with the same keys in each, and one increment that does not fit for each full counter.
    private func batches(_ count: Int, keys: Int) -> [Batch] {
        let entries = (0..<keys).map { Fixture.entry("k\($0)", 1) }
        return Rules.stream(
            Array(repeating: entries + Self.full.map { Fixture.entry($0, 7, 2) }, count: count))
    }

    @Test func theOtherKeysAreWrittenOnce() throws {
        var tables = tables()
        let batches = batches(5, keys: 1_000)
        let applied = try Rules.commit(batches, to: &tables)
        #expect(applied.committed.count == 5, "all of them, in one transaction")
        #expect(tables.adds.count == 1_000 && applied.keys == 1_000)
        #expect((0..<1_000).allSatisfy { tables.counters["k\($0)"] == 5 })
        #expect(applied.applied == Amount(increments: 5_000, sum: 5_000))
        #expect(applied.dead == Amount(increments: 40, sum: 140))
        let letters = batches.flatMap { batch in
            Self.full.map { key in
                DeadLetter(
                    batch: batch.id, reason: .overflow, detail: "adding 7 would leave the range of Int64",
                    idempotencyKey: nil, key: Array(key.utf8), amount: Amount(increments: 2, sum: 7), payload: [])
            }
        }
        #expect(tables.letters == letters && Self.full.allSatisfy { tables.counters[$0] == .max })
        let record = try #require(tables.records[Fixture.stream(1)])
        #expect(record.dead == applied.dead && record.applied == applied.applied && record.unaccounted == .zero)
    }

    /// Each sum fits, their fold does not: nothing is dead.
    @Test func aFoldThatLeavesInt64IsAddedEntryByEntry() throws {
        var tables = MemoryTables()
        tables.counters = ["a": .min]
        let batches = Rules.stream([
            [Fixture.entry("a", .max), Fixture.entry("b", 1)], [Fixture.entry("a", .max), Fixture.entry("b", 1)],
        ])
        #expect(try Rules.commit(batches, to: &tables).dead == .zero)
        #expect(tables.counters == ["a": .max - 1, "b": 2] && tables.letters.isEmpty)
        #expect(tables.adds == ["b", "a", "a"])
    }

    /// Entries that were not folded, because they had been counted, stay out.
    @Test func onlyWhatWasFoldedIsLookedForAgain() throws {
        var tables = tables()
        func group(_ name: String, _ key: String) -> Fixture.Entry { Fixture.entry(key, 1, group: name) }
        let letter = "dead-letter:" + String(repeating: "0", count: 32) + ":1"
        let batches = Rules.stream([
            [Fixture.entry("full0", 1), group("a", "full0"), group("a", "x"), group(letter, "full1")],
            [group("a", "full0"), group("a", "x"), group("b", "full0")],
        ])
        let applied = try Rules.commit(batches, to: &tables)
        #expect(tables.letters.map(\.idempotencyKey) == [nil, Array("a".utf8), Array("b".utf8)])
        #expect(applied.dead.increments == 3 && applied.applied.increments == 1)
        #expect(applied.repeated.increments == 3, "two of a, and the replay, whose letter is there already")
        #expect(tables.counters["x"] == 1)
    }

    @Test func theNumberOfSuchEntriesIsBounded() throws {
        let batches = batches(2, keys: 10).map(\.bytes)
        for (most, fits) in [(8, true), (7, false), (0, false)] {
            var tables = tables()
            let outcome = try ApplyRules.apply(
                batches, to: &tables, partition: Rules.here, time: 1, misfitsMax: most)
            if case .commit(let applied) = outcome {
                #expect(fits && applied.dead.increments == 16)
            } else {
                #expect(!fits && outcome == .tooManyMisfits)
                #expect(tables.letters.count <= most)
            }
        }
    }

    /// Where folded sums fit if and only if each entry does, folding changes nothing but the number of writes.
    @Test(arguments: [1, 2, 3, 4, 5, 6] as [UInt64])
    func foldingGivesTheSameTables(seed: UInt64) throws {
        var generator = SplitMix64(seed: seed)
        var contents: [[Fixture.Entry]] = []
        var origins: [BatchID?] = []
        for _ in 0..<40 {
            let entries = [nil, "g1", "g2"].flatMap { group in
                (0..<Int.random(in: 1...6, using: &generator)).map { _ in
                    let key = Bool.random(using: &generator) ? Self.full.randomElement(using: &generator) : nil
                    return Fixture.entry(
                        key ?? "k\(Int.random(in: 0..<20, using: &generator))",
                        Int64.random(in: 1...99, using: &generator), UInt64.random(in: 1...4, using: &generator),
                        group: group.map { "\($0).\(Int.random(in: 0..<9, using: &generator))" })
                }
            }
            contents.append(entries)
            origins.append(
                Int.random(in: 0..<3, using: &generator) == 0
                    ? Fixture.batchID(UInt64.random(in: 1...6, using: &generator), producer: 8, epoch: 1, partition: 3)
                    : nil)
        }
        let batches = Rules.stream(contents, origins: origins)
        var folded = tables()
        var plain = folded
        for start in stride(from: 0, to: batches.count, by: 8) {
            let some = Array(batches[start..<min(batches.count, start + 8)])
            var left = try Rules.commit(some, to: &folded)
            let right = try Rules.commit(some, to: &plain, folding: false)
            #expect(left.keys < right.keys && left.dead != .zero, "seed \(seed)")
            left.keys = right.keys
            #expect(left == right, "seed \(seed)")
        }
        #expect(folded.counters == plain.counters && folded.records == plain.records, "seed \(seed)")
        #expect(folded.routed == plain.routed && folded.idempotent == plain.idempotent, "seed \(seed)")
        #expect(folded.letters == plain.letters && folded.letters.count > 40, "seed \(seed)")
    }
}
