// Dead letters: found, shown, counted once more exactly once, or dropped, while consumers run.

import RedisQueue
import ServiceKit
import ShardConsumer
import ShardStore
import TestSupport
import Testing

@testable import Operations
@testable import TallyCore

@Suite(.serialized) struct DeadLetterTests {
    private static let left = PartitionID(epoch: 1, number: 0)
    private static let a = key("a", in: 0, of: 2)
    private static let b = key("b", in: 1, of: 2)

    /// A running cluster in which these batches have been counted.
    private func cluster(_ batches: [(PartitionID, [UInt8])]) throws -> TestCluster {
        let cluster = try TestCluster()
        for (partition, bytes) in batches { try cluster.append(bytes, to: partition) }
        try cluster.startConsumers()
        try drain(cluster)
        return cluster
    }

    private func drain(_ cluster: TestCluster) throws {
        let topology = try cluster.topology
        #expect(try waitUntil { try cluster.keys().lengths(of: topology) == 0 })
    }

    private func list(_ cluster: TestCluster) throws(Failure) -> [FoundDeadLetter] {
        var letters: [FoundDeadLetter] = []
        try DeadLetters(cluster.folder).forEach { letters.append($0) }
        return letters
    }

    private func replay(
        _ cluster: TestCluster, _ selection: DeadLetters.Selection
    ) throws(Failure) -> [DeadLetterID: DeadLetters.Fate] {
        var fates: [DeadLetterID: DeadLetters.Fate] = [:]
        let letters = try DeadLetters(cluster.folder)
        try letters.check(selection, replays: true)
        try letters.replay(selection, cluster.access, patience: .short) { fates[$0.id] = $1 }
        return fates
    }

    /// One counter is full, and an increment of 7 was too much for it.
    private func overflown() throws -> TestCluster {
        let full = Amount(increments: 1, sum: Int128(Int64.max))
        return try cluster([
            (Self.left, batch([(Self.a, .max)], producer: 1, of: Self.left)),
            (Self.left, batch([(Self.a, 7)], producer: 1, sequence: 2, before: full, of: Self.left)),
        ])
    }

    @Test func names() {
        #expect(DeadLetterName("00f0c9a31d2e84b7")?.description == "00f0c9a31d2e84b7")
        for text in ["", "3:17", "0f0c9a31d2e84b7", "000f0c9a31d2e84b7", "+0f0c9a31d2e84b7", "00f0c9a31d2e84bg"] {
            #expect(DeadLetterName(text) == nil, "\(text)")
        }
    }

    @Test func listAndShow() throws {
        var damaged = batch([(Self.b, 5)], producer: 2, of: PartitionID(epoch: 1, number: 1))
        damaged[damaged.count - 1] ^= 1
        let cluster = try cluster([
            (Self.left, batch([(Self.a, .max), (Self.a, 7)], producer: 1, of: Self.left)),
            (PartitionID(epoch: 1, number: 1), damaged),
        ])
        let letters = try DeadLetters(cluster.folder)
        #expect(letters.count().letters == 2 && letters.count().missing.isEmpty)
        #expect(letters.count(reason: .damaged).letters == 1)
        let found = try list(cluster)
        #expect(found.map(\.id.description) == ["0:1", "1:1"] && found[0].name != found[1].name)
        #expect(found[0].letter.amount == Amount(increments: 1, sum: 7))
        #expect(try letters.find(found[1].id) == found[1])
        #expect(try letters.payload(of: found[0].id).isEmpty)
        #expect(try letters.payload(of: found[1].id) == damaged)
        var limited: [FoundDeadLetter] = []
        try letters.forEach(limit: 1) { limited.append($0) }
        try letters.forEach(reason: .damaged) { limited.append($0) }
        #expect(limited == found)

        let time = Timestamp.rfc3339(milliseconds: Int64(found[0].letter.timeMilliseconds))
        let producer = "000000000000f00d0000000000000001"
        #expect(
            DeadLetterWriter.json(found[0]) == #"""
                {"id":"\#(found[0].name)","time_ms":\#(found[0].letter.timeMilliseconds),\#
                "reason":"overflow","counted":"no",\#
                "detail":"adding 7 would leave the range of Int64","key":"\#(Self.a)","increments":1,"sum":7,\#
                "idempotency_key":null,"batch":{"producer":"\#(producer)","epoch":1,"partition":0,"sequence":1},\#
                "payload_bytes":0}
                """#)
        #expect(DeadLetterWriter.json(found[1], payload: damaged).hasSuffix(#","payload":"\#(Hex.text(damaged))"}"#))
        #expect(
            DeadLetterWriter.table([found[0]]) == """
                ID                TIME                      REASON    INCREMENTS  SUM  KEY\(spaces(Self.a))  BATCH
                \(found[0].name)  \(time)  overflow           1    7  "\(Self.a)"  e1.p0 \(producer) 1

                """)
        #expect(
            DeadLetterWriter.details(found[0], payload: []) == """
                id               \(found[0].name)
                time             \(time)
                reason           overflow: adding 7 would leave the range of Int64
                meaning          it was not counted: the counter would leave the range of a 64-bit number
                key              "\(Self.a)"
                increments       1
                sum              7
                idempotency key  none
                producer         \(producer)
                partition        e1.p0
                sequence         1

                """)
        let details = DeadLetterWriter.details(found[1], payload: damaged)
        #expect(details.contains("reason           damaged: its checksum is wrong\n"))
        #expect(details.contains("frozen at        1970-01-01T00:00:00.007Z\n"))
        #expect(details.contains("stream so far    increments 1, sum 5\n"))
        #expect(details.contains("\n00000000  54 4d 42 01 00 00 00 00 00 00 f0 0d 00 00 00 00  TMB............."))
    }

    private func spaces(_ key: String) -> String { String(repeating: " ", count: key.count - 1) }

    @Test func aLetterThatFitsIsCounted() throws {
        let cluster = try overflown()
        let courier = Courier(cluster.access)
        try courier.deliver([(Self.a, -100)])
        try courier.settle()
        let id = DeadLetterID(partition: 0, row: 1)
        #expect(try replay(cluster, .these([id])) == [id: .counted])
        #expect(try list(cluster).isEmpty)
        #expect(try cluster.counters() == [Self.a: .max - 93])
        let refusal = failure { () throws(Failure) in _ = try replay(cluster, .these([id])) }
        #expect(refusal?.code == .failure)
        #expect(
            refusal?.report == """
                tallymill: there is no dead letter at 0:1
                  `tallymill dead-letters list` shows all.
                """)
    }

    /// One letter, one name, one count in the ledger, however often it is replayed.
    @Test func aLetterThatStillDoesNotFitStaysWhatItIs() throws {
        let cluster = try overflown()
        let before = try list(cluster)
        for _ in 0..<2 { #expect(try replay(cluster, .all(nil)) == [before[0].id: .stillDead]) }
        #expect(try list(cluster) == before)
        #expect(try cluster.counters() == [Self.a: .max])
        let location = cluster.folder.shard(0, of: try cluster.topology)
        let records = try ShardReader(at: location.path).records(of: Self.left)
        #expect(records.values.reduce(Amount.zero) { $0 + $1.dead } == Amount(increments: 1, sum: 7))
        #expect(records.values.allSatisfy { $0.unaccounted == .zero })
        let letters = try DeadLetters(cluster.folder)
        #expect(try letters.find([before[0].name]) == before)
        let unknown = try #require(DeadLetterName("0000000000000001"))
        let refusal = failure { () throws(Failure) in _ = try letters.find([before[0].name, unknown]) }
        #expect(refusal?.what == "there is no dead letter 0000000000000001")
    }

    /// Killed between the delivery and the deletion, whatever came of the delivery.
    @Test func aRepeatedReplayCountsOnce() throws {
        let cluster = try overflown()
        let first = try #require(try list(cluster).first)
        let courier = Courier(cluster.access)
        _ = try courier.deliver(increments([(Self.a, 7)]), idempotencyKey: first.letter.replayKey)  // `settle` waits
        try courier.settle()
        #expect(try list(cluster) == [first], "it did not fit again")
        #expect(try replay(cluster, .these([first.id])) == [first.id: .stillDead])
        #expect(try list(cluster) == [first])

        try courier.deliver([(Self.a, -100)])
        _ = try courier.deliver(increments([(Self.a, 7)]), idempotencyKey: first.letter.replayKey)  // `settle` waits
        try courier.settle()
        #expect(try replay(cluster, .these([first.id])) == [first.id: .counted])
        #expect(try list(cluster).isEmpty)
        #expect(try cluster.counters() == [Self.a: .max - 93])
    }

    /// Letters of one batch that nothing tells apart: each counts, also when one of them alone is named.
    @Test func twinsAreReplayedTogether() throws {
        let cluster = try cluster([
            (Self.left, batch([(Self.a, .max), (Self.a, .max), (Self.a, .max)], producer: 1, of: Self.left))
        ])
        let found = try list(cluster)
        #expect(found.count == 2 && found[0].letter.replayKey == found[1].letter.replayKey)
        let courier = Courier(cluster.access)
        try courier.deliver([(Self.a, -.max)])
        try courier.settle()
        let fates = try replay(cluster, .these([found[1].id]))
        #expect(Set(fates.keys) == Set(found.map(\.id)))
        #expect(fates.values.count { $0 == .counted } == 1, "there is room for one of them")
        #expect(try cluster.counters() == [Self.a: .max])
        #expect(try list(cluster) == found, "they go together")
        #expect(found[0].name == found[1].name)
        try courier.deliver([(Self.a, -.max)])
        try courier.settle()
        #expect(try replay(cluster, .all(nil)) == [found[0].id: .counted, found[1].id: .counted])
        #expect(try cluster.counters() == [Self.a: .max], "the other one, and the first one once")
        #expect(try list(cluster).isEmpty)
    }

    /// A new epoch gives a letter another file; what it is called for the shards stays.
    @Test func theReplayKeySurvivesAChangeOfEpoch() throws {
        let cluster = try overflown()
        let before = try list(cluster)
        cluster.stopConsumers()
        try cluster.changeEpoch()
        let after = try list(cluster)
        #expect(after == before && after[0].letter.replayKey == before[0].letter.replayKey)
        #expect(after[0].name == before[0].name)
        #expect(after[0].letter.replayKey.count <= Limits.idempotencyKeyBytesMax - 8)
        let text = String(decoding: after[0].letter.replayKey, as: UTF8.self)
        #expect(text.hasPrefix("dead-letter:000000000000f00d0000000000000001:1.0.2:"))
        // The old file is closed for ever.
        let old = Topology(cluster: try cluster.topology.cluster, epoch: 1, partitions: 2)
        let location = cluster.folder.shard(0, of: old)
        #expect(throws: StoreError.self) {
            try DeadLetterTable.delete([1], at: location.path, expecting: location.expected)
        }
        #expect(try ShardReader(at: location.path).deadLetterCount() == 1)
    }

    @Test func aDamagedBatchIsNotReplayed() throws {
        var damaged = batch([(Self.a, 5)], producer: 2, of: Self.left)
        damaged[damaged.count - 1] ^= 1
        let cluster = try cluster([(Self.left, damaged)])
        let id = DeadLetterID(partition: 0, row: 1)
        let name = try #require(try list(cluster).first).name
        let refusal = failure { () throws(Failure) in _ = try replay(cluster, .these([id])) }
        #expect(
            refusal?.report == """
                tallymill: dead letter \(name) is a damaged batch: what it held cannot be told, so not be replayed
                  `tallymill dead-letters show \(name)` shows its bytes, `tallymill dead-letters drop \(name)` gives \
                it up.
                """)
        #expect(try replay(cluster, .all(nil)).isEmpty)
        var told: [[UInt8]] = []
        let dropped = try DeadLetters(cluster.folder).drop(.all(.overflow)) { _, payload in told.append(payload) }
        #expect(dropped == 0 && told.isEmpty)
        #expect(try DeadLetters(cluster.folder).drop(.these([id])) { _, payload in told.append(payload) } == 1)
        #expect(told == [damaged])
        #expect(try list(cluster).isEmpty)
    }

    @Test func namesOutsideOfTheCluster() throws {
        let cluster = try TestCluster()
        let refusal = failure { () throws(Failure) in
            _ = try DeadLetters(cluster.folder).find(DeadLetterID(partition: 2, row: 1))
        }
        #expect(refusal?.what == "there is no dead letter at 2:1: the cluster has the partitions 0 to 1")
    }

    /// The consumer goes on while letters are dropped, and its file stays right.
    @Test func droppingBesideARunningConsumer() throws {
        let cluster = try overflown()
        let courier = Courier(cluster.access)
        for round in 0..<200 {
            try courier.deliver([(Self.b, 1), (Self.a, Int64(round % 2 + 1))])
            if round % 20 == 19 { _ = try DeadLetters(cluster.folder).drop(.all(nil)) { _, _ in } }
        }
        try courier.settle()
        _ = try DeadLetters(cluster.folder).drop(.all(nil)) { _, _ in }  // the last ones
        #expect(try list(cluster).isEmpty)
        #expect(try cluster.counters() == [Self.a: .max, Self.b: 200])
        // What was dead stays dead in the ledger: 7, and 100 times 1 and 2.
        let location = cluster.folder.shard(0, of: try cluster.topology)
        let records = try ShardReader(at: location.path).records(of: Self.left)
        #expect(records.values.reduce(Amount.zero) { $0 + $1.dead }.sum == 307)
    }

    // MARK: Claims

    /// The times of all claims of a partition.
    private func claimTimes(_ cluster: TestCluster) throws -> [Int64] {
        let location = cluster.folder.shard(0, of: try cluster.topology)
        var times: [Int64] = []
        for table in [CarriedTable.idempotency, .claims] {
            let cursor = try ShardReader(at: location.path).rows(of: table)
            while let row = try cursor.next() { times += [row.claimTime].compactMap(\.self) }
        }
        return times.sorted()
    }

    private func forgetWhatExpires(_ cluster: TestCluster) throws {
        let location = cluster.folder.shard(0, of: try cluster.topology)
        Spawn.run("sqlite3", location.path, "DELETE FROM idempotency WHERE seen_ms < \(Int64.max)")
    }

    /// Finding 5: a replay that gave up and was counted later is not counted again, however much later it is repeated.
    @Test func aReplayThatGaveUpCountsOnce() throws {
        let cluster = try overflown()
        let courier = Courier(cluster.access)
        try courier.deliver([(Self.a, -100)])
        try courier.settle()
        cluster.stopConsumers()
        let refusal = failure { () throws(Failure) in _ = try replay(cluster, .all(nil)) }
        #expect(refusal?.code == .unavailable)
        try cluster.startConsumers()
        try drain(cluster)
        #expect(try cluster.counters() == [Self.a: .max - 93])
        #expect(try claimTimes(cluster) == [.max])
        try forgetWhatExpires(cluster)
        let first = DeadLetterID(partition: 0, row: 1)
        #expect(try replay(cluster, .all(nil)) == [first: .counted])
        #expect(try cluster.counters() == [Self.a: .max - 93])
        #expect(try list(cluster).isEmpty)
        // From now on it is as any other.
        let times = try claimTimes(cluster)
        #expect(times.count == 1 && times[0] < .max)
    }

    @Test func theClaimOfALetterThatIsDroppedExpires() throws {
        let cluster = try overflown()
        let letter = try #require(try list(cluster).first).letter
        let courier = Courier(cluster.access)
        try courier.deliver([(Self.a, -100)], idempotencyKey: "client")
        _ = try courier.deliver(increments([(Self.a, 7)]), idempotencyKey: letter.replayKey)  // `settle` waits
        try courier.settle()
        #expect(try claimTimes(cluster).last == .max)
        let first = try #require(try list(cluster).first).id
        #expect(try DeadLetters(cluster.folder).drop(.these([first])) { _, _ in } == 1)
        let times = try claimTimes(cluster)
        #expect(times.count == 2 && times.allSatisfy { $0 < .max })
    }

    /// Twins have one name: as long as one of them is left, no claim of theirs expires.
    @Test func theClaimsOfTwinsStayWithTheLastOfThem() throws {
        let cluster = try cluster([
            (Self.left, batch([(Self.a, .max), (Self.a, .max), (Self.a, .max)], producer: 1, of: Self.left))
        ])
        let found = try list(cluster)
        let courier = Courier(cluster.access)
        try courier.deliver([(Self.a, -.max)])
        try courier.settle()
        for ordinal in ["", ":1"] {
            let name = found[0].letter.replayKey + Array(ordinal.utf8)
            _ = try courier.deliver(increments([(Self.a, 1)]), idempotencyKey: name)  // `settle` waits
        }
        try courier.settle()
        let letters = try DeadLetters(cluster.folder)
        #expect(try letters.drop(.these([found[0].id])) { _, _ in } == 1)
        #expect(try claimTimes(cluster) == [.max, .max])
        #expect(try letters.drop(.these([found[1].id])) { _, _ in } == 1)
        #expect(try claimTimes(cluster).allSatisfy { $0 < .max })
    }

    // MARK: Letters that may have been counted

    /// One letter that does not fit, one that is late and one that is forgotten.
    private func doubtful() throws -> TestCluster {
        let cluster = try overflown()
        let courier = Courier(cluster.access)
        try courier.deliver([(Self.a, -1_000)])
        try courier.settle()
        cluster.stopConsumers()
        let location = cluster.folder.shard(0, of: try cluster.topology)
        for (sequence, reason) in [(8, "late"), (9, "forgotten")] {
            Spawn.run(
                "sqlite3", location.path,
                """
                INSERT INTO dead_letter(time_ms, reason, detail, epoch, partition, producer, sequence,
                    idempotency_id, key, increments, sum, payload)
                VALUES(1700000000000, '\(reason)', 'why', 1, 0, X'00000000000000000000000000000007', \(sequence),
                    'request', '\(Self.a)', 1, '\(sequence)', X'')
                """)
        }
        try cluster.startConsumers()
        return cluster
    }

    @Test func lateAndForgottenLettersAreReplayedOnlyIfTheyAreNamed() throws {
        let cluster = try doubtful()
        let letters = try DeadLetters(cluster.folder)
        let (first, late, forgotten) = (
            DeadLetterID(partition: 0, row: 1), DeadLetterID(partition: 0, row: 2), DeadLetterID(partition: 0, row: 3)
        )
        #expect(letters.count(reason: .late).letters == 1 && letters.count(reason: .forgotten).letters == 1)
        #expect(try replay(cluster, .all(nil)) == [first: .counted])
        #expect(try list(cluster).map(\.id) == [late, forgotten])
        #expect(try replay(cluster, .all(.damaged)).isEmpty)
        #expect(try replay(cluster, .all(.late)) == [late: .counted])
        #expect(try cluster.counters() == [Self.a: .max - 1_000 + 7 + 8])
        #expect(try replay(cluster, .these([forgotten])) == [forgotten: .counted])
        #expect(try cluster.counters() == [Self.a: .max - 1_000 + 7 + 8 + 9])
        #expect(try list(cluster).isEmpty)
    }

    @Test func whatIsSaidOfLettersThatMayHaveBeenCounted() throws {
        let cluster = try doubtful()
        let found = try list(cluster)
        #expect(
            found.map { DeadLetterWriter.json($0).split(separator: ",")[2...3].joined(separator: ",") } == [
                #""reason":"overflow","counted":"no""#, #""reason":"late","counted":"unknown""#,
                #""reason":"forgotten","counted":"unknown""#,
            ])
        #expect(
            DeadLetterWriter.details(found[1], payload: []).contains(
                """
                reason           late: why
                meaning          it was sent longer ago than idempotency keys are kept: nobody knows whether an \
                earlier request with its key was counted; replay counts it, drop does not

                """))
        #expect(DeadLetterWriter.table(found).contains("forgotten"))
        var dropped: [DeadLetter.Reason] = []
        #expect(
            try DeadLetters(cluster.folder).drop(.all(nil)) { found, _ in dropped.append(found.letter.reason) } == 3)
        #expect(dropped == [.overflow, .late, .forgotten])
    }
}
