// Admission and sending: a request enters as a whole or not at all, and one batch a partition is under way while the
// next one grows.

import Testing

@testable import TallyCore

@Suite struct ProducerTests {
    typealias Fixture = CoreFixture

    // MARK: Admission

    @Test func refusesUntilItKnowsWhereToSend() {
        var producer = Producer(
            id: Fixture.producer(1), configuration: Producer.Configuration(), clock: RedisClock(guess: 0, at: 0))
        #expect(producer.closedReason(now: 0) == .redisUnreachable)
        producer.connection(isUp: true, now: 0)
        #expect(producer.closedReason(now: 0) == .noTopology)
        #expect(producer.nextFlight(now: 0) == [.readTopology, .readTime])
        #expect(producer.nextFlight(now: 0).isEmpty, "one question at a time")
        producer.received(.topology(nil), to: .readTopology, now: 0)
        #expect(producer.closedReason(now: 0) == .noTopology)
        #expect(producer.nextFlight(now: 19).isEmpty)
        #expect(producer.nextFlight(now: 20) == [.readTopology, .readTime])
        producer.received(.unknown, to: .readTopology, now: 20)
        #expect(producer.nextFlight(now: 59).isEmpty)
        #expect(producer.nextFlight(now: 60) == [.readTopology, .readTime])
        producer.received(
            .topology(ProducerDriver.topology(epoch: 1, partitions: 2)), to: .readTopology, now: 60)
        #expect(producer.closedReason(now: 60) == nil)
        producer.connection(isUp: false, now: 61)
        #expect(producer.closedReason(now: 61) == .redisUnreachable)
    }

    @Test func memoryIsReachedAtOnce() throws {
        var driver = ProducerDriver()
        #expect(try driver.admit([("a", 1)], level: .memory) == nil)
        #expect(driver.pushes().count == 1)
        #expect(try driver.admit([], level: .stored) == nil, "nothing to wait for")
    }

    @Test func aClosedPartitionRefusesTheWholeRequest() throws {
        var driver = ProducerDriver()
        _ = try driver.admit([(driver.key(1), 1)])  // closes partition 1
        driver.answer(driver.pushes(), .full(applied: 0))
        let held = driver.producer.heldBytes
        let before = driver.producer.statistics
        #expect(throws: Refusal.queueFull(partition: 1)) {
            try driver.admit([(driver.key(0), 1), (driver.key(1), 1), (driver.key(0, 1), 1)])
        }
        #expect(throws: Refusal.queueFull(partition: 1)) {
            try driver.admit([(driver.key(0), 1), (driver.key(1), 1)], idempotencyKey: "id")
        }
        #expect(driver.producer.heldBytes == held && driver.producer.statistics == before)
        #expect(driver.pushes().isEmpty, "nothing of it entered")
        _ = try driver.admit([(driver.key(0), 7)])  // the other partition is open
        #expect(try driver.pushes().map { try Fixture.entries(of: $0.bytes) } == [[Fixture.entry(driver.key(0), 7)]])
    }

    /// The bound counts keys and 22 bytes an increment before they are summed.
    @Test func theOutboxIsBoundedExactly() throws {
        var driver = ProducerDriver { $0.outboxBytes = 1_000 }
        let list = (0..<10).map { ("key\($0)", Int64(1)) }  // 10 * (4 + 22)
        for _ in 0..<3 { _ = try driver.admit(list, level: .memory) }
        #expect(driver.producer.heldBytes == 260, "summed")
        let tooMuch = [(String(repeating: "k", count: 512), Int64(1)), (String(repeating: "l", count: 185), 1)]
        #expect(throws: Refusal.outboxFull) { try driver.admit(tooMuch) }
        #expect(driver.producer.heldBytes == 260)
        _ = try driver.admit([tooMuch[0], (String(repeating: "l", count: 184), 1)])  // exactly 1000
        #expect(driver.producer.heldBytes == 1_000)
        #expect(throws: Refusal.outboxFull) { try driver.admit([("a", 1)]) }
        for batch in driver.pushes() { driver.answer(batch, .ok(applied: 0)) }
        #expect(driver.producer.heldBytes > 700, "confirmed by Redis is not yet confirmed by a shard")
        #expect(throws: Refusal.outboxFull) { try driver.admit(list) }
        driver.received(.heartbeat(.progress(last: 1, applied: 1)), to: driver.heartbeat(0))
        driver.received(.heartbeat(.progress(last: 1, applied: 1)), to: driver.heartbeat(1))
        #expect(driver.producer.heldBytes == 0)
        _ = try driver.admit(list)  // room again
    }

    @Test func anIdempotentRequestIsSummedByKey() throws {
        var driver = ProducerDriver(partitions: 1)
        _ = try driver.admit([("a", 1), ("b", 5), ("a", 2)], idempotencyKey: "id")
        _ = try driver.admit([("a", 10)])
        _ = try driver.admit([("a", 1)], idempotencyKey: "id")
        let batches = driver.pushes()
        #expect(
            try Fixture.entries(of: batches[0].bytes) == [
                Fixture.entry("a", 10), Fixture.entry("a", 3, 2, group: "id"), Fixture.entry("b", 5, group: "id"),
                Fixture.entry("a", 1, group: "id"),
            ])
    }

    @Test func anIdempotentSumOutOfRangeIsRefused() throws {
        var driver = ProducerDriver()
        for (first, second) in [(Int64.max, Int64(1)), (.min, -1)] {
            #expect(throws: Refusal.sumOutOfRange(key: Array("a".utf8))) {
                try driver.admit([("b", 1), ("a", first), ("a", second)], idempotencyKey: "id")
            }
        }
        #expect(driver.producer.heldBytes == 0 && driver.pushes().isEmpty)
        _ = try driver.admit([("a", .max), ("b", .max), ("a", 0)], idempotencyKey: "id")  // at the bound
    }

    @Test func aPlainSumOutOfRangeTravelsAsTwoEntries() throws {
        var driver = ProducerDriver(partitions: 1)
        _ = try driver.admit([("a", .max), ("a", 1)])
        #expect(
            try Fixture.entries(of: driver.pushes()[0].bytes) == [Fixture.entry("a", .max), Fixture.entry("a", 1)])
    }

    // MARK: Sending

    @Test func groupCommit() throws {
        var driver = ProducerDriver(partitions: 1)
        let first = try driver.admit([("a", 1)])
        let batches = driver.pushes()
        let second = try driver.admit([("a", 2)])
        let third = try driver.admit([("b", 3)])
        #expect(driver.pushes().isEmpty, "one batch under way, the next one grows")
        driver.answer(batches, .ok(applied: 0))
        #expect(driver.acknowledged().map(\.ticket) == [first])
        let next = driver.pushes()
        #expect(next.map(\.id.sequence) == [2])
        #expect(try Fixture.entries(of: next[0].bytes) == [Fixture.entry("a", 2), Fixture.entry("b", 3)])
        #expect(try Fixture.header(of: next[0].bytes).cumulative == Amount(increments: 3, sum: 6))
        driver.answer(next, .duplicate(last: 2, chain: next[0].chain.through, applied: 1))
        #expect(driver.acknowledged().map(\.ticket) == [second, third])
        #expect(driver.producer.isFlushed)
        let statistics = driver.producer.statistics
        #expect(statistics.requests == 3 && statistics.increments == 3 && statistics.batches == 2)
        #expect(statistics.entries == 3 && statistics.duplicates == 1 && statistics.replays == 0)
    }

    @Test func aLargeBatchIsCut() throws {
        var driver = ProducerDriver(partitions: 1) { $0.batchBytes = 1_000 }
        let ticket = try driver.admit((0..<400).map { ("key\($0)", 1) })
        let batches = driver.pushes()
        #expect(batches.count > 1 && batches.allSatisfy { $0.bytes.count <= 1_000 })
        #expect(batches.map(\.id.sequence) == Array(1...UInt64(batches.count)))
        for batch in batches.reversed() {
            #expect(driver.acknowledged().isEmpty, "not before the last part")
            driver.answer(batch, .ok(applied: 0))
        }
        #expect(driver.acknowledged().map(\.ticket) == [ticket])
    }

    @Test func commandsCarryFloorAndLimit() throws {
        var driver = ProducerDriver(partitions: 1) { $0.queueBytes = 12_345 }
        try driver.deliver("a")
        try driver.deliver("a", applied: 1)
        _ = try driver.admit([("a", 1)])
        let commands = driver.flight()
        guard case .push(let batch, let floor, let limitBytes, let topology) = commands.first else {
            Issue.record("no push")
            return
        }
        #expect(commands.count == 1 && batch.id.sequence == 3 && floor == 1 && limitBytes == 12_345)
        #expect(topology == driver.producer.topology && topology.cluster == Fixture.cluster)
    }

    @Test func aStalledFlightClosesAdmission() throws {
        var driver = ProducerDriver()
        driver.producer.flightEnded()
        driver.now += 1_000
        _ = try driver.admit([("a", 1)])
        _ = driver.pushes()  // never answered
        driver.now += 1_000
        #expect(driver.refusal("a") == nil)
        driver.now += 1
        #expect(driver.refusal("a") == .redisUnreachable)
        driver.producer.flightEnded()
        #expect(driver.refusal("a") == nil)
    }

    @Test func drainDeliversWhatWasAdmitted() throws {
        var driver = ProducerDriver()
        let ticket = try driver.admit([("a", 1)])
        driver.producer.drain()
        #expect(driver.producer.isDraining && driver.refusal("a") == .draining)
        #expect(!driver.producer.isFlushed)
        let batches = driver.pushes()
        #expect(!driver.producer.isFlushed)
        driver.answer(batches, .ok(applied: 0))
        #expect(driver.producer.isFlushed && driver.acknowledged().map(\.ticket) == [ticket])
    }

    /// Abandoning answers with what is true by then, and the increments are delivered all the same.
    @Test func abandonTellsTheLevelReached() throws {
        var driver = ProducerDriver(partitions: 1)
        let first = try #require(try driver.admit([("a", 1)]))
        #expect(driver.producer.abandon(first) == .memory)
        let second = try #require(try driver.admit([("a", 2)], level: .stored))
        let batches = driver.pushes()
        #expect(try Fixture.entries(of: batches[0].bytes) == [Fixture.entry("a", 3, 2)])
        driver.answer(batches, .ok(applied: 0))
        #expect(driver.producer.abandon(second) == .queued)
        #expect(driver.acknowledged().isEmpty && driver.producer.abandon(first) == nil)
    }
}
