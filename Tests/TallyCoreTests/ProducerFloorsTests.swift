// What a producer has released, and whom it tells.

import Testing

@testable import TallyCore

private typealias Fixture = CoreFixture

@Suite struct ProducerFloorsTests {
    /// One batch of partition 0 is in the shard, and nothing is left to send.
    private func idle() throws -> ProducerDriver {
        var driver = ProducerDriver(partitions: 2)
        try driver.deliver(driver.key(0), applied: 1)
        #expect(driver.producer.heldBytes == 0)
        return driver
    }

    private func floor(_ sequence: UInt64 = 1, epoch: UInt32 = 1, partition: UInt32 = 0) -> StreamFloor {
        StreamFloor(stream: Fixture.stream(1, epoch: epoch, partition: partition), sequence: sequence)
    }

    // MARK: Over an empty outbox

    @Test func aFloorIsComparedAfterAReconnectAndNowAndThen() throws {
        var driver = try idle()
        driver.producer.connection(isUp: true, now: driver.now)
        #expect(driver.flight() == [.readTopology, .readTime])
        driver.answerTopology(epoch: 1, partitions: 2)
        #expect(driver.flight().isEmpty, "its consumer comes first")
        driver.now += Limits.heartbeatMilliseconds
        #expect(driver.flight() == [driver.heartbeat(0)], "of the partition that has one")
        driver.received(.heartbeat(.progress(last: 1, applied: 1)), to: driver.heartbeat(0))
        driver.now += Limits.idleHeartbeatMilliseconds - 1
        #expect(!driver.flight().contains(driver.heartbeat(0)))
        driver.now += 1
        #expect(driver.flight().contains(driver.heartbeat(0)))
    }

    @Test func aFloorThatNothingReachesClosesThePartitionUntilItIsReached() throws {
        var driver = try idle()
        driver.received(.heartbeat(.progress(last: 0, applied: 0)), to: driver.heartbeat(0))
        #expect(driver.refusal(driver.key(0)) == .shardBehind(partition: Fixture.partition(1, 0), missing: 1...1))
        #expect(driver.refusal(driver.key(1)) == nil)
        driver.now += Limits.retryMillisecondsMax
        #expect(driver.flight().contains(driver.heartbeat(0)), "nothing else would open it")
        driver.received(.heartbeat(.progress(last: 0, applied: 1)), to: driver.heartbeat(0))
        #expect(driver.refusal(driver.key(0)) == nil)
    }

    @Test func aLateHeartbeatSaysWhatWasTrueOfItsOwnFloor() throws {
        var driver = ProducerDriver(partitions: 2)
        let early = driver.heartbeat(0)
        try driver.deliver(driver.key(0), applied: 1)
        driver.received(.heartbeat(.progress(last: 0, applied: 0)), to: early)
        #expect(driver.refusal(driver.key(0)) == nil)
    }

    @Test func floorsAreToldBeforeTheEnd() throws {
        var driver = try idle()
        driver.producer.connection(isUp: true, now: driver.now)
        _ = driver.flight()  // the topology first
        driver.answerTopology(epoch: 1, partitions: 2)
        #expect(!driver.producer.areFloorsTold)
        #expect(driver.flight().isEmpty, "there is time")
        driver.producer.drain()
        #expect(driver.flight() == [driver.heartbeat(0)])
        driver.received(.heartbeat(.progress(last: 0, applied: 0)), to: driver.heartbeat(0))
        #expect(driver.producer.areFloorsTold, "whatever Redis says to it: it has noted what it does not reach")
    }

    @Test func earlierFloorsAreToldBeforeTheEnd() throws {
        var driver = try idle()
        driver.answerTopology(epoch: 2, partitions: 2)
        #expect(!driver.producer.areFloorsTold)
        driver.answer(driver.flight().filter(\.isComparison), .known([false]))
        #expect(driver.producer.areFloorsTold)
    }

    /// It may be filled again before the next look.
    @Test func anEmptiedRedisIsToldEverythingAgain() throws {
        var driver = try idle()
        driver.answerTopology(epoch: 2, partitions: 2)
        driver.answer(driver.flight().filter(\.isComparison), .known([true]))
        driver.now += Limits.topologyMilliseconds
        _ = driver.flight()  // the topology
        driver.received(.topology(nil), to: .readTopology)
        let commands = driver.flight()
        #expect(commands.contains(.noteEpoch(ProducerDriver.topology(epoch: 2, partitions: 2))))
        #expect(commands.contains { $0.isComparison })
    }

    // MARK: Over a move

    @Test func aMoveTakesFloorsAlong() throws {
        var driver = try idle()
        driver.answerTopology(epoch: 2, partitions: 3)
        let topology = ProducerDriver.topology(epoch: 2, partitions: 3)
        let asked = QueueCommand.compare([floor()], in: Fixture.partition(2, 0), topology: topology)
        #expect(driver.flight().filter(\.isComparison) == [asked])
        #expect(driver.flight().filter(\.isComparison).isEmpty, "one at a time")
        driver.received(.compared(.known([false])), to: asked)
        driver.now += Limits.idleHeartbeatMilliseconds
        #expect(driver.flight().filter(\.isComparison) == [asked], "until its consumer has looked it up")
        driver.received(.compared(.known([true])), to: asked)
        driver.now += Limits.idleHeartbeatMilliseconds
        #expect(driver.flight().filter(\.isComparison).isEmpty)
        driver.producer.connection(isUp: false, now: driver.now)
        driver.producer.connection(isUp: true, now: driver.now)
        _ = driver.flight()  // the topology first
        driver.answerTopology(epoch: 2, partitions: 3)
        #expect(driver.flight().filter(\.isComparison) == [asked], "what was known may be gone")
    }

    @Test func eachMoveTakesThemFurther() throws {
        var driver = ProducerDriver(partitions: 2)
        try driver.deliver(driver.key(1), applied: 1)
        driver.answerTopology(epoch: 2, partitions: 1)
        driver.answer(driver.pushes(), .ok(applied: 0))
        try driver.deliver("a", applied: 1)
        driver.answerTopology(epoch: 3, partitions: 2)
        let asked = driver.flight().filter(\.isComparison)
        let topology = ProducerDriver.topology(epoch: 3, partitions: 2)
        #expect(
            asked == [
                .compare([floor(epoch: 2)], in: Fixture.partition(3, 0), topology: topology),
                .compare([floor(partition: 1)], in: Fixture.partition(3, 1), topology: topology),
            ])
    }

    @Test func onlyTheNewestEpochsAreKept() throws {
        var driver = ProducerDriver(partitions: 1)
        let last = UInt32(Limits.earlierEpochsMax) + 3
        for epoch in 1..<last {
            try driver.deliver("a", applied: 1)
            driver.answerTopology(epoch: epoch + 1, partitions: 1)
            driver.answer(driver.flight().filter(\.isComparison), .known([false]))
        }
        driver.now += Limits.idleHeartbeatMilliseconds
        guard case .compare(let floors, _, _)? = driver.flight().first(where: \.isComparison) else {
            Issue.record("nothing is compared")
            return
        }
        #expect(floors.map(\.stream.partition.epoch) == Array(last - UInt32(Limits.earlierEpochsMax)..<last))
    }

    // MARK: An epoch that comes again

    @Test(arguments: [(UInt32(1), 2), (2, 5), (3, 4)])
    func anEpochThatWasSeenIsToldWhereAnotherIsPublished(epoch: UInt32, partitions: Int) throws {
        var driver = try idle()
        driver.answerTopology(epoch: 2, partitions: 3)
        _ = driver.flight()  // the comparison
        driver.now += Limits.topologyMilliseconds
        #expect(driver.flight().contains(.readTopology))
        driver.answerTopology(epoch: epoch, partitions: partitions)
        let note = QueueCommand.noteEpoch(ProducerDriver.topology(epoch: 2, partitions: 3))
        #expect(driver.flight().contains(note) == (epoch < 3), "a newer one is what it waits for")
        #expect(!driver.flight().contains(note), "once")
    }
}

extension QueueCommand {
    fileprivate var isComparison: Bool { if case .compare = self { true } else { false } }
}

extension ProducerDriver {
    fileprivate mutating func answer(_ commands: [QueueCommand], _ reply: CompareReply) {
        for command in commands { received(.compared(reply), to: command) }
    }
}
