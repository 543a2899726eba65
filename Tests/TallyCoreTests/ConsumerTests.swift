// Every transition of the consumer: each outcome of each action leads to the state that the picture in Consumer.swift
// shows, and what time can mend is waited for, longer each time.

import TallyCore
import Testing

@Suite struct ConsumerTests {
    typealias Fixture = CoreFixture

    static let partition = Fixture.partition(3, 1)
    static let shard = ShardUUID(Bytes16(high: 1, low: 1))
    static let otherShard = ShardUUID(Bytes16(high: 2, low: 2))

    /// A consumer and its clock.
    struct Driver {
        var consumer = Consumer(partition: ConsumerTests.partition, shard: ConsumerTests.shard)
        var now: UInt64 = 5_000

        var next: Consumer.Action { consumer.next(now: now) }

        mutating func handle(_ events: Consumer.Event...) {
            for event in events { consumer.handle(event, now: now) }
        }

        mutating func start() {
            handle(
                .claimed(.granted(claim()), isRetired: false, newestEpoch: 3), .inspected(missing: [], unknown: [:]),
                .checkpointed)
            #expect(next == ConsumerTests.peek)
        }
    }

    static func claim(token: UInt64 = 7, shard: ShardUUID = shard) -> Claim {
        Claim(token: token, shard: shard, sealed: false, applied: [Fixture.producer(1): 4])
    }

    static func peeked(_ batches: [[UInt8]], length: Int? = nil, shard: ShardUUID = shard) -> Consumer.Event {
        .peeked(
            .batches(Peeked(shard: shard, sealed: false, batches: batches, length: length ?? batches.count, time: 0)))
    }

    static let peek = Consumer.Action.peek(skip: 0, bytes: Limits.peekBytes, batches: Limits.peekBatches)

    static let committed: Applied = {
        var applied = Applied()
        applied.committed = [Fixture.batchID(1, epoch: 3, partition: 1)]
        applied.watermarks = [Fixture.producer(1): 1]
        return applied
    }()
    static let trim = TrimRequest(token: 7, committed: committed.committed, applied: committed.watermarks)

    @Test func theWholeLoop() {
        var driver = Driver()
        #expect(driver.next == .claim && driver.consumer.leaseToken == 0)
        driver.handle(.claimed(.granted(Self.claim()), isRetired: false, newestEpoch: 3))
        #expect(driver.next == .inspect(Self.claim()) && driver.consumer.leaseToken == 7)
        driver.handle(.inspected(missing: [], unknown: [:]))
        #expect(driver.next == .checkpoint)
        driver.handle(.checkpointed)
        #expect(driver.next == Self.peek)
        driver.handle(Self.peeked([]))
        #expect(driver.next == .waitForBatch && driver.consumer.backlog == 0)
        driver.handle(.waited)
        #expect(driver.next == Self.peek)
        driver.handle(Self.peeked([[1]]))
        #expect(driver.next == .apply([[1]]) && driver.consumer.backlog == 0)
        driver.handle(.applied(.commit(Self.committed)))
        #expect(driver.next == .trim(Self.trim))
        driver.handle(.trimmed(.trimmed(batches: 1)))
        #expect(driver.next == Self.peek)
    }

    /// Redis went back: it learns what the file holds before anything is peeked.
    @Test func watermarksThatRedisDoesNotKnowAreRaised() {
        var driver = Driver()
        let unknown = [Fixture.producer(1): UInt64(9)]
        driver.handle(.claimed(.granted(Self.claim()), isRetired: false, newestEpoch: 3))
        driver.handle(.inspected(missing: [], unknown: unknown), .checkpointed)
        #expect(driver.next == .trim(TrimRequest(token: 7, committed: [], applied: unknown)))
        driver.handle(.trimmed(.trimmed(batches: 0)))
        #expect(driver.next == Self.peek)
        #expect(
            Consumer.unknown(
                to: [Fixture.producer(1): 4, Fixture.producer(2): 5],
                of: [Fixture.producer(1): 9, Fixture.producer(2): 5, Fixture.producer(3): 1])
                == [Fixture.producer(1): 9, Fixture.producer(3): 1])
    }

    @Test func producersThatAreBehindAreLookedUpNowAndThen() {
        var driver = Driver()
        driver.start()
        let behind = [
            Fixture.stream(1, epoch: 3, partition: 1), Fixture.stream(2, epoch: 3, partition: 1),
            Fixture.stream(1, epoch: 2, partition: 4),
        ]
        let peeked = Consumer.Event.peeked(
            .batches(Peeked(shard: Self.shard, sealed: false, batches: [[1]], length: 1, behind: behind, time: 0)))
        driver.handle(peeked)
        #expect(driver.next == .lookUp(behind))
        driver.handle(.lookedUp([behind[0]: 5, behind[2]: 8]))
        #expect(
            driver.next
                == .trim(
                    TrimRequest(
                        token: 7, committed: [], applied: [Fixture.producer(1): 5], earlier: [behind[2]: 8])))
        driver.handle(.trimmed(.trimmed(batches: 0)))
        driver.now += Limits.behindMilliseconds - 1
        driver.handle(peeked)
        #expect(driver.next == .apply([[1]]), "not with every peek")
        driver.handle(.applied(.commit(Self.committed)), .trimmed(.trimmed(batches: 1)))
        driver.now += 1
        driver.handle(peeked)
        #expect(driver.next == .lookUp(behind))
        driver.handle(.lookedUp([:]))
        #expect(driver.next == Self.peek, "it has none of them")
        driver.now += Limits.behindMilliseconds
        driver.handle(peeked)
        #expect(driver.next == .apply([[1]]), "a slow Redis does not keep it from its work")
    }

    @Test func theLeaseIsRenewedInTime() {
        var driver = Driver()
        driver.start()
        driver.now += 14_999
        #expect(driver.next == Self.peek)
        driver.now += 1
        #expect(driver.next == .renew(token: 7))
        driver.handle(.redisFailed("timeout"))
        #expect(driver.next == .pause(milliseconds: 20, .redis("timeout")))
        driver.handle(.paused)
        #expect(driver.next == .renew(token: 7), "still due")
        driver.handle(.renewed(isFenced: false))
        #expect(driver.next == Self.peek)
        driver.now += 15_000
        driver.handle(.renewed(isFenced: true))
        #expect(driver.next == .claim)
    }

    @Test func fencedStartsAgain() {
        var driver = Driver()
        driver.start()
        driver.handle(Self.peeked([[1]]), .applied(.commit(Self.committed)), .trimmed(.fenced))
        #expect(driver.next == .claim)
        driver.handle(.claimed(.granted(Self.claim(token: 9)), isRetired: false, newestEpoch: 3))
        driver.handle(
            .inspected(missing: [], unknown: [:]), .checkpointed, Self.peeked([[1]]), .applied(.commit(Self.committed)))
        guard case .trim(let request) = driver.next else {
            Issue.record("no trim")
            return
        }
        #expect(request.token == 9)
    }

    @Test func aGoneKeyGroupIsWaitedFor() {
        var driver = Driver()
        for wait in [20, 40, 80, 160] as [UInt64] {
            driver.handle(.claimed(.noTopology, isRetired: false, newestEpoch: 0))
            #expect(driver.next == .pause(milliseconds: wait, .noTopology))
            driver.handle(.paused)
            #expect(driver.next == .claim)
        }
        driver = Driver()
        driver.start()
        driver.handle(.peeked(.noTopology))
        #expect(driver.next == .pause(milliseconds: 20, .noTopology))
        driver.handle(.paused)
        #expect(driver.next == .claim)
        driver = Driver()
        driver.start()
        driver.handle(Self.peeked([[1]]), .applied(.commit(Self.committed)), .trimmed(.noTopology))
        #expect(driver.next == Self.peek, "which finds out")
    }

    @Test func anotherHolderOrFileIsWaitedFor() {
        var driver = Driver()
        driver.handle(.claimed(.held(by: "web2:77", milliseconds: 900), isRetired: false, newestEpoch: 3))
        #expect(driver.next == .pause(milliseconds: 20, .held(by: "web2:77")))
        driver.handle(.paused)
        driver.handle(.claimed(.granted(Self.claim(shard: Self.otherShard)), isRetired: false, newestEpoch: 3))
        #expect(driver.next == .pause(milliseconds: 40, .otherShard(Self.otherShard)))
        driver.handle(.paused)
        #expect(driver.next == .claim)
        driver.start()
        driver.handle(Self.peeked([[1]], shard: Self.otherShard))
        #expect(driver.next == .claim, "nothing of another file's queue is applied")
    }

    @Test func retiredStops() {
        var driver = Driver()
        driver.handle(.claimed(.granted(Self.claim()), isRetired: true, newestEpoch: 9))
        #expect(driver.next == .stop(.retired))
        driver = Driver()
        driver.handle(.claimed(.noTopology, isRetired: true, newestEpoch: 0))
        #expect(driver.next == .stop(.retired))
        driver = Driver()
        driver.start()
        driver.handle(Self.peeked([[1]]), .applied(.retired))
        #expect(driver.next == .stop(.retired))
    }

    @Test func supersededStops() {
        for reply in [ClaimReply.granted(Self.claim()), .noTopology, .held(by: "x", milliseconds: 1)] {
            var driver = Driver()
            driver.handle(.claimed(reply, isRetired: false, newestEpoch: 4))
            #expect(driver.next == .stop(.superseded(byEpoch: 4)))
        }
        var driver = Driver()
        driver.handle(.claimed(.granted(Self.claim()), isRetired: false, newestEpoch: 2))
        #expect(driver.next == .inspect(Self.claim()), "a topology that went back is repair's business")
    }

    @Test func aFileThatIsTooOldStopsWithItsRanges() {
        var driver = Driver()
        let missing = [Consumer.MissingRange(producer: Fixture.producer(1), sequences: 3...4)]
        driver.handle(
            .claimed(.granted(Self.claim()), isRetired: false, newestEpoch: 3),
            .inspected(missing: missing, unknown: [:]))
        #expect(driver.next == .stop(.fileTooOld(missing)))
    }

    @Test func anAlarmStops() {
        var driver = Driver()
        driver.start()
        driver.handle(Self.peeked([[1]]), .applied(.stop(.newerVersion(2))))
        #expect(driver.next == .stop(.alarm(.newerVersion(2))))
    }

    @Test func redisFailuresAreWaitedFor() {
        var driver = Driver()
        driver.handle(.redisFailed("refused"))
        #expect(driver.next == .pause(milliseconds: 20, .redis("refused")))
        driver.handle(.paused)
        #expect(driver.next == .claim)
        driver.start()
        driver.handle(Self.peeked([]), .redisFailed("lost"))
        guard case .pause(_, .redis("lost")) = driver.next else {
            Issue.record("no pause")
            return
        }
        driver.handle(.paused)
        #expect(driver.next == Self.peek)
        driver.handle(Self.peeked([[1]]), .applied(.commit(Self.committed)), .redisFailed("late"))
        driver.handle(.paused)
        #expect(driver.next == Self.peek, "what was committed is met again and skipped")
    }

    /// Over its maxmemory Redis refuses the wait, which is a write for it: that the queue can be looked at is no end.
    @Test func aRefusedWaitIsTriedAgainLessOften() {
        var driver = Driver()
        driver.start()
        for wait in [20, 40, 80, 160, 320, 640, 1_000, 1_000] as [UInt64] {
            driver.handle(Self.peeked([]))
            #expect(driver.next == .waitForBatch)
            driver.handle(.redisFailed("OOM"))
            #expect(driver.next == .pause(milliseconds: wait, .redis("OOM")))
            driver.handle(.paused)
        }
        driver.handle(Self.peeked([]), .waited, Self.peeked([]), .redisFailed("OOM"))
        #expect(driver.next == .pause(milliseconds: 20, .redis("OOM")), "one wait ends it")
    }

    @Test func storageThatIsFullOrBusyIsWaitedForLongerEachTime() {
        var driver = Driver()
        driver.start()
        for wait in [20, 40, 80, 160, 320, 640, 1_000, 1_000] as [UInt64] {
            driver.handle(Self.peeked([[1]]), .applyDeferred("disk full"))
            #expect(driver.next == .pause(milliseconds: wait, .storage("disk full")))
            driver.handle(.paused)
            #expect(driver.next == Self.peek, "never a trim")
        }
        driver.handle(Self.peeked([[1]]), .applied(.commit(Self.committed)), .trimmed(.trimmed(batches: 1)))
        driver.handle(Self.peeked([[1]]), .applyDeferred("busy"))
        #expect(driver.next == .pause(milliseconds: 20, .storage("busy")), "one success ends it")
    }

    @Test func aFailingStartIsWaitedForLongerEachTime() {
        var driver = Driver()
        for wait in [20, 40, 80] as [UInt64] {
            driver.handle(.claimed(.granted(Self.claim()), isRetired: false, newestEpoch: 3), .applyDeferred("busy"))
            #expect(driver.next == .pause(milliseconds: wait, .storage("busy")))
            driver.handle(.paused)
            #expect(driver.next == .claim)
        }
        driver.handle(
            .claimed(.granted(Self.claim()), isRetired: false, newestEpoch: 3), .inspected(missing: [], unknown: [:]))
        driver.handle(.applyDeferred("busy"))
        #expect(driver.next == .pause(milliseconds: 160, .storage("busy")))
        driver.handle(.paused)
        #expect(driver.next == .claim)
    }

    /// A Redis that can be read and not written: each round peeks and applies in vain.
    @Test func failingTrimsAreWaitedForLongerEachTime() {
        var driver = Driver()
        driver.start()
        for wait in [20, 40, 80] as [UInt64] {
            driver.handle(Self.peeked([[1]]), .applied(.commit(Self.committed)), .redisFailed("READONLY"))
            #expect(driver.next == .pause(milliseconds: wait, .redis("READONLY")))
            driver.handle(.paused)
        }
    }

    /// What Redis has forgotten is raised after each reconnect: that is no work.
    @Test func raisedWatermarksDoNotEndTheBackOff() {
        var driver = Driver()
        driver.start()
        let stream = StreamID(partition: Self.partition, producer: Fixture.producer(2))
        let refused = Peeked(
            shard: Self.shard, sealed: false, batches: [], length: 0, behind: [stream], time: 1)
        for wait in [20, 40, 80, 160] as [UInt64] {
            driver.now += 1_000
            driver.handle(
                .peeked(.batches(refused)), .lookedUp([stream: 5]), .trimmed(.trimmed(batches: 0)),
                .peeked(.batches(refused)), .redisFailed("lost"))
            #expect(driver.next == .pause(milliseconds: wait, .redis("lost")))
            driver.handle(.paused)
        }
    }
}
