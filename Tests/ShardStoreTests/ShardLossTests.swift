// What an operator declares lost, what an import leaves behind, what a purge forgets: the transactions of tools, while
// the shard's consumer has the file open.

import TallyCore
import Testing

@testable import ShardStore

@Suite struct ShardLossTests {
    let folder = Folder()
    let shard: ShardFile
    private let own = ShardIdentity.sample.partition
    private let expected = ShardIdentity.sample.expectation

    init() throws {
        shard = try ShardFile.sample(in: folder)
    }

    private func apply(_ batches: [UInt8]...) throws -> Applied {
        try #require(try shard.apply(batches, timeMilliseconds: 5).applied)
    }

    private func accept(_ losses: (BatchMaker, ClosedRange<UInt64>)...) throws(StoreError) {
        try ShardUpkeep.accept(
            losses.map { StreamLoss(stream: $0.0.stream, sequences: $0.1) }, time: 9, at: folder.shard,
            expecting: expected)
    }

    private func losses() throws -> [StreamLoss] { try ShardReader(at: folder.shard).losses() }

    private func record(_ maker: BatchMaker) throws -> StreamRecord? {
        try ShardReader(at: folder.shard).records(of: own)[maker.stream.producer]
    }

    /// A stream whose batches 3 and 4 are gone: 5 increments with the sum of -60.
    private func holed() throws -> (BatchMaker, third: [UInt8], fourth: [UInt8]) {
        var one = BatchMaker(1)
        _ = try apply(one.make([TestEntry("a", 1)]), one.make([TestEntry("a", 10)]))
        let third = one.make([TestEntry("a", 40, increments: 2)])
        let fourth = one.make([TestEntry("b", -100, increments: 3)])
        return (one, third, fourth)
    }

    // MARK: Losses

    @Test func anAcceptedLossIsPassedAndTheNextBatchTellsHowMuchItWas() throws {
        var (one, third, fourth) = try holed()
        try accept((one, 3...4))
        #expect(try shard.watermarks(of: own) == [one.stream.producer: 4])
        #expect(try losses() == [StreamLoss(stream: one.stream, sequences: 3...4)])
        let applied = try apply(one.make([TestEntry("c", 7)]))
        #expect(applied.applied == Amount(increments: 1, sum: 7) && applied.dead == .zero)
        let lost = Amount(increments: 5, sum: -60)
        #expect(try losses() == [StreamLoss(stream: one.stream, sequences: 3...4, amount: lost)])
        let record = try #require(try record(one))
        #expect(record.through == one.cumulative)
        #expect(record.through == record.applied + record.repeated + record.dead + lost)
        // Final: they are skipped, should they come after all.
        #expect(try apply(third, fourth).skippedBatches == 2)
        #expect(shell(folder.shard, "SELECT sum(value) FROM counters") == "18")
        #expect(shell(folder.shard, "SELECT first, last, increments, sum, time_ms FROM lost") == "3|4|5|-60|9")
    }

    /// It says so once: a later batch that does not continue the ledger is damaged, as where nothing was lost.
    @Test func aLossIsSettledOnce() throws {
        var (one, _, _) = try holed()
        try accept((one, 3...4))
        _ = try apply(one.make([TestEntry("c", 7)]))
        var forged = BatchMaker(1)
        for _ in 0..<5 { _ = forged.make([TestEntry("x", 1)]) }
        let dead = try apply(forged.make([TestEntry("x", 1)]))
        #expect(dead.applied == .zero)
        #expect(try ShardReader(at: folder.shard).deadLetters(limit: 9).map(\.reason) == [.damaged])
        #expect(try losses().map(\.amount) == [Amount(increments: 5, sum: -60)])
    }

    @Test func lossesThatFollowEachOtherAreOne() throws {
        var (one, _, _) = try holed()
        try accept((one, 3...3))
        try accept((one, 4...4))
        #expect(try losses().map(\.sequences) == [3...4])
        _ = try apply(one.make([TestEntry("c", 7)]))
        _ = one.make([TestEntry("c", 2)])
        try accept((one, 6...6))
        _ = try apply(one.make([TestEntry("c", 7)]))
        #expect(try losses().map(\.sequences) == [3...4, 6...6])
        #expect(try losses().map(\.amount) == [Amount(increments: 5, sum: -60), Amount(increments: 1, sum: 2)])
    }

    @Test func aStreamThatNeverReachedTheFileCanBeLost() throws {
        var one = BatchMaker(1)
        for _ in 0..<3 { _ = one.make([TestEntry("a", 5)]) }
        try accept((one, 1...3))
        #expect(try apply(one.make([TestEntry("a", 1)])).applied.sum == 1)
        #expect(try losses().map(\.amount) == [Amount(increments: 3, sum: 15)])
    }

    @Test func aKnownAmountIsTakenAtItsWord() throws {
        var (one, _, _) = try holed()
        let loss = StreamLoss(stream: one.stream, sequences: 3...4, amount: Amount(increments: 5, sum: -60))
        try ShardUpkeep.accept([loss], time: 9, at: folder.shard, expecting: expected)
        #expect(try apply(one.make([TestEntry("c", 7)])).applied.sum == 7)
        #expect(try losses() == [loss])
        #expect(try record(one)?.unaccounted == loss.amount)
    }

    @Test func onlyWhatIsMissingCanBeLost() throws {
        let (one, _, _) = try holed()
        for range in [2...3, 4...5, 1...4, 5...5] as [ClosedRange<UInt64>] {
            let error = #expect(throws: StoreError.self) { try accept((one, range)) }
            #expect(
                error?.description == """
                    \(folder.shard): it holds producer \(one.stream.producer) up to 2: \
                    \(range.lowerBound)-\(range.upperBound) is not what is missing; look at what `tallymill verify` \
                    finds now
                    """)
            #expect(error?.exitCode == 78)
        }
        // All or none.
        let two = BatchMaker(2)
        #expect(throws: StoreError.self) { try accept((one, 3...4), (two, 2...2)) }
        #expect(try shard.watermarks(of: own) == [one.stream.producer: 2])
        #expect(try losses().isEmpty)
    }

    @Test func nothingIsLostTwice() throws {
        let (one, _, _) = try holed()
        try accept((one, 3...4))
        for range in [3...4, 4...9] as [ClosedRange<UInt64>] {
            let error = #expect(throws: StoreError.self) { try accept((one, range)) }
            #expect(
                error?.cause
                    == "some of \(range.lowerBound)-\(range.upperBound) of producer \(one.stream.producer) is declared "
                    + "lost already")
        }
        let old = BatchMaker(7, partition: PartitionID(epoch: 2, number: 1))
        #expect(throws: StoreError.self) { try accept((old, 5...6), (old, 6...7)) }
        #expect(try losses().map(\.sequences) == [3...4])
    }

    /// An earlier epoch's loss is written down, and nothing of this file follows from it.
    @Test func lossesOfEarlierEpochsAreKept() throws {
        let old = BatchMaker(7, partition: PartitionID(epoch: 2, number: 1))
        try accept((old, 5...6))
        #expect(try losses() == [StreamLoss(stream: old.stream, sequences: 5...6)])
        #expect(try ShardReader(at: folder.shard).records(of: old.stream.partition).isEmpty)
        let cursor = try ShardReader(at: folder.shard).rows(of: .losses)
        #expect(try cursor.next()?.values[3...4] == [.integer(5), .integer(6)])
        #expect(try cursor.next() == nil)
    }

    @Test func aClosedFileIsLeftAlone() throws {
        let (one, _, _) = try holed()
        try shard.retire()
        let before = shell(folder.shard, "SELECT * FROM meta; SELECT * FROM applied")
        for tool in 0..<3 {
            let error = #expect(throws: StoreError.self) { try touch(tool, one) }
            #expect(
                error?.description
                    == "\(folder.shard): a rebalance has closed this file; look at the newest epoch")
        }
        #expect(shell(folder.shard, "SELECT * FROM meta; SELECT * FROM applied") == before)
        #expect(try losses().isEmpty)
    }

    private func touch(_ tool: Int, _ maker: BatchMaker) throws {
        switch tool {
        case 0: try accept((maker, 3...4))
        case 1: try ShardUpkeep.note(import: Bytes16(high: 1, low: 1), at: folder.shard, expecting: expected)
        default: try ShardUpkeep.forgetStreams(before: 3, at: folder.shard, expecting: expected)
        }
    }

    // MARK: Imports

    @Test func aCompleteImportIsRememberedByItsName() throws {
        let id = Bytes16(high: 0x1_0000, low: 5)
        let other = Bytes16(high: 0x1_0000, low: 6)
        let names = ["import:\(id)", "import:\(id):2", "import:\(other)", "import:\(id)7", "client"]
        var one = BatchMaker(1)
        let groups = names.map { (id: $0, entries: [TestEntry("a", 1)]) }
        #expect(try apply(one.make([], groups: groups)).applied.increments == 5)
        #expect(try ShardReader(at: folder.shard).hasClaims(ofImport: id))
        for _ in 0..<2 { try ShardUpkeep.note(import: id, at: folder.shard, expecting: expected) }
        #expect(try ShardReader(at: folder.shard).memory().imports == [id])
        #expect(try !ShardReader(at: folder.shard).hasClaims(ofImport: id))
        #expect(try ShardReader(at: folder.shard).hasClaims(ofImport: other))
        #expect(shell(folder.shard, "SELECT count(*) FROM idempotency") == "1")
        #expect(shell(folder.shard, "SELECT count(*) FROM claim") == "2", "clients' with similar names")
        // Whatever still arrives of it is repeated, also parts that were never seen here; nobody else's is.
        let more = groups + [(id: "import:\(id):3", entries: [TestEntry("b", 1)])]
        #expect(try apply(one.make([], groups: more)).repeated.increments == 6)
        #expect(try apply(one.make([], groups: [("import:\(other):2", [TestEntry("b", 1)])])).applied.increments == 1)
        try ShardUpkeep.note(import: other, at: folder.shard, expecting: expected)
        #expect(try ShardReader(at: folder.shard).memory().imports == [id, other])
    }

    /// Notes that were made before a crash let the rows go the next time.
    @Test func manyClaimsOfAnImportGoInSteps() throws {
        let id = Bytes16(high: 3, low: 5)
        let rows = """
            INSERT INTO idempotency WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20005)
            SELECT 'import:\(id)', 'k' || i, 9223372036854775807 FROM n;
            INSERT INTO meta VALUES('imports', '\(id)')
            """
        #expect(Child.run("/usr/bin/sqlite3", [folder.shard, rows]).result == 0)
        try ShardUpkeep.note(import: id, at: folder.shard, expecting: expected)
        #expect(shell(folder.shard, "SELECT count(*) FROM idempotency") == "0")
        #expect(try ShardReader(at: folder.shard).memory().imports == [id])
    }

    // MARK: Purge

    @Test func whatAPurgeForgotIsNotCountedAgain() throws {
        let old = PartitionID(epoch: 2, number: 1)
        let stream = StreamID(partition: old, producer: BatchMaker.producer(9))
        var one = BatchMaker(1)
        let part = one.make([TestEntry("a", 1)], origin: BatchID(stream: stream, sequence: 5))
        #expect(try apply(part).applied.sum == 1)
        try ShardUpkeep.forgetStreams(before: 3, at: folder.shard, expecting: expected)
        #expect(shell(folder.shard, "SELECT count(*) FROM routed") == "0")
        #expect(try ShardReader(at: folder.shard).memory().forgottenEpoch == 2)
        #expect(try shard.watermarks(of: own) == [one.stream.producer: 1])
        // The same once more, as a node sends it that slept; and an entry of an idempotency key with it.
        var two = BatchMaker(2)
        let again = two.make(
            [TestEntry("a", 1)], groups: [("id", [TestEntry("b", 2)])], origin: BatchID(stream: stream, sequence: 5))
        #expect(try apply(again).dead == Amount(increments: 2, sum: 3))
        let letters = try ShardReader(at: folder.shard).deadLetters(limit: 9)
        #expect(letters.map(\.reason) == [.forgotten, .forgotten])
        #expect(letters.map(\.detail) == Array(repeating: "epoch 2, from which it comes, was purged", count: 2))
        #expect(shell(folder.shard, "SELECT count(*) FROM claim") == "1")
        // A later epoch's origins are known, and what was forgotten stays forgotten.
        try ShardUpkeep.forgetStreams(before: 2, at: folder.shard, expecting: expected)
        #expect(try ShardReader(at: folder.shard).memory().forgottenEpoch == 2)
        let known = StreamID(partition: PartitionID(epoch: 3, number: 1), producer: BatchMaker.producer(9))
        let fresh = two.make([TestEntry("a", 4)], origin: BatchID(stream: known, sequence: 1))
        #expect(try apply(fresh).applied.sum == 4)
    }
}
