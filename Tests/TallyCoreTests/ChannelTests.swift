// The outbox of one stream: what is taken, resolved, lost and released, in any order that a network can produce.

import Testing

@testable import TallyCore

@Suite struct ChannelTests {
    /// A channel with `count` pending batches of one entry each.
    private func channel(_ count: Int) -> Channel {
        var channel = Channel(stream: CoreFixture.stream())
        for index in 0..<count {
            Array("k\(index)".utf8).withUnsafeBytes {
                channel.aggregator.add($0, hash: XXH64.hash($0), delta: Int64(index))
            }
            channel.freeze(at: 0, limitBytes: .max)
        }
        return channel
    }

    private func take(_ channel: inout Channel, _ count: Int = .max) -> [UInt64] {
        var taken: [UInt64] = []
        while taken.count < count, let batch = channel.takePending({ _, _ in true }) { taken.append(batch.id.sequence) }
        return taken
    }

    private func states(_ channel: Channel) -> [Channel.State] {
        (0..<channel.outbox.count).map { channel.outbox[$0].state }
    }

    @Test func takenInOrderOnce() {
        var channel = channel(3)
        #expect(channel.pendingCount == 3 && !channel.isFlushed && !channel.hasResolved)
        #expect(take(&channel) == [1, 2, 3])
        #expect(take(&channel).isEmpty)
        #expect(channel.inFlightCount == 3 && channel.inFlightBytes == channel.outboxBytes)
        #expect(channel.cumulative == Amount(increments: 3, sum: 3) && channel.nextSequence == 4)
    }

    @Test func refusedBySizeStaysPending() {
        var channel = channel(2)
        var asked: [Bool] = []
        #expect(
            channel.takePending { _, isReplay in
                asked.append(isReplay); return false
            } == nil)
        #expect(channel.pendingCount == 2)
        #expect(take(&channel, 1) == [1])
        channel.retry(1)
        #expect(
            channel.takePending { _, isReplay in
                asked.append(isReplay); return false
            } == nil)
        #expect(asked == [false, true])
        #expect(take(&channel) == [1, 2])
    }

    @Test func resolvedOutOfOrder() {
        var channel = channel(4)
        #expect(take(&channel).count == 4)
        channel.resolve(3)
        channel.resolve(1)
        #expect(channel.resolvedThrough == 1 && channel.hasResolved && !channel.isFlushed)
        channel.retry(4)
        channel.retry(3)
        #expect(states(channel) == [.resolved, .inFlight, .resolved, .pending], "a late failure loses to a success")
        channel.resolve(2)
        #expect(channel.resolvedThrough == 3)
        channel.resolve(4)
        #expect(channel.resolvedThrough == 4 && channel.isFlushed && channel.pendingCount == 0)
        #expect(take(&channel).isEmpty)
    }

    @Test func replayStartsAboveWhatRedisKnows() {
        var channel = channel(5)
        #expect(take(&channel, 4) == [1, 2, 3, 4])
        for sequence in [1, 2, 3] as [UInt64] { channel.resolve(sequence) }
        channel.replay(above: 1)
        #expect(states(channel) == [.resolved, .pending, .pending, .inFlight, .pending])
        #expect(channel.resolvedThrough == 3, "what a client was told stays true")
        #expect(take(&channel) == [2, 3, 5])
        channel.retry(4)
        #expect(take(&channel) == [4])
    }

    @Test func releasedWhateverItsState() {
        var channel = channel(6)
        #expect(take(&channel, 4).count == 4)
        channel.resolve(1)
        channel.resolve(4)
        channel.retry(3)
        channel.release(through: 3)
        #expect(channel.floor == 3 && channel.resolvedThrough == 4, "1...3 by the shard, 4 by Redis")
        #expect(states(channel) == [.resolved, .pending, .pending])
        #expect(channel.inFlightCount == 0 && channel.inFlightBytes == 0 && channel.pendingCount == 2)
        // Late answers about what has left are nothing.
        channel.resolve(2)
        channel.retry(3)
        channel.release(through: 2)
        #expect(channel.floor == 3 && states(channel) == [.resolved, .pending, .pending])
        #expect(take(&channel) == [5, 6])
        channel.release(through: 6)
        #expect(channel.outbox.isEmpty && channel.outboxBytes == 0 && channel.inFlightBytes == 0)
        #expect(channel.resolvedThrough == 6 && channel.isFlushed)
        channel.resolve(7)
        channel.retry(7)
        #expect(take(&channel).isEmpty)
    }

    @Test func heldBytesCountTheOpenBatch() {
        var channel = channel(1)
        let frozen = channel.outboxBytes
        Array("more".utf8).withUnsafeBytes { channel.aggregator.add($0, hash: XXH64.hash($0), delta: 1) }
        #expect(channel.heldBytes == frozen + 4 + 22)
        #expect(!channel.isFlushed)
    }

    /// Random events against the obvious model: a state per sequence.
    @Test(arguments: [1, 2, 3, 4, 5] as [UInt64])
    func agreesWithAModel(seed: UInt64) {
        var generator = SplitMix64(seed: seed)
        var channel = channel(40)
        var model: [UInt64: Channel.State] = [:]
        for sequence in 1...40 as ClosedRange<UInt64> { model[sequence] = .pending }
        while !channel.outbox.isEmpty {
            let sequence = UInt64.random(in: 1...40, using: &generator)
            switch Int.random(in: 0..<12, using: &generator) {
            case 0..<5:
                let expected = model.filter { $0.value == .pending }.keys.min()
                #expect(channel.takePending { _, _ in true }?.id.sequence == expected, "seed \(seed)")
                if let expected { model[expected] = .inFlight }
            case 5..<8:
                channel.resolve(sequence)
                if model[sequence] != nil { model[sequence] = .resolved }
            case 8, 9:
                channel.retry(sequence)
                if model[sequence] == .inFlight { model[sequence] = .pending }
            case 10:
                channel.replay(above: sequence)
                for (key, state) in model where key > sequence && state == .resolved { model[key] = .pending }
            default:
                channel.release(through: min(channel.floor + 1, 40))
                model[channel.floor] = nil
            }
            let counts = Dictionary(grouping: model.values) { $0 }.mapValues(\.count)
            #expect(channel.pendingCount == counts[.pending, default: 0], "seed \(seed)")
            #expect(channel.inFlightCount == counts[.inFlight, default: 0], "seed \(seed)")
            #expect(channel.hasResolved == (counts[.resolved, default: 0] > 0), "seed \(seed)")
            #expect(states(channel) == model.sorted { $0.key < $1.key }.map(\.value), "seed \(seed)")
        }
        #expect(channel.outboxBytes == 0 && channel.inFlightBytes == 0)
    }
}
