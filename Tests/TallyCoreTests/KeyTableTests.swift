// The hash table against a dictionary: every sum and count, at every size, and at both ends of Int64, where a second
// entry has to begin because nothing may wrap and nothing may be refused.

import Testing

@testable import TallyCore

@Suite struct KeyTableTests {
    private func add(_ text: String, _ delta: Int64, _ increments: UInt64 = 1, to table: inout KeyTable) {
        Array(text.utf8).withUnsafeBytes {
            table.add($0, hash: XXH64.hash($0), delta: delta, increments: increments)
        }
    }

    private func text(_ entry: KeyTable.Entry, of table: KeyTable) -> String {
        table.withKey(of: entry) { String(decoding: $0, as: UTF8.self) }
    }

    private func rows(_ table: KeyTable) -> [CoreFixture.Entry] {
        table.entries.map { CoreFixture.entry(text($0, of: table), $0.sum, $0.increments) }
    }

    @Test(arguments: [1, 2, 3] as [UInt64])
    func agreesWithADictionary(seed: UInt64) {
        var generator = SplitMix64(seed: seed)
        var table = KeyTable()
        for round in 0..<4 {
            var model: [String: Amount] = [:]
            for _ in 0..<5_000 {
                let key = "key\(Int.random(in: 0..<(round + 1) * 500, using: &generator))"
                let delta = Int64.random(in: -1_000...1_000, using: &generator)
                let increments = UInt64.random(in: 1...3, using: &generator)
                add(key, delta, increments, to: &table)
                model[key, default: .zero] += Amount(increments: increments, sum: Int128(delta))
            }
            #expect(table.count == model.count && !table.hasOverflow, "seed \(seed)")
            for row in rows(table) {
                #expect(
                    model[row.key] == Amount(increments: row.increments, sum: Int128(row.sum)), "seed \(seed)")
            }
            #expect(table.encodedBytes == model.keys.reduce(0) { $0 + $1.utf8.count + 22 })
            table.removeAll()
            #expect(table.isEmpty && table.entries.isEmpty && table.encodedBytes == 0)
        }
    }

    @Test func growsOverAHundredThousandKeys() {
        var table = KeyTable()
        for round in 0..<2 {
            for index in 0..<100_000 { add("key\(index)", Int64(index + round), to: &table) }
        }
        #expect(table.count == 100_000)
        for (index, entry) in table.entries.enumerated() {
            if text(entry, of: table) != "key\(index)" || entry.sum != Int64(2 * index + 1) || entry.increments != 2 {
                Issue.record("entry \(index)")
                return
            }
        }
    }

    @Test func overflowBeginsASecondEntry() {
        var table = KeyTable()
        add("up", .max, to: &table)
        add("down", .min, to: &table)
        #expect(!table.hasOverflow)
        add("up", 1, to: &table)
        #expect(table.hasOverflow)
        add("down", -1, to: &table)
        add("up", 5, 2, to: &table)
        add("down", .min + 1, to: &table)
        add("down", 3, to: &table)
        let rows = rows(table)
        #expect(
            rows == [
                CoreFixture.entry("up", .max), CoreFixture.entry("down", .min), CoreFixture.entry("up", 6, 3),
                CoreFixture.entry("down", .min + 3, 3),
            ])
        table.removeAll()
        #expect(!table.hasOverflow)
        add("up", 1, to: &table)
        #expect(table.count == 1 && table.entries[0].sum == 1)
    }

    /// Growing rehashes several entries of one key: its slot has to point to the newest one again.
    @Test func growthKeepsTheNewestEntryOfAKey() {
        var table = KeyTable()
        for _ in 0..<3 { add("big", .max, to: &table) }
        for index in 0..<5_000 { add("key\(index)", 1, to: &table) }
        add("big", -5, to: &table)
        let big = table.entries.filter { text($0, of: table) == "big" }.map(\.sum)
        #expect(big == [.max, .max, .max - 5])
        #expect(table.count == 5_003)
    }

    /// Overflow at random: the entries of a key add up to its exact sum.
    @Test func randomOverflowLosesNothing() {
        let seed: UInt64 = 21
        var generator = SplitMix64(seed: seed)
        var table = KeyTable()
        var model: [String: Amount] = [:]
        for _ in 0..<20_000 {
            let key = "k\(Int.random(in: 0..<50, using: &generator))"
            let delta = Int64(bitPattern: generator.next())
            add(key, delta, to: &table)
            model[key, default: .zero] += Amount(increments: 1, sum: Int128(delta))
        }
        var sums: [String: Amount] = [:]
        for row in rows(table) {
            sums[row.key, default: .zero] += Amount(increments: row.increments, sum: Int128(row.sum))
        }
        #expect(sums == model, "seed \(seed)")
    }

    /// Hashes are not trusted to differ: keys of one hash are told apart by their bytes.
    @Test func equalHashesAreDifferentKeys() {
        var table = KeyTable()
        for round in 0..<2 {
            for index in 0..<200 {
                Array("key\(index)".utf8).withUnsafeBytes { table.add($0, hash: 42, delta: Int64(index + round)) }
            }
        }
        #expect(table.entries.map(\.sum) == (0..<200).map { Int64(2 * $0 + 1) })
    }

    /// Increment counts come out of batches, so they may be anything: they wrap, as the ledger does.
    @Test func incrementCountsWrapInsteadOfTrapping() {
        var table = KeyTable()
        add("a", 1, .max, to: &table)
        add("a", 1, 2, to: &table)
        #expect(rows(table) == [CoreFixture.entry("a", 2, 1)])
    }
}
