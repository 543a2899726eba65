// A sequence number belongs to its bytes, and nothing is acknowledged that no shard could ever count: what a producer
// concludes from answers that do not fit what it has sent.

import Testing

@testable import TallyCore

@Suite struct ProducerIdentityTests {
    typealias Fixture = CoreFixture

    @Test func behindClosesItsPartitionUntilTheShardHasIt() throws {
        var driver = ProducerDriver()
        let key = driver.key(1)
        try driver.deliver(key)
        try driver.deliver(key, applied: 2)
        let ticket = try driver.admit([(key, 1)])
        let batch = driver.pushes()
        driver.answer(batch, .behind(applied: 0))
        #expect(driver.refusal(key) == .shardBehind(partition: PartitionID(epoch: 1, number: 1), missing: 1...2))
        #expect(driver.refusal(driver.key(0)) == nil && driver.acknowledged().isEmpty)
        driver.now += 20
        #expect(driver.pushes() == batch, "tried again, the same bytes")
        driver.answer(batch, .behind(applied: 1))
        #expect(driver.refusal(key) == .shardBehind(partition: PartitionID(epoch: 1, number: 1), missing: 2...2))
        driver.now += 1_000
        driver.answer(driver.pushes(), .ok(applied: 2))
        #expect(driver.refusal(key) == nil && driver.acknowledged().map(\.ticket) == [ticket])
    }

    private func expectTheEnd(_ driver: inout ProducerDriver, _ location: SourceLocation = #_sourceLocation) {
        #expect(driver.producer.conflict == Fixture.stream(), sourceLocation: location)
        #expect(driver.refusal("a") == .identityInUse, sourceLocation: location)
        #expect(driver.acknowledged().isEmpty, sourceLocation: location)
        driver.now += 60_000
        #expect(driver.flight().isEmpty, sourceLocation: location)
    }

    @Test func aConflictIsTheEnd() throws {
        var driver = ProducerDriver(partitions: 1)
        _ = try driver.admit([("a", 1)])
        driver.answer(driver.pushes(), .conflict)
        expectTheEnd(&driver)
    }

    @Test func aDuplicateWithAnotherHistoryIsTheEnd() throws {
        var driver = ProducerDriver(partitions: 1)
        _ = try driver.admit([("a", 1)])
        let batch = driver.pushes()[0]
        driver.answer(batch, .duplicate(last: 1, chain: batch.chain.through ^ 1, applied: 0))
        expectTheEnd(&driver)
    }

    @Test func aDuplicateOfMoreThanWasSentIsTheEnd() throws {
        var driver = ProducerDriver(partitions: 1)
        _ = try driver.admit([("a", 1)])
        driver.answer(driver.pushes()[0], .duplicate(last: 2, chain: nil, applied: 0))
        expectTheEnd(&driver)
    }

    @Test(arguments: [(UInt64(2), UInt64(1)), (2, 2)])
    func aHeartbeatOfMoreThanWasSentIsTheEnd(last: UInt64, applied: UInt64) throws {
        var driver = ProducerDriver(partitions: 1)
        try driver.deliver("a")
        _ = try driver.admit([("a", 1)], level: .stored)  // not frozen yet
        driver.received(.heartbeat(.progress(last: last, applied: applied)), to: driver.heartbeat(0))
        expectTheEnd(&driver)
    }

    @Test func aHistoryThatRedisDoesNotKnowIsNoConflict() throws {
        var driver = ProducerDriver(partitions: 1)
        let ticket = try driver.admit([("a", 1)])
        driver.answer(driver.pushes(), .duplicate(last: 1, chain: nil, applied: 0))
        #expect(driver.producer.conflict == nil && driver.acknowledged().map(\.ticket) == [ticket])
    }

    @Test func aHistoryIsTheChainOfChecksums() throws {
        var driver = ProducerDriver(partitions: 1)
        var before: UInt64 = 0
        for _ in 0..<3 {
            _ = try driver.admit([("a", 1)])
            let batch = driver.pushes()[0]
            let checksum = batch.bytes.suffix(8).reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
            #expect(batch.chain == BatchChain(after: before, checksum: checksum) && batch.chain.before == before)
            before = batch.chain.through
            driver.answer(batch, .ok(applied: 0))
        }
    }

    @Test func anUnfitRedisClosesAdmissionWithItsReason() {
        var driver = ProducerDriver(partitions: 1)
        driver.producer.connection(isUp: false, unfit: "appendfsync is no", now: driver.now)
        #expect(driver.refusal("a") == .redisUnfit("appendfsync is no"))
        driver.producer.connection(isUp: false, now: driver.now)
        #expect(driver.refusal("a") == .redisUnreachable)
        driver.producer.connection(isUp: true, now: driver.now)
        #expect(driver.refusal("a") == nil)
    }

    /// The date is the first increment's, by the clock that was known then, and stays when the batch moves.
    @Test func aBatchIsDatedWhenItsFirstIncrementIsAdmitted() throws {
        var driver = ProducerDriver(partitions: 1)
        let admitted = ProducerDriver.epoch + driver.now
        _ = try driver.admit([("a", 1)])
        driver.now += 300
        driver.received(.time(5), to: .readTime)
        _ = try driver.admit([("a", 1)])
        let batch = driver.pushes()[0]
        #expect(try Fixture.header(of: batch.bytes).frozenAt == admitted)
        driver.now += 300
        driver.answerTopology(epoch: 2, partitions: 1)
        let moved = driver.pushes()[0]
        #expect(try Fixture.header(of: moved.bytes).frozenAt == admitted)
        #expect(try Fixture.header(of: moved.bytes).origin == batch.id)
    }
}
