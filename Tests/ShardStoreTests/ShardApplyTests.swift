// Every rule of PROTOCOL.md's transaction, over a real file.

import ShardStore
import TallyCore
import Testing

@Suite struct ShardApplyTests {
    let folder = Folder()
    let shard: ShardFile
    let own = ShardIdentity.sample.partition
    let earlier = PartitionID(epoch: 2, number: 1)

    init() throws {
        shard = try ShardFile.sample(in: folder)
    }

    private func apply(_ batches: [UInt8]..., time: UInt64 = 50) throws -> ApplyOutcome {
        try shard.apply(batches, timeMilliseconds: time)
    }

    private func counters() -> String {
        shell(folder.shard, "SELECT key || '=' || value FROM counters").replacing("\n", with: " ")
    }

    @Test func batchesInSequenceCount() throws {
        var one = BatchMaker(1)
        var two = BatchMaker(2)
        let batches = [one.make([TestEntry("a", 1)]), two.make([TestEntry("a", 10)]), one.make([TestEntry("b", 2)])]
        let applied = try #require(try shard.apply(batches, timeMilliseconds: 50).applied)
        #expect(counters() == "a=11 b=2")
        #expect(applied.committed.count == 3)
        #expect(applied.watermarks == [one.stream.producer: 2, two.stream.producer: 1])
        #expect(applied.applied == Amount(increments: 3, sum: 13))
        #expect(applied.keys == 2)
        #expect(try shard.watermarks(of: own) == applied.watermarks)
    }

    @Test func whatIsCommittedIsSkipped() throws {
        var one = BatchMaker(1)
        let first = one.make([TestEntry("a", 1)])
        let second = one.make([TestEntry("a", 2)])
        _ = try apply(first)
        let applied = try #require(try apply(first, second, first).applied)
        #expect(applied.skippedBatches == 2)
        #expect(applied.committed.count == 3)
        #expect(counters() == "a=3")
        let before = try shard.statistics()
        #expect(try apply(second, time: 999).applied?.skippedBatches == 1)
        #expect(try shard.statistics() == before)
    }

    @Test func aHoleStops() throws {
        var one = BatchMaker(1)
        let first = one.make([TestEntry("a", 1)])
        _ = one.make([TestEntry("a", 2)])
        let third = one.make([TestEntry("a", 4)])
        #expect(try apply(third) == .stop(.hole(one.id, watermark: 0)))
        #expect(counters() == "")
        // What precedes it is sound.
        #expect(try apply(first, third).applied?.committed.count == 1)
        #expect(try apply(third) == .stop(.hole(one.id, watermark: 1)))
        #expect(counters() == "a=1")
    }

    @Test func anotherPartitionsBatchStops() throws {
        var other = BatchMaker(1, partition: PartitionID(epoch: 3, number: 4))
        #expect(try apply(other.make([TestEntry("a", 1)])) == .stop(.wrongPartition(other.id, expected: own)))
    }

    @Test func unreadableAndNewerStop() throws {
        var one = BatchMaker(1)
        var newer = one.make([TestEntry("a", 1)])
        newer[3] = 2
        #expect(try apply(newer) == .stop(.newerVersion(2)))
        #expect(try apply([1, 2, 3]) == .stop(.unreadable("3 bytes are too few for a batch")))
        #expect(try shard.watermarks(of: own).isEmpty)
    }

    @Test func aDamagedBodyIsADeadLetter() throws {
        var one = BatchMaker(1)
        var damaged = one.make([TestEntry("a", 5, increments: 2)])
        damaged[bodyOffset] ^= 0x40
        let next = one.make([TestEntry("a", 1)])
        let applied = try #require(try apply(damaged, next).applied)
        #expect(applied.dead == Amount(increments: 2, sum: 5))
        #expect(counters() == "a=1")
        #expect(
            shell(
                folder.shard,
                "SELECT id, time_ms, reason, detail, epoch, partition, hex(producer), sequence, idempotency_id IS NULL,"
                    + " key IS NULL, increments, sum, hex(payload) FROM dead_letter")
                == "1|50|damaged|its checksum is wrong|3|5|000000000000F00D0000000000000001|1|1|1|2|5|"
                + Hex.text(damaged).uppercased())
        #expect(try shard.statistics().deadLetters == 1)
        #expect(try shard.watermarks(of: own) == [one.stream.producer: 2])
    }

    @Test func anOriginCoveredByAWatermarkIsSkipped() throws {
        try insertWatermark(of: 9, 4)
        var sweeper = BatchMaker(1)
        let origin = StreamID(partition: earlier, producer: BatchMaker.producer(9))
        let covered = sweeper.make([TestEntry("a", 1)], origin: BatchID(stream: origin, sequence: 4))
        let open = sweeper.make([TestEntry("a", 2)], origin: BatchID(stream: origin, sequence: 5))
        let applied = try #require(try apply(covered, open).applied)
        #expect(applied.repeated == Amount(increments: 1, sum: 1))
        #expect(applied.applied == Amount(increments: 1, sum: 2))
        #expect(counters() == "a=2")
        // Only the file's own streams get a watermark.
        #expect(try shard.watermarks(of: earlier) == [origin.producer: 4])
    }

    private func insertWatermark(of producer: UInt64, _ watermark: UInt64) throws {
        let id = Hex.text(BatchMaker.producer(producer).bytes.array)
        let sql = "INSERT INTO applied VALUES(2, 1, x'\(id)', \(watermark), 0, '0', 0, '0', 0, '0', 0, '0')"
        #expect(Child.run("/usr/bin/sqlite3", [folder.shard, sql]).result == 0)
    }

    @Test func reroutedKeysCountOncePerOrigin() throws {
        let origin = BatchID(stream: StreamID(partition: earlier, producer: BatchMaker.producer(9)), sequence: 1)
        var one = BatchMaker(1)
        var two = BatchMaker(2)
        // A key twice in one part (its sum did not fit one entry) counts twice; in another part of the origin, never.
        let part = one.make([TestEntry("a", 1), TestEntry("a", 2), TestEntry("b", 4)], origin: origin)
        let again = two.make([TestEntry("b", 4), TestEntry("c", 8)], origin: origin)
        let applied = try #require(try apply(part, again).applied)
        #expect(applied.repeated == Amount(increments: 1, sum: 4))
        #expect(counters() == "a=3 b=4 c=8")
        #expect(
            shell(folder.shard, "SELECT origin_epoch, origin_partition, origin_sequence, key FROM routed")
                == "2|1|1|a\n2|1|1|b\n2|1|1|c")
    }

    @Test func idempotentIncrementsCountOncePerKey() throws {
        var one = BatchMaker(1)
        let twice = one.make(
            [TestEntry("a", 100)],
            groups: [("id", [TestEntry("a", 1), TestEntry("b", 2)]), ("id", [TestEntry("a", 1), TestEntry("c", 4)])])
        let applied = try #require(try apply(twice).applied)
        #expect(applied.repeated == Amount(increments: 1, sum: 1))
        #expect(counters() == "a=101 b=2 c=4")
        var two = BatchMaker(2)
        let later = two.make([], groups: [("id", [TestEntry("a", 1)]), ("other", [TestEntry("a", 1)])])
        #expect(try apply(later).applied?.applied == Amount(increments: 1, sum: 1))
        #expect(counters() == "a=102 b=2 c=4")
    }

    @Test func aZeroCreatesItsKey() throws {
        var one = BatchMaker(1)
        _ = try apply(one.make([TestEntry("zero", 0)]))
        #expect(counters() == "zero=0")
        #expect(try shard.statistics().keys == 1)
    }

    @Test func aRetiredFileTakesNothing() throws {
        var one = BatchMaker(1)
        _ = try apply(one.make([TestEntry("a", 1)]))
        try shard.retire()
        try shard.retire()
        #expect(try shard.isRetired())
        #expect(try apply(one.make([TestEntry("a", 1)])) == .retired)
        shard.advanceClaimClock(to: 1 << 50, elapsed: 0)
        #expect(try shard.forgetClaims(retention: 1, oldestWaiting: nil, limit: 10) == 0)
        #expect(counters() == "a=1")
        #expect(try ShardReader(at: folder.shard).state == .retired)
        #expect(size(folder.shard + "-wal") == 0)
    }

    @Test func keysAreBytesInByteOrder() throws {
        let longest = String(repeating: "\u{1F600}", count: 128)
        let composed = "caf\u{E9}"
        let decomposed = "cafe\u{301}"
        let keys = ["\u{10FFFF}", "Z", "a", "é", "a b", composed, decomposed, longest, "\u{FFFD}", "~"]
        var one = BatchMaker(1)
        _ = try apply(one.make(keys.enumerated().map { TestEntry($1, Int64($0)) }))
        let cursor = try ShardReader(at: folder.shard).counters()
        var found: [[UInt8]] = []
        while try cursor.next() { found.append(Array(cursor.key)) }
        #expect(found == keys.map { Array($0.utf8) }.sorted { $0.lexicographicallyPrecedes($1) })
        let values = try ShardReader(at: folder.shard).values(
            of: [composed, decomposed, longest, "absent"].map { try Key($0) })
        #expect(values == [5, 6, 7, nil])
        #expect(longest.utf8.count == Limits.keyBytesMax)
    }
}
