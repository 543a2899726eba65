// What a consumer and an operator ask of a shard beside applying: is it the newest copy, what does it hold, what may
// go.

import Glibc
import TallyCore
import Testing

@testable import ShardStore

@Suite struct ShardUpkeepTests {
    let folder = Folder()

    @Test func anOlderCopyIsRecognised() throws {
        let shard = try ShardFile.sample(in: folder)
        var one = BatchMaker(1)
        var two = BatchMaker(2)
        _ = try shard.apply(
            [one.make([TestEntry("a", 1)]), two.make([TestEntry("a", 1)]), two.make([TestEntry("a", 1)])],
            timeMilliseconds: 1)
        let unknown = BatchMaker.producer(3)
        let held = try shard.watermarks(of: shard.identity.partition)
        #expect(
            Consumer.MissingRange.between([one.stream.producer: 1, two.stream.producer: 1], and: held).isEmpty)
        let missing = Consumer.MissingRange.between(
            [unknown: 4, one.stream.producer: 2, two.stream.producer: 2], and: held)
        #expect(missing.map(\.producer) == [one.stream.producer, unknown])
        #expect(missing.map(\.sequences) == [2...2, 1...4])
        let error = StoreError.tooOld(folder.shard, missing: missing, in: shard.identity.partition)
        #expect(error.exitCode == 78)
        #expect(
            error.description == """
                \(folder.shard): the file is older than its queue, these batches (producer, sequences) were committed \
                once and are missing: 000000000000f00d0000000000000001 2, 000000000000f00d0000000000000003 1-4; put \
                back the newest copy of the file; if a consumer elsewhere works on another copy, that one is the \
                newest; if there is none any more, `tallymill repair \
                --accept-loss e3.p5/000000000000f00d0000000000000001:2-2 \
                --accept-loss e3.p5/000000000000f00d0000000000000003:1-4` goes on without them
                """)
    }

    @Test func aLongListOfLossesIsLeftToVerify() {
        let ranges = (1...4).map {
            Consumer.MissingRange(producer: BatchMaker.producer($0), sequences: 1...$0)
        }
        #expect(
            StoreError.acceptLoss(of: ranges, in: PartitionID(epoch: 1, number: 0))
                == "`tallymill repair --accept-loss PARTITION/PRODUCER:FIRST-LAST ...` goes on without them")
    }

    @Test func watermarksOfSomeStreams() throws {
        let shard = try ShardFile.sample(in: folder)
        var one = BatchMaker(1)
        var two = BatchMaker(2)
        _ = try shard.apply(
            [one.make([TestEntry("a", 1)]), two.make([TestEntry("a", 1)]), two.make([TestEntry("a", 1)])],
            timeMilliseconds: 1)
        let unknown = StreamID(partition: two.stream.partition, producer: BatchMaker.producer(3))
        #expect(try shard.watermarks(of: [two.stream, unknown]) == [two.stream: 2])
        #expect(try shard.watermarks(of: [StreamID]()) == [:])
        // Not those of another partition, unless they are asked for: a rebalance brings them along.
        let id = Hex.text(unknown.producer.bytes.array)
        let carried = StreamID(partition: PartitionID(epoch: 2, number: 5), producer: unknown.producer)
        let sql = "INSERT INTO applied VALUES(2, 5, x'\(id)', 4, 0, '0', 0, '0', 0, '0', 0, '0')"
        #expect(Child.run("/usr/bin/sqlite3", [folder.shard, sql]).result == 0)
        #expect(try shard.watermarks(of: [unknown, carried]) == [carried: 4])
    }

    /// Deleted, moved away, or another one put there: SQLite would go on with what nobody finds again.
    @Test(arguments: [false, true])
    func aFileThatIsNotInItsPlace(isReplaced: Bool) throws {
        let shard = try ShardFile.sample(in: folder)
        var one = BatchMaker(1)
        _ = try shard.apply([one.make([TestEntry("a", 1)])], timeMilliseconds: 1)
        #expect(rename(folder.shard, folder.shard + ".away") == 0)
        if isReplaced { #expect(Child.run("/bin/cp", [folder.shard + ".away", folder.shard]).result == 0) }
        let batch = one.make([TestEntry("a", 1)])
        for _ in 0..<2 {
            #expect {
                _ = try shard.apply([batch], timeMilliseconds: 2)
            } throws: { error in
                (error as? StoreError)?.code == .missing && "\(error)".contains("was moved away, deleted or replaced")
            }
        }
    }

    /// A web node that slept through a purge must not call a loss what nobody can know any more.
    @Test func watermarksThatWerePurgedAreAllThere() throws {
        let shard = try ShardFile.sample(in: folder)
        let old = StreamID(partition: PartitionID(epoch: 1, number: 0), producer: BatchMaker.producer(1))
        #expect(try shard.watermarks(of: [old]) == [:])
        try ShardUpkeep.forgetStreams(before: 2, at: folder.shard, expecting: ShardIdentity.sample.expectation)
        #expect(try shard.watermarks(of: [old]) == [old: Limits.sequenceMax])
    }

    @Test func statisticsAreRunningFigures() throws {
        let shard = try ShardFile.sample(in: folder)
        let empty = try shard.statistics()
        #expect(empty.keys == 0 && empty.total == 0 && empty.lastCommitMilliseconds == nil && empty.deadLetters == 0)
        var one = BatchMaker(1)
        _ = try shard.apply([one.make([TestEntry("a", 3), TestEntry("b", -8)])], timeMilliseconds: 5)
        _ = try shard.apply([one.make([TestEntry("a", 1), TestEntry("c", 1)])], timeMilliseconds: 6)
        let statistics = try shard.statistics()
        #expect(statistics.keys == 3)
        #expect(statistics.total == -3)
        #expect(statistics.lastCommitMilliseconds == 6)
        #expect(statistics.fileBytes == size(folder.shard) + size(folder.shard + "-wal"))
    }

    @Test func aCheckpointEmptiesTheLogIntoTheFile() throws {
        let shard = try ShardFile.sample(in: folder)
        var one = BatchMaker(1)
        _ = try shard.apply([one.make([TestEntry("a", 3)])], timeMilliseconds: 5)
        try shard.checkpoint()
        // The file alone now holds everything.
        Child.run("/bin/cp", [folder.shard, folder.path + "/copy.sqlite"])
        #expect(try ShardReader(at: folder.path + "/copy.sqlite").totals() == ShardTotals(keys: 1, sum: 3))
        withExtendedLifetime(shard) {}
    }

    /// A reader that needs the file as it was: what is committed is made safe in the log, and copied when he has gone.
    @Test func aCheckpointThatAReaderHoldsBack() throws {
        let shard = try ShardFile.sample(in: folder)
        var one = BatchMaker(1)
        _ = try shard.apply([one.make([TestEntry("a", 3)])], timeMilliseconds: 5)
        #expect(try shard.secure())
        var reader: ShardReader? = try ShardReader(at: folder.shard)
        _ = try shard.apply([one.make([TestEntry("b", 4)])], timeMilliseconds: 6)
        let held = try shard.secure()
        #expect(!held)
        #expect(try !shard.checkpointSome())
        #expect(try reader?.totals() == ShardTotals(keys: 1, sum: 3))
        // It goes on.
        _ = try shard.apply([one.make([TestEntry("c", 5)])], timeMilliseconds: 7)
        reader = nil
        #expect(try shard.checkpointSome() && shard.secure())
        Child.run("/bin/cp", [folder.shard, folder.path + "/copy.sqlite"])
        #expect(try ShardReader(at: folder.path + "/copy.sqlite").totals() == ShardTotals(keys: 3, sum: 12))
        withExtendedLifetime(shard) {}
    }

    @Test func exitCodesAreTheContract() {
        let codes = StoreError.Code.allCases.map { code in
            "\(code)=\(StoreError(code, "", "", "").exitCode)"
        }
        #expect(
            codes.joined(separator: " ") == """
                corrupt=65 busy=75 full=74 io=74 mismatch=78 tooOld=78 locked=75 missing=78 exists=78 permission=78 \
                other=1
                """)
    }
}
