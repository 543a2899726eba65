// Dead letters are read like everything else, and deleted beside the file's writer.

import ShardStore
import Testing

@testable import TallyCore

@Suite struct DeadLetterTableTests {
    private let folder = Folder()

    /// A shard with three letters: 1 and 2 alike, 3 damaged.
    private func shard() throws -> (ShardFile, damaged: [UInt8]) {
        let shard = try ShardFile.sample(in: folder)
        var one = BatchMaker(1)
        let overflowing = one.make(
            [TestEntry("a", .max), TestEntry("a", 7), TestEntry("a", 7)])
        var damaged = one.make([TestEntry("b", 5)])
        damaged[damaged.count - 1] ^= 1
        for batch in [overflowing, damaged] {
            guard case .commit = try shard.apply([batch], timeMilliseconds: 5) else {
                preconditionFailure("the batches were not committed")
            }
        }
        return (shard, damaged)
    }

    private func delete(_ rows: [Int64], _ expected: ShardExpectation = ShardIdentity.sample.expectation)
        throws(StoreError) -> Int
    {
        try DeadLetterTable.delete(rows, at: folder.shard, expecting: expected)
    }

    @Test func reading() throws {
        let (_, damaged) = try shard()
        let reader = try ShardReader(at: folder.shard)
        let rows = try reader.deadLetters(limit: 10)
        #expect(rows.map(\.row) == [1, 2, 3])
        #expect(rows.map(\.reason) == [.overflow, .overflow, .damaged])
        #expect(rows.map(\.key) == [Array("a".utf8), Array("a".utf8), nil])
        #expect(rows.map(\.amount.sum) == [7, 7, 5])
        #expect(rows.map(\.batch.sequence) == [1, 1, 2] && rows.allSatisfy { $0.timeMilliseconds == 5 })
        #expect(try reader.deadLetters(after: 1, limit: 1) == [rows[1]])
        #expect(try reader.deadLetters(limit: 10, reason: .damaged) == [rows[2]])
        #expect(try reader.deadLetters(of: rows[0].batch) == Array(rows[...1]))
        #expect(try reader.deadLettersWithTwins() == [rows[0]])
        #expect(try reader.deadLetter(2) == rows[1])
        #expect(try reader.deadLetter(4) == nil)
        #expect(try reader.deadLetterCount() == 3)
        #expect(try reader.deadLetterCount(reason: .overflow) == 2)
        #expect(try reader.newestDeadLetter() == 3)
        #expect(try reader.deadLetterPayload(3) == damaged)
        #expect(try reader.deadLetterPayload(1).isEmpty)
        #expect(rows.map(\.payloadBytes) == [0, 0, damaged.count])
        #expect(try !reader.hasClaim(Array("x".utf8), key: Array("a".utf8)))
    }

    @Test func deletingBesideTheWriter() throws {
        let (shard, _) = try shard()
        #expect(try delete([1, 3, 9]) == 2)
        #expect(try delete([1, 3]) == 0)
        #expect(try ShardReader(at: folder.shard).deadLetters(limit: 10).map(\.row) == [2])
        // The writer sees it, goes on, and never gives a number twice.
        #expect(try shard.statistics().deadLetters == 1)
        var two = BatchMaker(2)
        let again = two.make([TestEntry("a", 9)])
        #expect(try shard.apply([again], timeMilliseconds: 6).applied?.dead == Amount(increments: 1, sum: 9))
        #expect(try ShardReader(at: folder.shard).deadLetters(limit: 10).map(\.row) == [2, 4])
        #expect(try shard.watermarks(of: ShardIdentity.sample.partition).count == 2)
    }

    @Test func refusals() throws {
        let (shard, _) = try shard()
        let other = ShardExpectation(
            cluster: ShardIdentity.sample.cluster, partition: ShardIdentity.sample.partition, partitions: 9)
        #expect { try delete([1], other) } throws: { ($0 as? StoreError)?.code == .mismatch }
        try shard.retire()
        #expect { try delete([1]) } throws: {
            ($0 as? StoreError)?.description
                == "\(folder.shard): a rebalance has closed this file; look for the dead letters in the newest epoch"
        }
        #expect(try ShardReader(at: folder.shard).deadLetterCount() == 3)
        #expect {
            try DeadLetterTable.delete([1], at: folder.path + "/none", expecting: ShardIdentity.sample.expectation)
        } throws: { ($0 as? StoreError)?.code == .missing }
    }
}
