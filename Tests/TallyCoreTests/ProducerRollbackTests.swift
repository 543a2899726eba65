// Redis has gone back in time: it counts once, whatever shows it first and however often it is shown.

import Testing

@testable import TallyCore

@Suite struct ProducerRollbackTests {
    private func rollbacks(_ driver: ProducerDriver) -> UInt64 { driver.producer.statistics.rollbacks }

    /// Two partitions, three batches in each, two of them in the shard.
    private func busy() throws -> ProducerDriver {
        var driver = ProducerDriver()
        for _ in 0..<3 {
            for partition in 0..<2 { try driver.deliver(driver.key(partition)) }
        }
        heartbeats(&driver, .progress(last: 3, applied: 2), count: 2)
        #expect(rollbacks(driver) == 0)
        return driver
    }

    /// Answers the heartbeats that are due, which must be so many.
    private func heartbeats(_ driver: inout ProducerDriver, _ reply: HeartbeatReply, count: Int) {
        driver.now += 1_000
        let commands = driver.flight().filter { if case .heartbeat = $0 { true } else { false } }
        #expect(commands.count == count)
        for command in commands { driver.received(.heartbeat(reply), to: command) }
    }

    /// Confirms what is pushed next, whatever else is asked.
    private func confirm(_ driver: inout ProducerDriver) {
        driver.now += 1_000
        for command in driver.flight() {
            if case .push = command { driver.received(.push(.ok(applied: 2)), to: command) }
        }
    }

    @Test func aHeartbeatShowsIt() throws {
        var driver = try busy()
        heartbeats(&driver, .progress(last: 2, applied: 2), count: 2)
        #expect(rollbacks(driver) == 1, "two partitions, one rollback")
        confirm(&driver)
        heartbeats(&driver, .progress(last: 3, applied: 2), count: 2)
        #expect(rollbacks(driver) == 1)
        heartbeats(&driver, .progress(last: 2, applied: 2), count: 2)
        #expect(rollbacks(driver) == 2, "another one")
    }

    /// The consumer has told Redis already what the shard has: only the sequences are old.
    @Test func everythingIsInTheShard() throws {
        var driver = try busy()
        heartbeats(&driver, .progress(last: 1, applied: 3), count: 2)
        #expect(rollbacks(driver) == 1)
        #expect(driver.pushes().isEmpty)
    }

    /// The copy was made between a push and its trim: only the watermark is old.
    @Test func onlyTheWatermarkIsOld() throws {
        var driver = try busy()
        heartbeats(&driver, .progress(last: 3, applied: 0), count: 2)
        #expect(rollbacks(driver) == 1)
    }

    @Test func aPushShowsItAndTheOthersAreAsked() throws {
        var driver = try busy()
        _ = try driver.admit([(driver.key(0), 1)])  // nobody waits
        driver.answer(driver.pushes(), .gap(last: 1, applied: 1))
        #expect(rollbacks(driver) == 1)
        let flight = driver.flight()
        #expect(flight.contains(driver.heartbeat(1)), "before it is due")
        driver.received(.heartbeat(.progress(last: 1, applied: 1)), to: driver.heartbeat(1))
        #expect(rollbacks(driver) == 1)
    }

    /// A batch behind one that Redis has not taken, because the list was full, is no rollback.
    @Test func aGapThatRedisMade() throws {
        var driver = try busy()
        _ = try driver.admit([(driver.key(0), 1)])  // nobody waits
        driver.answer(driver.pushes(), .gap(last: 3, applied: 2))
        #expect(rollbacks(driver) == 0)
    }

    @Test func everythingIsGone() throws {
        var driver = try busy()
        heartbeats(&driver, .noTopology, count: 2)
        #expect(rollbacks(driver) == 0, "it may be a newer epoch")
        #expect(driver.flight().contains(.readTopology))
        driver.received(.topology(nil), to: .readTopology)
        #expect(rollbacks(driver) == 1)
        driver.now += 1_000
        #expect(driver.flight().contains(.readTopology))
        driver.received(.topology(nil), to: .readTopology)
        #expect(rollbacks(driver) == 1, "still gone")
        driver.now += 1_000
        _ = driver.flight()
        driver.answerTopology(epoch: 1, partitions: 2)
        for partition: UInt32 in 0..<2 {
            driver.received(.heartbeat(.progress(last: 0, applied: 2)), to: driver.heartbeat(partition))
        }
        #expect(rollbacks(driver) == 1, "repaired")
        confirm(&driver)
        driver.now += 5_000
        _ = driver.flight()
        driver.received(.topology(nil), to: .readTopology)
        #expect(rollbacks(driver) == 2, "emptied again")
    }

    /// Emptied and repaired before anybody has asked.
    @Test func emptiedAndRepairedAtOnce() throws {
        var driver = try busy()
        heartbeats(&driver, .progress(last: 0, applied: 2), count: 2)
        #expect(rollbacks(driver) == 1)
    }

    /// The key groups of an epoch that is over are deleted; who has slept meanwhile moves on.
    @Test func aNewerEpoch() throws {
        var driver = try busy()
        heartbeats(&driver, .noTopology, count: 2)
        driver.answerTopology(epoch: 2, partitions: 2)
        #expect(rollbacks(driver) == 0)
        driver.now += 5_000
        _ = driver.flight()
        driver.answerTopology(epoch: 1, partitions: 2)
        #expect(rollbacks(driver) == 1, "and back to before it")
    }
}
