// Keys that were computed to meet in the tables of a node and of a consumer. What they may cost is counted in steps:
// no more for each than other keys need in a full table.

import Testing

@testable import TallyCore

@Suite struct ChosenKeysTests {
    static let count = 10_000

    /// Keys whose hashes agree in the 20 bits that choose a slot, and not in the others.
    private func nearlyColliding() -> [(key: [UInt8], hash: UInt64)] {
        (0..<Self.count).map { (Array("key\($0)".utf8), UInt64($0) << 20 | 0xABCDE) }
    }

    private func fill(_ table: inout KeyTable, _ keys: [(key: [UInt8], hash: UInt64)]) {
        for round in 0..<2 {
            for (index, (key, hash)) in keys.enumerated() {
                key.withUnsafeBytes { table.add($0, hash: hash, delta: Int64(index + round)) }
            }
        }
    }

    private func expectBounded(_ table: KeyTable, _ keys: [(key: [UInt8], hash: UInt64)]) {
        #expect(table.isKeyed && table.farSteps <= 4_096 + 16 * keys.count)
        #expect(table.entries.map(\.sum) == keys.indices.map { Int64(2 * $0 + 1) })
        #expect(table.entries.map(\.hash) == keys.map(\.hash), "the partition's hash stays")
        for (entry, key) in zip(table.entries, keys) where table.withKey(of: entry, { Array($0) }) != key.key {
            Issue.record("an entry has another key")
            return
        }
    }

    @Test func theKeysAreKeysAndTheirHashIsOne() throws {
        let keys = CollidingKeys.make(Self.count, seed: 1)
        #expect(Set(keys).count == Self.count)
        let hash = XXH64.hash(keys[0])
        for bytes in keys { #expect(try Key(bytes).hash64 == hash) }
    }

    /// Why a seed does not help.
    @Test func someKeysCollideUnderEverySeed() {
        var generator = SplitMix64(seed: 2)
        let words = (generator.next(), generator.next())
        func flipped(_ word: UInt64, bit: UInt64) -> UInt64 {
            let product = CollidingKeys.unround(CollidingKeys.round(0, word) ^ 1 << bit)
            return product &* CollidingKeys.inverse(CollidingKeys.prime2)
        }
        func bytes(_ words: (UInt64, UInt64)) -> [UInt8] { withUnsafeBytes(of: words) { Array($0) } }
        // Bit 36 is turned to bit 63, and no multiplication or addition carries that one any further.
        let other = (flipped(words.0, bit: 36), flipped(words.1, bit: 63))
        #expect(bytes(words) != bytes(other))
        for _ in 0..<1_000 {
            let seed = generator.next()
            #expect(XXH64.hash(bytes(words), seed: seed) == XXH64.hash(bytes(other), seed: seed))
        }
    }

    @Test func aNodesTableTakesABoundedNumberOfSteps() {
        for keys in [CollidingKeys.make(Self.count, seed: 3).map { ($0, XXH64.hash($0)) }, nearlyColliding()] {
            var table = KeyTable()
            fill(&table, keys)
            expectBounded(table, keys)
            table.removeAll()
            #expect(!table.isKeyed && table.farSteps == 0, "the next batch has keys of its own")
            fill(&table, Array(keys.prefix(20)))
            #expect(table.entries.map(\.sum) == (0..<20).map { Int64(2 * $0 + 1) })
            fill(&table, keys.reversed())
            #expect(table.isKeyed && table.count == keys.count)
        }
    }

    /// Several entries of one key, in a table that changes its hash.
    @Test func theNewestEntryOfAKeyIsFoundUnderEitherHash() {
        let keys = CollidingKeys.make(500, seed: 4)
        var table = KeyTable()
        func add(_ key: [UInt8], _ delta: Int64) {
            key.withUnsafeBytes { table.add($0, hash: XXH64.hash($0), delta: delta) }
        }
        for _ in 0..<3 { add(keys[7], .max) }
        for key in keys where key != keys[7] { add(key, 1) }
        #expect(table.isKeyed)
        add(keys[7], -5)
        let sums = table.entries.filter { entry in table.withKey(of: entry) { Array($0) } == keys[7] }.map(\.sum)
        #expect(sums == [.max, .max, .max - 5] && table.count == 502)
    }

    @Test func aFoldTakesABoundedNumberOfSteps() {
        let keys = CollidingKeys.make(Self.count, seed: 5)
        var fold = Fold()
        for round in 0..<2 {
            for (index, key) in keys.enumerated() { key.withUnsafeBytes { fold.add($0, delta: Int64(index + round)) } }
        }
        #expect(fold.isKeyed && fold.steps <= 4_096 + 16 * 2 * keys.count)
        var expected = keys.enumerated().map { ($0.element, Int64(2 * $0.offset + 1)) }
        expected.sort { $0.0.lexicographicallyPrecedes($1.0) }
        var found: [([UInt8], Int64?)] = []
        fold.drainInKeyOrder { key, sum in found.append((Array(key), sum)) }
        #expect(found.map(\.0) == expected.map(\.0) && found.map(\.1) == expected.map(\.1))
    }

    @Test func aFoldOfBatchesTakesABoundedNumberOfSteps() throws {
        let keys = CollidingKeys.make(Self.count, seed: 6)
        let entries = keys.map { CoreFixture.entry(String(decoding: $0, as: UTF8.self), 1) }
        let batch = CoreFixture.batches(entries)[0]
        var fold = Fold()
        for _ in 0..<3 { try batch.bytes.withUnsafeBytes { fold.add(try BatchReader($0)) } }
        #expect(fold.count == keys.count && fold.isKeyed && fold.steps <= 4_096 + 16 * 3 * keys.count)
    }

    /// Keys that nobody chose never meet the second hash, at any size and however often they come.
    @Test(arguments: [1, 2, 3] as [UInt64])
    func otherKeysKeepThePublishedHash(seed: UInt64) {
        var generator = SplitMix64(seed: seed)
        var table = KeyTable()
        var fold = Fold()
        for _ in 0..<300_000 {
            let key = Array("page:/\(generator.next() % 60_000)".utf8)
            key.withUnsafeBytes {
                table.add($0, hash: XXH64.hash($0), delta: 1)
                fold.add($0, delta: 1)
            }
        }
        #expect(!table.isKeyed && !fold.isKeyed, "seed \(seed)")
    }
}
