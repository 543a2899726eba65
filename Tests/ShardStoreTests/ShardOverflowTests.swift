// Counters at the ends of Int64: what fits is added, what does not is a dead letter with its increments, and folding a
// transaction's sums in memory never turns one into the other by wrapping.

import ShardStore
import TallyCore
import Testing

@Suite struct ShardOverflowTests {
    let folder = Folder()
    let shard: ShardFile

    init() throws {
        shard = try ShardFile.sample(in: folder)
    }

    private func apply(_ batches: [UInt8]...) throws -> Applied {
        try #require(try shard.apply(batches, timeMilliseconds: 1).applied)
    }

    private func value(_ key: String) throws -> Int64? {
        try ShardReader(at: folder.shard).values(of: [Key(key)])[0]
    }

    /// Start, delta, whether it fits.
    @Test(
        arguments: [
            (Int64.max, 1, false), (Int64.max, 0, true), (Int64.max - 1, 1, true), (Int64.max, Int64.min, true),
            (Int64.min, -1, false), (Int64.min, 0, true), (Int64.min + 1, -1, true), (Int64.min, Int64.max, true),
            (Int64.min, Int64.min, false), (-1, Int64.min, false), (0, Int64.min, true), (0, Int64.max, true),
            (1, Int64.max, false), (Int64.max, Int64.max, false), (-1, Int64.min + 1, true),
        ] as [(Int64, Int64, Bool)])
    func edges(start: Int64, delta: Int64, fits: Bool) throws {
        var one = BatchMaker(1)
        _ = try apply(one.make([TestEntry("k", start)]))
        let applied = try apply(one.make([TestEntry("k", delta, increments: 3)]))
        let amount = Amount(increments: 3, sum: Int128(delta))
        #expect(applied.applied == (fits ? amount : .zero))
        #expect(applied.dead == (fits ? .zero : amount))
        #expect(try value("k") == (fits ? start + delta : start))
        #expect(try shard.statistics().total == Int128(fits ? start + delta : start))
    }

    /// A full counter costs the others nothing: the transaction stays as long, and each of them is written once.
    @Test func aFullCounterDoesNotShortenTheTransaction() throws {
        var one = BatchMaker(1)
        _ = try apply(one.make([TestEntry("full", .max)]))
        let padding = String(repeating: "x", count: 500)
        let entries = (0..<4_000).map { TestEntry("\(padding)\($0)", 1) }
        let batches = (0..<4).map { number in one.make(entries + (number == 1 ? [TestEntry("full", 1)] : [])) }
        let outcome = try #require(try shard.apply(batches, timeMilliseconds: 1).applied)
        #expect(outcome.committed.map(\.sequence) == [2, 3, 4, 5] && outcome.keys == 4_000)
        #expect(outcome.dead == Amount(increments: 1, sum: 1))
        #expect(try value("full") == .max)
        #expect(try value("\(padding)7") == 4)
    }

    @Test func exactlyWhatDoesNotFitIsDead() throws {
        var one = BatchMaker(1)
        let batch = one.make(
            [TestEntry("a", .max), TestEntry("a", 1, increments: 4), TestEntry("b", 2)],
            groups: [("id", [TestEntry("a", 9), TestEntry("b", 8)])])
        let applied = try apply(batch)
        #expect(applied.dead == Amount(increments: 5, sum: 10))
        #expect(applied.applied == Amount(increments: 3, sum: Int128(Int64.max) + 10))
        #expect(try value("a") == .max)
        #expect(try value("b") == 10)
        #expect(
            shell(
                folder.shard,
                "SELECT reason, detail, sequence, idempotency_id, key, increments, sum, length(payload)"
                    + " FROM dead_letter"
            )
                == """
                overflow|adding 1 would leave the range of Int64|1||a|4|1|0
                overflow|adding 9 would leave the range of Int64|1|id|a|1|9|0
                """)
    }

    @Test func foldedSumsThatFitAreNotDead() throws {
        var one = BatchMaker(1)
        _ = try apply(one.make([TestEntry("a", .max)]))
        // Entry by entry the first would not fit; as one sum they do.
        let applied = try apply(one.make([TestEntry("a", 5)]), one.make([TestEntry("a", -6)]))
        #expect(applied.dead == .zero)
        #expect(try value("a") == .max - 1)
    }

    /// So many increments that do not fit are not done in one transaction.
    @Test func ofVeryManyMisfitsTheFirstBatchesAreAppliedAlone() throws {
        var one = BatchMaker(1)
        let padding = String(repeating: "x", count: 20)
        let keys = (0..<20_000).map { "\(padding)\($0)" }
        _ = try apply(one.make(keys.map { TestEntry($0, .max) }))
        let batches = (0..<Limits.transactionMisfits / 20_000 + 1).map { _ in one.make(keys.map { TestEntry($0, 1) }) }
        #expect(batches.reduce(0) { $0 + $1.count } < Limits.peekBytes)
        let long = batches + [one.make((0..<9_000).map { TestEntry(String(repeating: "y", count: 500) + "\($0)", 1) })]
        let last = one.make([TestEntry("z", 1)])
        let outcome = try #require(try shard.apply(long + [last], timeMilliseconds: 1).applied)
        #expect(outcome.committed.count == long.count && outcome.dead.increments == 20_000 * UInt64(batches.count))
        #expect(try shard.statistics().deadLetters == 20_000 * batches.count)
        #expect(try #require(try shard.apply([last], timeMilliseconds: 1).applied).committed.count == 1)
    }

    @Test func claimsOfTheFoldStand() throws {
        var one = BatchMaker(1)
        let origin = BatchID(
            stream: StreamID(partition: PartitionID(epoch: 1, number: 0), producer: BatchMaker.producer(7)), sequence: 1
        )
        // All of these count, but for what overflows.
        let applied = try apply(
            one.make([TestEntry("r", 1), TestEntry("x", .max)], origin: origin),
            one.make([TestEntry("x", 1)], groups: [("id", [TestEntry("i", 1)])]))
        #expect(applied.repeated == .zero)
        #expect(applied.dead == Amount(increments: 1, sum: 1))
        #expect(try ShardReader(at: folder.shard).totals() == ShardTotals(keys: 3, sum: Int128(Int64.max) + 2))
        #expect(try shard.statistics().keys == 3)
    }

    @Test func totalsGoBeyondInt64() throws {
        var one = BatchMaker(1)
        _ = try apply(one.make((0..<9).map { TestEntry("max\($0)", .max) }))
        let high = Int128(Int64.max) * 9
        #expect(try ShardReader(at: folder.shard).totals() == ShardTotals(keys: 9, sum: high))
        _ = try apply(one.make((0..<20).map { TestEntry("min\($0)", .min) } + [TestEntry("minus", -1)]))
        let sum = high + Int128(Int64.min) * 20 - 1
        #expect(try ShardReader(at: folder.shard).totals() == ShardTotals(keys: 30, sum: sum))
        #expect(try shard.statistics().total == sum)
    }
}
