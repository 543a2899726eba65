// The consumer's machine as a rebalance uses it: it ends where a consumer would wait.

import TallyCore
import Testing

@Suite struct ConsumerDrainTests {
    private var consumer = Consumer(
        partition: ConsumerTests.partition, shard: ConsumerTests.shard, purpose: .drain)

    private var next: Consumer.Action { consumer.next(now: 0) }

    private mutating func handle(_ events: Consumer.Event...) {
        for event in events { consumer.handle(event, now: 0) }
    }

    /// A newer epoch is why it drains.
    private mutating func start() {
        handle(
            .claimed(.granted(ConsumerTests.claim()), isRetired: false, newestEpoch: 4),
            .inspected(missing: [], unknown: [:]),
            .checkpointed)
    }

    private func peeked(_ batches: [[UInt8]], sealed: Bool) -> Consumer.Event {
        .peeked(
            .batches(
                Peeked(shard: ConsumerTests.shard, sealed: sealed, batches: batches, length: batches.count, time: 0)))
    }

    @Test mutating func endsWithASealedAndEmptyList() {
        start()
        handle(peeked([[1]], sealed: true))
        #expect(next == .apply([[1]]))
        handle(.applied(.commit(ConsumerTests.committed)), .trimmed(.trimmed(batches: 1)))
        handle(peeked([], sealed: true))
        #expect(next == .stop(.drained))
    }

    @Test mutating func sealsAListThatARollbackOpenedAgain() {
        start()
        handle(peeked([], sealed: false))
        #expect(next == .seal)
        handle(.redisFailed("timeout"), .paused, peeked([], sealed: false), .sealed(.sealed))
        #expect(next == ConsumerTests.peek)
        handle(peeked([], sealed: true))
        #expect(next == .stop(.drained))
    }

    @Test mutating func aGroupThatIsGoneIsDrained() {
        handle(.claimed(.noTopology, isRetired: false, newestEpoch: 4))
        #expect(next == .stop(.drained))
    }

    @Test mutating func aGroupThatGoesIsDrained() {
        start()
        handle(.peeked(.noTopology))
        #expect(next == .stop(.drained))
    }

    @Test mutating func aGroupThatGoesBeforeTheSealIsDrained() {
        start()
        handle(peeked([], sealed: false), .sealed(.noTopology))
        #expect(next == .stop(.drained))
    }

    @Test mutating func leavesARetiredFileAndAnotherFilesQueueAlone() {
        handle(.claimed(.granted(ConsumerTests.claim()), isRetired: true, newestEpoch: 4))
        #expect(next == .stop(.retired))
        consumer = Consumer(partition: ConsumerTests.partition, shard: ConsumerTests.otherShard, purpose: .drain)
        handle(.claimed(.granted(ConsumerTests.claim()), isRetired: false, newestEpoch: 4))
        #expect(next == .stop(.otherShard(ConsumerTests.shard)))
    }

    @Test mutating func aFileThatIsTooOldIsNotDrained() {
        let missing = Consumer.MissingRange(producer: CoreFixture.producer(1), sequences: 3...4)
        handle(
            .claimed(.granted(ConsumerTests.claim()), isRetired: false, newestEpoch: 4),
            .inspected(missing: [missing], unknown: [:]))
        #expect(next == .stop(.fileTooOld([missing])))
    }
}
