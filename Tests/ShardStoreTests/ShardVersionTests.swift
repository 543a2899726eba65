// Files of release 0.1.0, format version 1: read as they are, brought up to date by whoever writes them, and never
// touched where a rebalance has closed them.

import TallyCore
import Testing

@testable import ShardStore

@Suite struct ShardVersionTests {
    let folder = Folder()
    private let own = ShardIdentity.sample.partition
    private let expected = ShardIdentity.sample.expectation
    private let contents = """
        SELECT * FROM counters; SELECT * FROM applied; SELECT * FROM routed; SELECT * FROM dead_letter;
        SELECT * FROM meta WHERE name <> 'forgotten_epoch' ORDER BY name
        """

    private var version: String { shell(folder.shard, "PRAGMA user_version") }

    private func claims() -> String {
        shell(folder.shard, "SELECT id || ' ' || seen_ms FROM idempotency ORDER BY id")
            .replacing("import:\(VersionOneFile.importID)", with: "import:X")
            .replacing("dead-letter:\(VersionOneFile.importID)", with: "dead-letter:X")
            .replacing("\(Int64.max)", with: "never").replacing("\n", with: ", ")
    }

    @Test func itsConsumerBringsItUpToDate() throws {
        VersionOneFile.make(at: folder.shard)
        let before = shell(folder.shard, contents)
        let shard = try ShardFile.openSample(folder.shard)
        #expect(version == "2")
        #expect(shell(folder.shard, contents) == before)
        // What was purged before it was written down: nothing is known of epochs before 3.
        #expect(shell(folder.shard, "SELECT value FROM meta WHERE name = 'forgotten_epoch'") == "2")
        #expect(shell(folder.shard, ".schema lost") == ShardSchemaTests.goldenLost)
        // Claims of tools did expire; those of clients do, also where they look like a tool's.
        #expect(
            claims() == "dead-letter:X:x never, import:X never, import:X5 400, import:X:2 never, import:mine 400, "
                + "order-1 400")
        #expect(shell(folder.shard, "PRAGMA integrity_check") == "ok")
        #expect(try shard.watermarks(of: own) == [VersionOneFile.producer: 2])
        // It goes on from the newest claim.
        #expect(shard.claimClock == ClaimClock(time: 400))
        // It goes on as any shard.
        var one = BatchMaker(1)
        let batches = (0..<3).map { _ in one.make([TestEntry("a", 6)], groups: [("order-1", [TestEntry("a", 1)])]) }
        shard.advanceClaimClock(to: 500, elapsed: 0)
        let applied = try #require(try shard.apply(batches, timeMilliseconds: 9).applied)
        #expect(applied.skippedBatches == 2)
        #expect(shell(folder.shard, "SELECT value FROM counters") == "18")
        #expect(try shard.statistics().total == 18)
    }

    @Test func aSecondOpeningChangesNothing() throws {
        VersionOneFile.make(at: folder.shard)
        do { _ = try ShardFile.openSample(folder.shard) }
        let before = shell(folder.shard, contents)
        do { _ = try ShardFile.openSample(folder.shard) }
        #expect(version == "2" && shell(folder.shard, contents) == before)
    }

    @Test func readersLeaveItAsItIs() throws {
        VersionOneFile.make(at: folder.shard)
        do {
            let reader = try ShardReader(at: folder.shard, expecting: expected)
            #expect(try reader.losses().isEmpty)
            var memory = ShardMemory()
            memory.claimClock = ClaimClock(time: 400)
            #expect(try reader.memory() == memory)
            #expect(try reader.count(of: .losses) == 0)
            #expect(try reader.rows(of: .losses).next() == nil)
            #expect(try reader.count(of: .idempotency) == 6)
            #expect(try reader.hasClaims(ofImport: VersionOneFile.importID))
            #expect(try reader.totals() == ShardTotals(keys: 1, sum: 12))
            #expect(try reader.records(of: own).mapValues(\.watermark) == [VersionOneFile.producer: 2])
            #expect(try reader.deadLetters(limit: 9).count == 1)
            #expect(try reader.quickCheck(limit: 9).isEmpty)
        }
        #expect(version == "1")
    }

    @Test func aClosedOneStaysAsItIs() throws {
        VersionOneFile.make(at: folder.shard, isRetired: true)
        let before = shell(folder.shard, contents + "; SELECT * FROM idempotency")
        do {
            let shard = try ShardFile.openSample(folder.shard)
            #expect(try shard.isRetired())
            var one = BatchMaker(1)
            #expect(try shard.apply([one.make([TestEntry("a", 1)])], timeMilliseconds: 1) == .retired)
            shard.advanceClaimClock(to: 1 << 50, elapsed: 0)
            #expect(try shard.forgetClaims(retention: 1, oldestWaiting: nil, limit: 9) == 0)
            #expect(throws: StoreError.self) {
                try DeadLetterTable.delete([1], at: folder.shard, expecting: expected)
            }
            #expect(throws: StoreError.self) {
                try ShardUpkeep.accept([], time: 1, at: folder.shard, expecting: expected)
            }
        }
        #expect(version == "1")
        #expect(shell(folder.shard, contents + "; SELECT * FROM idempotency") == before)
    }

    /// A tool may be the first that writes a file, while its consumer is away.
    @Test func aToolBringsItUpToDate() throws {
        VersionOneFile.make(at: folder.shard)
        let loss = StreamLoss(
            stream: StreamID(partition: own, producer: VersionOneFile.producer), sequences: 3...4)
        try ShardUpkeep.accept([loss], time: 1, at: folder.shard, expecting: expected)
        #expect(version == "2")
        #expect(try ShardReader(at: folder.shard).losses() == [loss])
        #expect(claims().contains("import:X never"))

        let second = Folder()
        VersionOneFile.make(at: second.shard)
        #expect(try DeadLetterTable.delete([1], at: second.shard, expecting: expected) == 1)
        #expect(shell(second.shard, "PRAGMA user_version") == "2")
    }

    /// A refusal leaves the old version, too: nothing is half done.
    @Test func aToolThatIsRefusedChangesNothing() throws {
        VersionOneFile.make(at: folder.shard)
        let loss = StreamLoss(
            stream: StreamID(partition: own, producer: VersionOneFile.producer), sequences: 7...9)
        #expect(throws: StoreError.self) {
            try ShardUpkeep.accept([loss], time: 1, at: folder.shard, expecting: expected)
        }
        #expect(version == "1")
    }
}
