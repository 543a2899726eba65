// The move to a newer epoch: at once, as a whole, every increment under the identity that it was frozen with first,
// and no ticket acknowledged before all that moved has arrived.

import Testing

@testable import TallyCore

@Suite struct ProducerMoveTests {
    typealias Fixture = CoreFixture

    /// Everything in `batches`, by key.
    private func sums(_ batches: [Batch]) throws -> [String: Amount] {
        var sums: [String: Amount] = [:]
        for entry in try batches.flatMap({ try Fixture.entries(of: $0.bytes) }) {
            sums[entry.key, default: .zero] += Amount(increments: entry.increments, sum: Int128(entry.sum))
        }
        return sums
    }

    @Test func movesOutboxAggregatorGroupsAndTickets() throws {
        var driver = ProducerDriver(partitions: 1)
        let left = Fixture.keys(in: 0, of: 2, count: 2)
        let right = Fixture.keys(in: 1, of: 2, count: 2)
        // Batch 1 is confirmed, batch 2 is under way, the rest is open.
        let first = try #require(try driver.admit([(left[0], 1), (right[0], 2)], level: .stored))
        driver.answer(driver.pushes(), .ok(applied: 0))
        let second = try #require(try driver.admit([(left[0], 4), (right[0], 8)], idempotencyKey: "r2"))
        let old = driver.pushes()
        let third = try #require(try driver.admit([(left[1], 16), (left[1], 32)]))
        let fourth = try #require(try driver.admit([(left[1], 64), (right[1], 128)], idempotencyKey: "r4"))
        driver.answerTopology(epoch: 2, partitions: 2)
        #expect(driver.producer.topology == ProducerDriver.topology(epoch: 2, partitions: 2))

        let parts = driver.pushes()
        #expect(parts.allSatisfy { $0.id.stream.partition.epoch == 2 && $0.id.stream.producer == driver.producer.id })
        for partition in 0..<2 as Range<UInt32> {
            let mine = parts.filter { $0.id.stream.partition.number == partition }
            #expect(mine.map(\.id.sequence) == [1, 2])
            #expect(
                try mine.map { try Fixture.header(of: $0.bytes).origin } == [Fixture.batchID(1), Fixture.batchID(2)])
            let key = partition == 0 ? left[0] : right[0]
            #expect(
                try mine.flatMap { try Fixture.entries(of: $0.bytes) } == [
                    Fixture.entry(key, partition == 0 ? 1 : 2), Fixture.entry(key, partition == 0 ? 4 : 8, group: "r2"),
                ])
        }
        // An answer of the old epoch comes late: it means nothing any more.
        driver.answer(old, .ok(applied: 2))
        driver.answer(parts, .ok(applied: 0))
        #expect(driver.acknowledged().isEmpty, "what was aggregated has not arrived")

        let rest = driver.pushes()
        #expect(try rest.allSatisfy { try Fixture.header(of: $0.bytes).origin == nil })
        #expect(
            try rest.sorted { $0.id.stream.partition.number < $1.id.stream.partition.number }
                .map { try Fixture.entries(of: $0.bytes) } == [
                    [Fixture.entry(left[1], 48, 2), Fixture.entry(left[1], 64, group: "r4")],
                    [Fixture.entry(right[1], 128, group: "r4")],
                ])
        driver.answer(rest[0], .ok(applied: 0))
        #expect(driver.acknowledged().isEmpty)
        driver.answer(rest[1], .ok(applied: 2))
        #expect(Set(driver.acknowledged().map(\.ticket)) == [second, third, fourth])
        for partition in 0..<2 as Range<UInt32> {
            let stream = Fixture.stream(1, epoch: 2, partition: partition)
            #expect(driver.acknowledged().isEmpty)
            driver.received(.heartbeat(.progress(last: 3, applied: 3)), to: driver.heartbeat(of: stream))
        }
        #expect(driver.acknowledged() == [Acknowledgement(ticket: first, level: .stored)])
        #expect(driver.producer.heldBytes == 0 && driver.producer.isFlushed)
    }

    @Test func theFirstOriginStays() throws {
        var driver = ProducerDriver(partitions: 1)
        let keys = (0..<50).map { "k\($0)" }
        _ = try driver.admit(keys.map { ($0, 1) })
        let first = driver.pushes()
        driver.answerTopology(epoch: 2, partitions: 3)
        let second = driver.pushes()
        driver.answerTopology(epoch: 5, partitions: 7)
        let third = driver.pushes()
        #expect(second.count == 3)
        for batch in second + third { #expect(try Fixture.header(of: batch.bytes).origin == first[0].id) }
        for batch in third {
            #expect(batch.id.stream.partition.epoch == 5)
            for entry in try Fixture.entries(of: batch.bytes) {
                let target = Partitioner(partitions: 7).partition(of: try Key(entry.key))
                #expect(UInt32(target) == batch.id.stream.partition.number)
            }
        }
        #expect(try sums(third) == sums(first))
    }

    /// A part is as large as what is in it: an outbox of 256 MiB must not become one of parts times 256 MiB.
    @Test func partsTakeNoMoreMemoryThanTheyHold() throws {
        var driver = ProducerDriver(partitions: 1)
        _ = try driver.admit((0..<20_000).map { ("some/longer/key/\($0)", 1) })
        let before = driver.pushes().reduce(0) { $0 + $1.bytes.count }
        driver.answerTopology(epoch: 2, partitions: 64)
        let outboxes = driver.producer.channels.map(\.outbox)
        let held = outboxes.reduce(0) { sum, outbox in
            (0..<outbox.count).reduce(sum) { $0 + outbox[$1].batch.bytes.capacity }
        }
        #expect(before > 400_000 && held < 3 * before, "\(held) bytes for \(before)")
    }

    @Test func severalEntriesOfAKeyMoveTogether() throws {
        var driver = ProducerDriver(partitions: 1)
        _ = try driver.admit([("a", .max), ("a", 1), ("a", .max)])
        _ = driver.pushes()  // under way
        driver.answerTopology(epoch: 2, partitions: 4)
        let parts = driver.pushes()
        #expect(parts.count == 1, "one batch, since (origin, key) is claimed once a batch")
        #expect(try Fixture.entries(of: parts[0].bytes).map(\.sum) == [.max, 1, .max])
    }

    @Test func whatShardsHaveConfirmedStays() throws {
        var driver = ProducerDriver(partitions: 1)
        try driver.deliver("a", applied: 1)
        driver.answerTopology(epoch: 2, partitions: 2)
        #expect(driver.pushes().isEmpty && driver.producer.heldBytes == 0 && driver.producer.isFlushed)
        try driver.deliver("a")
    }

    @Test func lowerEpochsAndOtherClustersAreIgnored() throws {
        var driver = ProducerDriver(partitions: 2)
        driver.answerTopology(epoch: 3, partitions: 3)
        let current = driver.producer.topology
        driver.answerTopology(epoch: 2, partitions: 9)
        driver.answerTopology(epoch: 3, partitions: 9)
        driver.answerTopology(epoch: 4, partitions: 9, cluster: ClusterID(Bytes16(high: 1, low: 1)))
        driver.received(.topology(nil), to: .readTopology)
        #expect(driver.producer.topology == current)
        #expect(driver.refusal("a") == nil)
    }

    @Test func aSealedPartitionMovesWithoutAnOutage() throws {
        var driver = ProducerDriver(partitions: 1)
        let ticket = try driver.admit([("a", 1)])
        driver.answer(driver.pushes(), .sealed(applied: 0))
        #expect(driver.flight() == [.readTopology, .readTime])
        _ = try driver.admit([("a", 2)])
        driver.answerTopology(epoch: 2, partitions: 1)
        let parts = driver.pushes()
        #expect(try parts.map { try Fixture.header(of: $0.bytes).origin } == [Fixture.batchID(1)], "at once")
        driver.answer(parts, .ok(applied: 0))
        let rest = driver.pushes()
        #expect(try Fixture.entries(of: rest[0].bytes) == [Fixture.entry("a", 2)])
        driver.answer(rest, .ok(applied: 0))
        #expect(driver.acknowledged().map(\.ticket).contains(ticket) && driver.producer.isFlushed)
    }

    @Test func theTopologyIsReadFromTimeToTime() throws {
        var driver = ProducerDriver(partitions: 1)
        driver.now += 4_999
        #expect(driver.flight().isEmpty)
        driver.now += 1
        #expect(driver.flight() == [.readTopology, .readTime])
        driver.received(.unknown, to: .readTopology)
        driver.now += 4_999
        #expect(driver.flight().isEmpty)
        driver.now += 1
        #expect(driver.flight() == [.readTopology, .readTime])
    }

    /// Random requests, losses and moves: each epoch's parts hold exactly what was not yet confirmed by a shard.
    @Test(arguments: [1, 2, 3, 4] as [UInt64])
    func nothingIsLostOrAddedByMoving(seed: UInt64) throws {
        var generator = SplitMix64(seed: seed)
        var driver = ProducerDriver(partitions: 2) { $0.batchBytes = 600 }
        var model: [String: Amount] = [:]
        for epoch in 2...8 as ClosedRange<UInt32> {
            for _ in 0..<20 {
                let list = (0..<Int.random(in: 1...20, using: &generator)).map { _ in
                    ("k\(Int.random(in: 0..<99, using: &generator))", Int64.random(in: -9...9, using: &generator))
                }
                let group = Bool.random(using: &generator) ? "g\(epoch)" : nil
                _ = try driver.admit(
                    list, level: Level.allCases.randomElement(using: &generator) ?? .queued, idempotencyKey: group)
                for (key, delta) in list { model[key, default: .zero] += Amount(increments: 1, sum: Int128(delta)) }
                for batch in driver.pushes() where Bool.random(using: &generator) {
                    driver.answer(batch, .ok(applied: 0))
                }
            }
            driver.answerTopology(epoch: epoch, partitions: Int.random(in: 1...9, using: &generator))
        }
        var arrived: [Batch] = []
        while !driver.producer.isFlushed {
            let batches = driver.pushes()
            arrived += batches
            driver.answer(batches, .ok(applied: 0))
        }
        #expect(try sums(arrived) == model, "seed \(seed)")
        for (index, channel) in driver.producer.channels.enumerated() {
            let mine = arrived.filter { $0.id.stream.partition.number == UInt32(index) }
            #expect(mine.map(\.id.sequence) == Array(1..<channel.nextSequence), "seed \(seed)")
        }
    }
}
