// Random batches, repeated, re-routed, idempotent and overflowing, against the dictionaries of ModelShard: the same
// counters, the same ledger, and the sums that `audit` checks.

import TallyCore
import Testing

@testable import ShardStore

@Suite struct ShardLedgerTests {
    @Test(arguments: 0..<6) func randomBatchesLeadWhereTheModelDoes(round: Int) throws {
        let seed = UInt64.random(in: 0 ... .max)
        print("ledger: round \(round), seed \(seed)")
        var run = try LedgerRun(seed)
        try run.check("seed \(seed)")
    }
}

/// One seed's shard and model.
private struct LedgerRun {
    let folder = Folder()
    let shard: ShardFile
    var model: ModelShard
    var random: SplitMix64
    var makers: [BatchMaker]
    var history: [(ModelBatch, [UInt8])] = []
    /// A stream of the epoch before, known up to 3.
    let foreign = StreamID(partition: PartitionID(epoch: 2, number: 1), producer: BatchMaker.producer(99))
    let start = ShardStart(carried: Amount(increments: 4, sum: 40), imported: Amount(increments: 1, sum: -7))

    init(_ seed: UInt64) throws {
        random = SplitMix64(seed: seed)
        makers = (0..<3).map { BatchMaker($0) }
        try ShardFile.createSample(folder.shard, start: start)
        // What the file starts with: 40 - 7 in one counter, and the foreign stream's watermark.
        let producer = Hex.text(foreign.producer.bytes.array)
        Child.run(
            "/usr/bin/sqlite3",
            [
                folder.shard,
                "INSERT INTO counters VALUES('start', 33, 0);"
                    + "UPDATE meta SET value = '1' WHERE name = 'keys';"
                    + "UPDATE meta SET value = '33' WHERE name = 'sum';"
                    + "INSERT INTO applied VALUES(2, 1, x'\(producer)', 3, 0, '0', 0, '0', 0, '0', 0, '0')",
            ])
        shard = try ShardFile.openSample(folder.shard)
        model = ModelShard(foreign: [foreign: 3])
    }

    mutating func check(_ comment: Comment) throws {
        for transaction in 0..<40 {
            var list: [(ModelBatch, [UInt8])] = []
            for _ in 0..<(1 + random.next(upTo: 6)) { list.append(next()) }
            let outcome = try shard.apply(list.map(\.1), timeMilliseconds: UInt64(transaction + 1))
            model.apply(list.map(\.0))
            #expect(outcome.applied?.committed == list.map(\.0.id), comment)
        }
        try compare(comment)
    }

    /// A new batch of some producer, or one that was delivered before.
    private mutating func next() -> (ModelBatch, [UInt8]) {
        if !history.isEmpty, random.next(upTo: 5) == 0 { return history[Int(random.next(upTo: UInt64(history.count)))] }
        let origin: BatchID? =
            random.next(upTo: 3) == 0 ? BatchID(stream: foreign, sequence: 1 + random.next(upTo: 8)) : nil
        let entries = (0..<(1 + random.next(upTo: 12))).map { _ in entry() }
        var groups: [(id: String, entries: [TestEntry])] = []
        for _ in 0..<random.next(upTo: 3) {
            groups.append(("id\(random.next(upTo: 10))", (0..<(1 + random.next(upTo: 3))).map { _ in entry() }))
        }
        let maker = Int(random.next(upTo: UInt64(makers.count)))
        let bytes = makers[maker].make(entries, groups: groups, origin: origin)
        history.append((ModelBatch(id: makers[maker].id, origin: origin, entries: entries, groups: groups), bytes))
        return history[history.count - 1]
    }

    private mutating func entry() -> TestEntry {
        let key = "k\(random.next(upTo: 30))"
        let increments = 1 + random.next(upTo: 9)
        let sum: Int64
        switch random.next(upTo: 40) {
        case 0: sum = .max - Int64(random.next(upTo: 3))
        case 1: sum = .min + Int64(random.next(upTo: 3))
        default: sum = Int64(random.next(upTo: 2_001)) - 1_000
        }
        return TestEntry(key, sum, increments: increments)
    }

    private func compare(_ comment: Comment) throws {
        let reader = try ShardReader(at: folder.shard, expecting: ShardIdentity.sample.expectation)
        var counters: [[UInt8]: Int64] = [:]
        let cursor = try reader.counters()
        while try cursor.next() { counters[Array(cursor.key)] = cursor.value }
        var expected = model.counters
        expected[Array("start".utf8)] = 33
        #expect(counters == expected, comment)

        let own = ShardIdentity.sample.partition
        let records = try reader.records(of: own)
        #expect(records.count == makers.count, comment)
        var applied = try reader.start().carried + reader.start().imported
        for maker in makers {
            let record = try #require(records[maker.stream.producer])
            #expect(record == model.records[maker.stream], comment)
            #expect(record.through == record.applied + record.repeated + record.dead, comment)
            #expect(record.through == maker.cumulative, comment)
            applied += record.applied
        }
        #expect(try reader.records(of: foreign.partition).mapValues(\.watermark) == [foreign.producer: 3], comment)
        // The sum of the counters = carried + imported + applied, by scan, by running figure and by the ledger.
        let statistics = try shard.statistics()
        let totals = try reader.totals()
        #expect(totals.sum == applied.sum, comment)
        #expect(statistics.total == applied.sum, comment)
        #expect(statistics.keys == totals.keys, comment)
        #expect(statistics.deadLetters == model.deadLetters, comment)
        let half = "SELECT sum(value >> 32), sum(value & 4294967295) FROM counters"
        let halves = shell(folder.shard, half).split(separator: "|").compactMap { Int128($0) }
        #expect(halves.count == 2 && halves[0] << 32 + halves[1] == applied.sum, comment)
    }
}
