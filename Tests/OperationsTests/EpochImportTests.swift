// Counts from outside, added while the shards of a new epoch are made.

import Operations
import ServiceKit
import ShardStore
import Testing

@testable import TallyCore

/// Entries of an array.
private struct ArraySource: SortedSource {
    let entries: [(key: [UInt8], value: Int64)]
    var index = -1

    init(_ entries: [(key: [UInt8], value: Int64)]) {
        self.entries = entries
    }

    mutating func next() -> Bool {
        index += 1
        return index < entries.count
    }

    var key: UnsafeRawBufferPointer {
        // A copy that lives as long as the test: the array may be moved.
        let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: entries[index].key.count, alignment: 1)
        copy.copyBytes(from: entries[index].key)
        return UnsafeRawBufferPointer(copy)
    }

    var value: Int64 { entries[index].value }
}

@Suite struct EpochImportTests {
    private static let producer = ProducerID(Bytes16(high: 0x1A, low: 0xB))

    /// `entries` in order, split by the partitions of `partitions`.
    private func imported(
        _ entries: [(key: [UInt8], value: Int64)], to partitions: Int, increments: Int = 1
    ) -> EpochBuild.Import {
        let partitioner = Partitioner(partitions: partitions)
        let sorted = entries.sorted { $0.key.lexicographicallyPrecedes($1.key) }
        let parts = (0..<partitions).map { number in
            sorted.filter { partitioner.partition(ofHash: XXH64.hash($0.key)) == number }
        }
        let amounts = parts.map { part in
            Amount(increments: UInt64(part.count * increments), sum: part.reduce(0) { $0 + Int128($1.value) })
        }
        return EpochBuild.Import(id: Self.producer.bytes, amounts: amounts) { ArraySource(parts[$0]) }
    }

    @Test(arguments: [(2, 2), (2, 5), (5, 2)]) func valuesAreAdded(old: Int, new: Int) throws {
        let seed = UInt64(WallClock.milliseconds()) % 1_000_000
        print("valuesAreAdded \(old) -> \(new): seed \(seed)")
        var random = SplitMix64(seed: seed)
        let epochs = try EpochFixture(partitions: old)
        let keys = AwkwardKeys.make(4_000, &random)
        var deltas: [[UInt8]: Int64] = [:]
        var entries: [(key: [UInt8], value: Int64)] = []
        for key in keys {
            if random.next() % 2 == 0 { deltas[key] = Int64(random.next() % 1_000) }
            if random.next() % 2 == 0 { entries.append((key, Int64(random.next() % 1_000) - 500)) }
        }
        try epochs.add(deltas, time: 3)
        for (key, value) in entries {
            let old = epochs.counters[key]?.value ?? 0
            epochs.counters[key] = EpochFixture.Row(value: old + value, updated: 9_000)
        }
        let outcome = try epochs.rebuild(to: new, importing: imported(entries, to: new, increments: 3))
        #expect(try epochs.found() == epochs.counters)
        #expect(outcome.imported.increments == UInt64(entries.count * 3))
        #expect(outcome.imported.sum == entries.reduce(0) { $0 + Int128($1.value) })
        #expect(outcome.buried == .zero)
        #expect(try epochs.checkLedgers() == UInt64(deltas.count + entries.count * 3))
    }

    @Test func intoAnEmptyCluster() throws {
        let epochs = try EpochFixture(partitions: 3)
        let entries = (0..<5_000).map { (key: Array("key \($0)".utf8), value: Int64($0)) }
        let outcome = try epochs.rebuild(to: 3, importing: imported(entries, to: 3))
        #expect(outcome.keys == 5_000)
        #expect(outcome.total == 4_999 * 5_000 / 2)
        #expect(try epochs.found().count == 5_000)
    }

    @Test func whatDoesNotFitIsADeadLetter() throws {
        let epochs = try EpochFixture(partitions: 2)
        let (full, empty, low) = (Array("full".utf8), Array("empty".utf8), Array("low".utf8))
        try epochs.add([full: .max - 1, low: .min], time: 1)
        // One entry a key, but for sums beyond Int64: those come as several.
        let entries: [(key: [UInt8], value: Int64)] = [
            (full, 1), (full, 5), (empty, .max), (empty, .max), (low, -1),
        ]
        let outcome = try epochs.rebuild(to: 3, importing: imported(entries, to: 3))
        epochs.counters[full] = EpochFixture.Row(value: .max, updated: 9_000)
        epochs.counters[empty] = EpochFixture.Row(value: .max, updated: 9_000)
        #expect(try epochs.found() == epochs.counters)
        #expect(outcome.imported == Amount(increments: 2, sum: Int128(Int64.max) + 1))
        #expect(outcome.buried == Amount(increments: 3, sum: Int128(Int64.max) + 4))
        #expect(try epochs.checkLedgers() == 4)
        let letters = Shell.run(
            "for f in \(epochs.folder.epochPath(2))/*.sqlite; do sqlite3 -readonly $f "
                + "'SELECT reason, detail, epoch, hex(producer), sequence, key, increments, sum FROM dead_letter'; done"
                + " | sort")
        let producer = "000000000000001A000000000000000B"
        #expect(
            letters == """
                overflow|adding -1 would leave the range of Int64|2|\(producer)|1|low|1|-1
                overflow|adding 5 would leave the range of Int64|2|\(producer)|1|full|1|5
                overflow|adding 9223372036854775807 would leave the range of Int64|2|\(producer)|1|empty|1|\(Int64.max)
                """)
    }

    @Test func entriesInAWrongShardAreFound() throws {
        let epochs = try EpochFixture(partitions: 2)
        try epochs.retire()
        let entries = (0..<9).map { (key: Array("\($0)".utf8), value: Int64(1)) }
        let wrong = EpochBuild.Import(
            id: Self.producer.bytes, amounts: [Amount(increments: 9, sum: 9), Amount(increments: 9, sum: 9)]
        ) { _ in ArraySource(entries) }
        let failure = #expect(throws: Failure.self) { _ = try epochs.build(to: 2, importing: wrong).run() }
        #expect(failure?.what == "it holds a key of another shard")
    }
}
