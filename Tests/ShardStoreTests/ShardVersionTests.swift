// Files of earlier format versions, 1 of release 0.1.0 and 2: read as they are, brought up to date by whoever writes
// them, and never touched where a rebalance has closed them.

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
        #expect(version == "3")
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
        #expect(version == "3" && shell(folder.shard, contents) == before)
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
        #expect(version == "3")
        #expect(try ShardReader(at: folder.shard).losses() == [loss])
        #expect(claims().contains("import:X never"))

        let second = Folder()
        VersionOneFile.make(at: second.shard)
        #expect(try DeadLetterTable.delete([1], at: second.shard, expecting: expected) == 1)
        #expect(shell(second.shard, "PRAGMA user_version") == "3")
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

    // MARK: Version 2

    /// Makes a file of the format before claims were digests, with these claims of clients, of `a` at 400.
    private func makeVersionTwo(_ ids: [String], isRetired: Bool = false) throws {
        do { _ = try ShardFile.sample(in: folder) }
        let rows = ids.map { "INSERT INTO idempotency VALUES('\($0)', 'a', 400);" }.joined()
        let sql = """
            DROP TABLE claim; \(rows) INSERT INTO meta VALUES('claims_clock_ms', '400 0 0 0 0 0');
            UPDATE meta SET value = '\(isRetired ? "retired" : "open")' WHERE name = 'state'; PRAGMA user_version = 2
            """
        #expect(Child.run("/usr/bin/sqlite3", [folder.shard, sql]).result == 0)
    }

    /// Nothing is rewritten: what an earlier release has claimed is found where it is, until it expires.
    @Test func claimsOfVersionTwoAreKeptUntilTheyExpire() throws {
        try makeVersionTwo(["order-1", "order-2"])
        let shard = try ShardFile.openSample(folder.shard)
        #expect(version == "3" && shell(folder.shard, ".schema claim") == ShardSchemaTests.goldenClaim)
        let start: UInt64 = 1_000_000_000
        shard.advanceClaimClock(to: start, elapsed: 0)
        var one = BatchMaker(1)
        one.frozenAt = start
        func claim(_ ids: String...) throws -> Applied {
            let batch = one.make([], groups: ids.map { ($0, [TestEntry("a", 1)]) })
            return try #require(try shard.apply([batch], timeMilliseconds: 1).applied)
        }
        let applied = try claim("order-1", "order-2", "order-3")
        #expect(applied.repeated.increments == 2 && applied.applied.increments == 1)
        #expect(try claim("order-3", "order-1").repeated.increments == 2)
        #expect(shell(folder.shard, "SELECT count(*) FROM idempotency") == "2")
        #expect(try shard.statistics().claims == 1)
        // Those go first, they are older; then the new one.
        let age: UInt64 = 1_600_000
        shard.advanceClaimClock(to: start + 2 * age, elapsed: 2 * age)
        #expect(try shard.forgetClaims(retention: 1_000_000, oldestWaiting: nil, limit: 2) == 2)
        #expect(shell(folder.shard, "SELECT count(*) FROM idempotency") == "0")
        #expect(try shard.statistics().claims == 1)
        #expect(try shard.forgetClaims(retention: 1_000_000, oldestWaiting: nil, limit: 9) == 1)
        #expect(try shard.statistics().claims == 0)
    }

    @Test func aClosedFileOfVersionTwoStaysAsItIs() throws {
        try makeVersionTwo(["order-1"], isRetired: true)
        let shard = try ShardFile.openSample(folder.shard)
        #expect(try shard.isRetired())
        shard.advanceClaimClock(to: 1 << 50, elapsed: 0)
        #expect(try shard.forgetClaims(retention: 1, oldestWaiting: nil, limit: 9) == 0)
        let reader = try ShardReader(at: folder.shard, expecting: expected)
        #expect(try reader.count(of: .claims) == 0 && reader.rows(of: .claims).next() == nil)
        #expect(try reader.rows(of: .idempotency).next()?.claimTime == 400)
        #expect(try reader.hasClaim(Array("order-1".utf8), key: Array("a".utf8)))
        #expect(try !reader.hasClaim(Array("order-2".utf8), key: Array("a".utf8)))
        #expect(version == "2")
    }
}
