// What a producer makes of answers: acknowledgements no earlier than they are true, replays in order and within their
// bound, and a gate that closes one partition and always opens again.

import Testing

@testable import TallyCore

@Suite struct ProducerAnswersTests {
    typealias Fixture = CoreFixture

    // MARK: Acknowledgements

    @Test func queuedNeedsEveryPartition() throws {
        var driver = ProducerDriver(partitions: 3)
        let ticket = try #require(try driver.admit((0..<3).map { (driver.key($0), 1) }))
        let batches = driver.pushes()
        #expect(batches.count == 3)
        driver.answer(batches[2], .ok(applied: 0))
        driver.answer(batches[0], .duplicate(last: 1, chain: batches[0].chain.through, applied: 0))
        #expect(driver.acknowledged().isEmpty)
        driver.answer(batches[1], .ok(applied: 0))
        #expect(driver.acknowledged() == [Acknowledgement(ticket: ticket, level: .queued)])
        driver.answer(batches[1], .ok(applied: 0))
        #expect(driver.acknowledged().isEmpty, "a repeated answer tells nobody anything")
    }

    @Test func storedNeedsEveryShard() throws {
        var driver = ProducerDriver()
        let ticket = try #require(try driver.admit([(driver.key(0), 1), (driver.key(1), 1)], level: .stored))
        let batches = driver.pushes()
        driver.answer(batches, .ok(applied: 0))
        #expect(driver.acknowledged().isEmpty)
        driver.now += 15
        #expect(Set(driver.flight()) == [driver.heartbeat(0), driver.heartbeat(1)])
        driver.received(.heartbeat(.progress(last: 1, applied: 1)), to: driver.heartbeat(0))
        #expect(driver.acknowledged().isEmpty)
        driver.received(.heartbeat(.progress(last: 1, applied: 1)), to: driver.heartbeat(1))
        #expect(driver.acknowledged() == [Acknowledgement(ticket: ticket, level: .stored)])
        #expect(driver.producer.heldBytes == 0)
    }

    /// `applied` covers a batch whose own push was never answered: it is in the shard, so it was in the queue.
    @Test func appliedAnswersForAnUnknownPush() throws {
        var driver = ProducerDriver(partitions: 1)
        let ticket = try driver.admit([("a", 1)])
        let first = driver.pushes()
        driver.received(.unknown, to: ProducerDriver.push(first[0]))
        driver.received(.heartbeat(.progress(last: 1, applied: 1)), to: driver.heartbeat(0))
        #expect(driver.acknowledged().map(\.ticket) == [ticket])
        #expect(driver.pushes().isEmpty && driver.producer.isFlushed)
    }

    // MARK: Heartbeats

    @Test func heartbeatsAreRareUntilSomebodyWaits() throws {
        var driver = ProducerDriver(partitions: 1)
        try driver.deliver("a")
        driver.now += 999
        #expect(driver.flight().isEmpty)
        driver.now += 1
        #expect(driver.flight() == [driver.heartbeat(0)])
        #expect(driver.flight().isEmpty, "one at a time")
        driver.received(.unknown, to: driver.heartbeat(0))
        #expect(driver.flight().isEmpty)
        let ticket = try #require(try driver.admit([("a", 1)], level: .stored))
        driver.answer(driver.pushes(), .ok(applied: 0))
        for _ in 0..<3 {
            driver.now += 20
            #expect(driver.flight() == [driver.heartbeat(0)], "at least every 20 ms")
            driver.received(.heartbeat(.progress(last: 2, applied: 1)), to: driver.heartbeat(0))
        }
        #expect(driver.producer.abandon(ticket) == .queued)
        driver.now += 999
        #expect(driver.flight().isEmpty, "nobody waits any more")
        driver.now += 1
        #expect(driver.flight() == [driver.heartbeat(0)])
        driver.received(.heartbeat(.progress(last: 2, applied: 2)), to: driver.heartbeat(0))
        driver.now += 4_000
        #expect(driver.flight() == [.readTopology, .readTime], "an empty outbox has nothing to compare")
    }

    // MARK: Redis goes back in time

    @Test func aGapReplaysInOrderAtOnce() throws {
        var driver = ProducerDriver(partitions: 1)
        for _ in 0..<4 { try driver.deliver("a") }
        _ = try driver.admit([("a", 1)])
        let fifth = driver.pushes()
        driver.answer(fifth, .gap(last: 1, applied: 1))
        let replay = driver.pushes()
        #expect(replay.map(\.id.sequence) == [2, 3, 4, 5])
        #expect(replay[3] == fifth[0], "the same bytes")
        #expect(driver.producer.statistics.gaps == 1 && driver.producer.statistics.replays == 4)
        #expect(driver.acknowledged().isEmpty)
        driver.answer(replay, .ok(applied: 1))
        #expect(driver.acknowledged().count == 1 && driver.producer.isFlushed)
    }

    @Test func gapsInARowBackOff() throws {
        var driver = ProducerDriver(partitions: 1)
        try driver.deliver("a")
        _ = try driver.admit([("a", 1)])
        driver.answer(driver.pushes(), .gap(last: 0, applied: 0))
        let replay = driver.pushes()
        #expect(replay.count == 2)
        driver.received(.unknown, to: ProducerDriver.push(replay[0]))
        driver.answer(replay[1], .gap(last: 0, applied: 0))
        #expect(driver.pushes().isEmpty)
        driver.now += 20
        #expect(driver.pushes() == replay)
    }

    @Test func aHeartbeatRevealsALostBatch() throws {
        var driver = ProducerDriver(partitions: 1)
        for _ in 0..<3 { try driver.deliver("a") }
        driver.now += 1_000
        #expect(driver.flight() == [driver.heartbeat(0)])
        driver.received(.heartbeat(.progress(last: 1, applied: 0)), to: driver.heartbeat(0))
        #expect(!driver.producer.isFlushed)
        #expect(driver.pushes().map(\.id.sequence) == [2, 3])
    }

    /// At most 1 MiB of replays is unanswered; another partition's first push goes all the same.
    @Test func replaysAreBounded() throws {
        var driver = ProducerDriver()
        let filler = String(repeating: "x", count: 500)
        let keys = (0..<1_600).map { "\(filler)\($0)" }.filter {
            Partitioner(partitions: 2).partition(ofHash: XXH64.hash(Array($0.utf8))) == 0
        }
        for _ in 0..<5 {
            _ = try driver.admit(keys.prefix(700).map { ($0, 1) })
            driver.answer(driver.pushes(), .ok(applied: 0))
        }
        _ = try driver.admit([(driver.key(0), 1)])
        driver.answer(driver.pushes(), .gap(last: 0, applied: 0))
        _ = try driver.admit([(driver.key(1), 1)])
        let flight = driver.pushes()
        let replayed = flight.filter { $0.id.stream.partition.number == 0 }
        #expect(replayed.map(\.id.sequence) == [1, 2], "350 KiB each")
        #expect(flight.contains { $0.id.stream.partition.number == 1 })
        #expect(driver.pushes().isEmpty)
        driver.answer(replayed[0], .ok(applied: 0))
        #expect(driver.pushes().map(\.id.sequence) == [3])
    }

    @Test func aReplayLargerThanTheBoundGoesAlone() throws {
        var driver = ProducerDriver(partitions: 1) { $0.batchBytes = 4 << 20 }
        let filler = String(repeating: "x", count: 500)
        _ = try driver.admit((0..<3_000).map { ("\(filler)\($0)", 1) })
        let batch = driver.pushes()
        #expect(batch.count == 1 && batch[0].bytes.count > Limits.replayBytes)
        driver.received(.unknown, to: ProducerDriver.push(batch[0]))
        #expect(driver.pushes() == batch, "the same bytes again")
    }

    // MARK: Gates

    @Test func fullClosesItsPartitionAndReopens() throws {
        var driver = ProducerDriver()
        _ = try driver.admit([(driver.key(1), 1)])
        let batch = driver.pushes()
        driver.answer(batch, .full(applied: 0))
        #expect(driver.refusal(driver.key(1)) == .queueFull(partition: 1))
        #expect(driver.refusal(driver.key(0)) == nil)
        #expect(driver.pushes().isEmpty)
        driver.now += 20
        #expect(driver.pushes() == batch)
        driver.answer(batch, .full(applied: 0))
        driver.now += 39
        #expect(driver.pushes().isEmpty, "backs off")
        driver.now += 1
        #expect(driver.pushes() == batch)
        driver.answer(batch, .ok(applied: 0))
        #expect(driver.refusal(driver.key(1)) == nil)
        #expect(driver.acknowledged().count == 1)
    }

    @Test func aRefusalOfRedisClosesWithItsWords() throws {
        var driver = ProducerDriver(partitions: 1)
        _ = try driver.admit([("a", 1)])
        let batch = driver.pushes()
        driver.answer(batch, .refused("OOM command not allowed"))
        #expect(driver.refusal("a") == .redisRefuses("OOM command not allowed"))
        driver.now += 20
        #expect(driver.pushes() == batch)
        driver.answer(batch, .ok(applied: 0))
        #expect(driver.refusal("a") == nil)
    }

    @Test(arguments: [PushReply.sealed(applied: 0), .noTopology])
    func aClosedEpochAsksForTheNextOne(reply: PushReply) throws {
        var driver = ProducerDriver(partitions: 1)
        let ticket = try driver.admit([("a", 1)])
        let batch = driver.pushes()
        driver.answer(batch, reply)
        #expect(driver.refusal("a") == nil, "admission stays open while the topology is read")
        #expect(driver.flight() == [.readTopology, .readTime])
        driver.answerTopology(epoch: 1, partitions: 1)
        #expect(driver.refusal("a") == .repairDue(partition: 0))
        driver.now += 20
        #expect(
            driver.flight() == [.readTopology, .readTime, ProducerDriver.push(batch[0], limitBytes: Limits.queueBytes)])
        driver.answer(batch, reply)
        #expect(driver.refusal("a") == .repairDue(partition: 0), "still")
        driver.received(.unknown, to: .readTopology)
        driver.now += 1_000
        #expect(driver.flight().count == 3)
        driver.answer(batch, .ok(applied: 0))
        #expect(driver.refusal("a") == nil, "repaired")
        #expect(driver.acknowledged().map(\.ticket) == [ticket])
        driver.answerTopology(epoch: 1, partitions: 1)
        driver.now += 999
        #expect(driver.flight().isEmpty, "no more questions")
    }

    /// A late answer to an earlier try must not close a gate that no later answer would open: the next heartbeat does,
    /// and over an empty outbox it does not even close.
    @Test(
        arguments: [PushReply.full(applied: 0), .refused("LOADING"), .sealed(applied: 0), .noTopology],
        [UInt64(0), 1])
    func aLateRefusalClosesNothingForEver(reply: PushReply, applied: UInt64) throws {
        var driver = ProducerDriver(partitions: 1)
        _ = try driver.admit([("a", 1)])
        let batch = driver.pushes()
        driver.received(.unknown, to: ProducerDriver.push(batch[0]))
        #expect(driver.pushes() == batch)
        driver.answer(batch, .ok(applied: applied))
        driver.answer(batch, reply)
        if driver.flight().contains(.readTopology) { driver.answerTopology(epoch: 1, partitions: 1) }
        if applied == 0 {
            driver.now += 1_000
            #expect(driver.flight().contains(driver.heartbeat(0)))
            driver.received(.heartbeat(.progress(last: 1, applied: 0)), to: driver.heartbeat(0))
        }
        #expect(driver.refusal("a") == nil)
        _ = try driver.admit([("a", 1)])
        #expect(driver.flight().count >= 1, "and pushes go on")
    }

    /// A key group that was gone may come back without what it had confirmed: that is pushed again, and the node is not
    /// done before it is there.
    @Test func whatAGroupThatWasGoneHadConfirmedIsPushedAgain() throws {
        var driver = ProducerDriver(partitions: 1)
        try driver.deliver("a")
        #expect(driver.producer.isFlushed)
        driver.now += 1_000
        #expect(driver.flight() == [driver.heartbeat(0)])
        driver.received(.heartbeat(.noTopology), to: driver.heartbeat(0))
        #expect(driver.refusal("a") == nil)
        #expect(driver.flight() == [.readTopology, .readTime])
        driver.answerTopology(epoch: 1, partitions: 1)
        #expect(driver.refusal("a") == .repairDue(partition: 0))
        driver.now += 1_000
        #expect(!driver.producer.isFlushed)
        guard case .push(let batch, _, _, _) = driver.flight().last else {
            Issue.record("nothing is pushed")
            return
        }
        driver.answer(batch, .duplicate(last: 1, chain: batch.chain.through, applied: 0))
        #expect(driver.refusal("a") == nil && driver.producer.isFlushed)
    }

    /// Behind the same address may be a Redis of before: a node that stops asks once more.
    @Test func aNewConnectionIsAskedWhatItHas() throws {
        var driver = ProducerDriver(partitions: 1)
        try driver.deliver("a")
        driver.producer.connection(isUp: false, now: driver.now)
        driver.producer.connection(isUp: true, now: driver.now)
        #expect(!driver.producer.isFlushed)
        #expect(driver.flight() == [.readTopology, .readTime])
        driver.answerTopology(epoch: 1, partitions: 1)
        #expect(driver.flight() == [driver.heartbeat(0)])
        driver.received(.heartbeat(.progress(last: 1, applied: 0)), to: driver.heartbeat(0))
        #expect(driver.producer.isFlushed)
    }

    @Test func aHeartbeatThatFindsALossLeavesTheGateToThePush() throws {
        var driver = ProducerDriver(partitions: 1)
        try driver.deliver("a")
        driver.now += 1_000
        _ = driver.flight()  // the heartbeat
        driver.received(.heartbeat(.noTopology), to: driver.heartbeat(0))
        _ = driver.flight()  // the topology
        driver.answerTopology(epoch: 1, partitions: 1)
        driver.received(.heartbeat(.progress(last: 0, applied: 0)), to: driver.heartbeat(0))
        #expect(driver.refusal("a") == .repairDue(partition: 0))
        driver.now += 1_000
        guard case .push(let batch, _, _, _) = driver.flight().last else {
            Issue.record("no replay")
            return
        }
        driver.answer(batch, .ok(applied: 0))
        #expect(driver.refusal("a") == nil)
    }

    @Test func aRefusedHeartbeatBacksOff() throws {
        var driver = ProducerDriver(partitions: 1)
        try driver.deliver("a")
        driver.now += 1_000
        _ = driver.flight()  // the heartbeat
        driver.received(.heartbeat(.refused("LOADING")), to: driver.heartbeat(0))
        #expect(driver.refusal("a") == nil)
        driver.now += 1_000
        #expect(driver.flight() == [driver.heartbeat(0)])
    }
}
