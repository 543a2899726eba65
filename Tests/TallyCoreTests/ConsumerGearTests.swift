// The consumer's gears: what is gathered for one transaction, how much of it after which success or failure, and the
// pieces in which it is trimmed.

import TallyCore
import Testing

@Suite struct ConsumerGearTests {
    typealias Fixture = CoreFixture

    static let shard = ShardUUID(Bytes16(high: 1, low: 1))
    /// Batches of 10 bytes: a peek reads two of them, a transaction at most eight.
    static let bounds: Consumer.Bounds = {
        var bounds = Consumer.Bounds()
        bounds.peekBytes = 20
        bounds.peekBatches = 3
        bounds.transactionBytes = 80
        bounds.transactionBatches = 9
        return bounds
    }()

    /// A queue of `length` batches and the consumer that works on it.
    struct Driver {
        var consumer: Consumer
        var now: UInt64 = 5_000
        var length: Int
        var trims: [Int] = []

        init(length: Int, bounds: Consumer.Bounds = ConsumerGearTests.bounds, isLeaseLeft: Bool = false) {
            consumer = Consumer(partition: Fixture.partition(3, 1), shard: ConsumerGearTests.shard, bounds: bounds)
            self.length = length
            let claim = Claim(token: 7, shard: ConsumerGearTests.shard, sealed: false, applied: [:])
            handle(.claimed(.granted(claim), isRetired: false, newestEpoch: 3, isLeaseLeft: isLeaseLeft))
            handle(.inspected(missing: [], unknown: [:]))
            handle(.checkpointed)
        }

        var next: Consumer.Action { consumer.next(now: now) }

        mutating func handle(_ event: Consumer.Event) {
            consumer.handle(event, now: now)
        }

        /// Answers one peek as the queue would.
        mutating func peek() {
            guard case .peek(let skip, let bytes, let batches) = next else {
                Issue.record("\(next) is no peek")
                return
            }
            let fitting = min(max(1, bytes / 10), batches, max(0, length - skip))
            let found = Array(repeating: [UInt8](repeating: 1, count: 10), count: fitting)
            handle(
                .peeked(
                    .batches(
                        Peeked(shard: ConsumerGearTests.shard, sealed: false, batches: found, length: length, time: 0)))
            )
        }

        /// Peeks until there is something to apply; how many batches.
        mutating func gather() -> Int {
            while case .peek = next { peek() }
            if case .apply(let batches) = next { return batches.count }
            return 0
        }

        /// Commits the first `count` of what was gathered after `milliseconds`, and trims them.
        mutating func commit(_ count: Int, milliseconds: UInt64 = 1) {
            var applied = Applied()
            applied.committed = (1...UInt64(count)).map { Fixture.batchID($0, epoch: 3, partition: 1) }
            applied.watermarks = [Fixture.producer(1): UInt64(count)]
            now += milliseconds
            handle(.applied(.commit(applied)))
            trims = []
            while case .trim(let request) = next {
                trims.append(request.committed.count)
                #expect(request.token == 7 && request.applied == applied.watermarks)
                length -= request.committed.count
                handle(.trimmed(.trimmed(batches: request.committed.count)))
            }
        }
    }

    @Test func aShortQueueIsAppliedAsItIsFound() {
        var driver = Driver(length: 2)
        driver.peek()
        #expect(driver.gather() == 2 && driver.consumer.backlog == 0)
    }

    @Test func theReachGrowsUpToTheBoundAndStartsAnewOnAnEmptyQueue() {
        var driver = Driver(length: 2 + 8 + 8 + 3)
        for expected in [2, 8, 8, 3] {
            #expect(driver.gather() == expected)
            driver.commit(expected)
        }
        #expect(driver.gather() == 0 && driver.next == .waitForBatch)
        driver.handle(.waited)
        driver.length = 100
        #expect(driver.gather() == 2)
    }

    @Test func eachPeekReadsOnBehindTheLast() {
        var driver = Driver(length: 100)
        _ = driver.gather()  // two
        driver.commit(2)
        #expect(driver.next == .peek(skip: 0, bytes: 20, batches: 3))
        for skip in [2, 4, 6] {
            driver.peek()
            #expect(driver.next == .peek(skip: skip, bytes: 20, batches: 3))
        }
        driver.peek()
        guard case .apply(let batches) = driver.next else {
            Issue.record("\(driver.next)")
            return
        }
        #expect(batches.count == 8 && driver.consumer.backlog == 90)
    }

    @Test func aPeekReadsNoMoreThanIsWanted() {
        var bounds = Self.bounds
        bounds.transactionBytes = 30
        bounds.transactionBatches = 4
        var driver = Driver(length: 100, bounds: bounds)
        _ = driver.gather()  // two
        driver.commit(2)
        driver.peek()
        #expect(driver.next == .peek(skip: 2, bytes: 10, batches: 2))
        driver.peek()
        guard case .apply = driver.next else {
            Issue.record("\(driver.next)")
            return
        }
    }

    @Test func theNumberOfBatchesIsBounded() {
        var bounds = Self.bounds
        bounds.peekBytes = 1_000
        bounds.transactionBytes = 1_000
        var driver = Driver(length: 100, bounds: bounds)
        #expect(driver.gather() == 9)
        driver.commit(9)
        #expect(driver.trims == [3, 3, 3])
    }

    @Test func trimsComeInPiecesOfAPeek() {
        var driver = Driver(length: 100)
        for expected in [[2], [2, 2, 2, 2]] {
            let gathered = driver.gather()
            driver.commit(gathered)
            #expect(driver.trims == expected)
        }
    }

    @Test func aPartOrALongTimeHalvesTheReach() {
        var driver = Driver(length: 1_000)
        for _ in 0..<3 { driver.commit(driver.gather()) }
        #expect(driver.gather() == 8)
        driver.commit(7)
        #expect(driver.trims == [2, 2, 2, 1])
        #expect(driver.gather() == 4, "a part")
        driver.commit(4, milliseconds: 2 * Limits.transactionMilliseconds)
        driver.handle(.renewed(isFenced: false))
        #expect(driver.gather() == 4, "too slow to grow")
        driver.commit(4, milliseconds: 2 * Limits.transactionMilliseconds + 1)
        driver.handle(.renewed(isFenced: false))
        #expect(driver.gather() == 2, "too slow")
        driver.commit(1)
        #expect(driver.gather() == 2, "never less than a peek")
        driver.commit(2, milliseconds: Limits.transactionMilliseconds)
        driver.handle(.renewed(isFenced: false))
        #expect(driver.gather() == 8, "in time")
    }

    /// What lies at the head may be what the consumer before was killed over.
    @Test func behindAKillTheReachBeginsBelowAPeekAndGrows() {
        var bounds = Self.bounds
        bounds.cautiousBytes = 10
        var driver = Driver(length: 1_000, bounds: bounds, isLeaseLeft: true)
        #expect(driver.next == .peek(skip: 0, bytes: 10, batches: 3))
        for expected in [1, 4, 8, 8] {
            #expect(driver.gather() == expected)
            driver.commit(expected)
        }
        // Its own lease, which it has lost: nobody was killed.
        _ = driver.gather()
        driver.now += Limits.leaseMilliseconds / 3
        driver.handle(.renewed(isFenced: true))
        let claim = Claim(token: 8, shard: Self.shard, sealed: false, applied: [:])
        driver.handle(.claimed(.granted(claim), isRetired: false, newestEpoch: 3, isLeaseLeft: true))
        driver.handle(.inspected(missing: [], unknown: [:]))
        driver.handle(.checkpointed)
        #expect(driver.gather() == 8)
    }

    /// A head that is slow however little is taken of it is met with less and less, and never with more.
    @Test func aSlowHeadIsTakenInTheSmallestPieces() {
        var bounds = Self.bounds
        bounds.cautiousBytes = 10
        var driver = Driver(length: 1_000, bounds: bounds)
        for expected in [2, 1, 1] {
            #expect(driver.gather() == expected)
            driver.commit(expected, milliseconds: 2 * Limits.transactionMilliseconds + 1)
            driver.handle(.renewed(isFenced: false))
        }
    }

    @Test func aFullDiskStartsAnewWithTheSmallest() {
        var driver = Driver(length: 1_000)
        for _ in 0..<3 { driver.commit(driver.gather()) }
        #expect(driver.gather() == 8)
        driver.handle(.applyDeferred("disk full"))
        driver.handle(.paused)
        #expect(driver.gather() == 2)
    }

    @Test func theLeaseIsRenewedBeforeATransaction() {
        var driver = Driver(length: 1_000)
        #expect(driver.gather() == 2)
        driver.now += Limits.leaseMilliseconds / 3
        #expect(driver.next == .renew(token: 7))
        driver.handle(.renewed(isFenced: false))
        #expect(driver.gather() == 2)
        driver.now += Limits.leaseMilliseconds / 3
        driver.handle(.renewed(isFenced: true))
        #expect(driver.next == .claim, "nothing was written")
    }

    @Test func aFailureBetweenTwoPeeksForgetsWhatWasGathered() {
        for event in [.redisFailed("lost"), .peeked(.noTopology)] as [Consumer.Event] {
            var driver = Driver(length: 1_000)
            driver.commit(driver.gather())
            driver.peek()
            driver.handle(event)
            guard case .pause = driver.next else {
                Issue.record("\(driver.next)")
                return
            }
            driver.handle(.paused)
            #expect(driver.next == .claim || driver.next == .peek(skip: 0, bytes: 20, batches: 3))
        }
        var driver = Driver(length: 1_000)
        driver.commit(driver.gather())
        driver.peek()
        let other = Peeked(
            shard: ShardUUID(Bytes16(high: 2, low: 2)), sealed: false, batches: [[1]], length: 9,
            time: 0)
        driver.handle(.peeked(.batches(other)))
        #expect(driver.next == .claim)
    }

    /// Somebody else has trimmed, or Redis went back in time.
    @Test func aQueueThatShrankWhileItWasReadIsAppliedAsFarAsItWasRead() {
        var driver = Driver(length: 1_000)
        driver.commit(driver.gather())
        driver.peek()
        driver.length = 1
        driver.peek()
        guard case .apply(let batches) = driver.next else {
            Issue.record("\(driver.next)")
            return
        }
        #expect(batches.count == 2 && driver.consumer.backlog == 0)
    }

    @Test(arguments: [TrimReply.fenced, .noTopology])
    func aPieceThatIsRefusedEndsTheTrim(reply: TrimReply) {
        var driver = Driver(length: 1_000)
        driver.commit(driver.gather())
        #expect(driver.gather() == 8)
        var applied = Applied()
        applied.committed = (1...4).map { Fixture.batchID($0, epoch: 3, partition: 1) }
        driver.handle(.applied(.commit(applied)))
        driver.handle(.trimmed(reply))
        let expected: Consumer.Action = reply == .fenced ? .claim : .peek(skip: 0, bytes: 20, batches: 3)
        #expect(driver.next == expected)
    }
}
