// The model's rules, one by one and in the order in which PROTOCOL.md gives them.

import Simulation
import TallyCore
import Testing

@Suite final class ModelRedisTests {
    static let partition = PartitionID(epoch: 3, number: 5)
    static let cluster = ClusterID(Bytes16(high: 0, low: 1))
    static let owner = ModelRedis.Owner(Topology(cluster: cluster, epoch: 1, partitions: 2))
    static let shard = ShardUUID(Bytes16(high: 1, low: 2))
    static let producer = ProducerID(Bytes16(high: 3, low: 4))
    static let stream = StreamID(partition: partition, producer: producer)

    var redis: ModelRedis

    init() {
        redis = ModelRedis()
        #expect(create(Self.shard))
    }

    static func payload(_ sequence: UInt64) -> [UInt8] {
        var bytes = Array(repeating: UInt8(0), count: 40)
        bytes.replaceSubrange(BatchFormat.identityRange, with: id(sequence).identityBytes)
        return bytes
    }

    static func id(_ sequence: UInt64) -> BatchID { BatchID(stream: stream, sequence: sequence) }

    func push(
        _ sequence: UInt64, floor: UInt64 = 0, limitBytes: Int = 1000, chain: BatchChain? = nil,
        owner: ModelRedis.Owner = owner
    ) -> PushReply {
        redis.push(
            Self.payload(sequence), as: Self.id(sequence), chain: chain ?? Self.chain(sequence), owner: owner,
            floor: floor, limitBytes: limitBytes)
    }

    /// The history of a stream that nobody else writes to.
    static func chain(_ sequence: UInt64) -> BatchChain { BatchChain(before: sequence - 1, through: sequence) }

    static func duplicate(_ last: UInt64, applied: UInt64 = 0) -> PushReply {
        .duplicate(last: last, chain: last, applied: applied)
    }

    // The macro cannot call what changes a value, so each command has a method here.

    func heartbeat(floor: UInt64) -> HeartbeatReply {
        redis.heartbeat(Self.stream, floor: floor, owner: Self.owner)
    }

    func compare(_ floor: StreamFloor) -> CompareReply {
        redis.compare([floor], in: Self.partition, owner: Self.owner)
    }

    func raise(_ stream: StreamID, to watermark: UInt64) -> TrimReply {
        redis.trim(
            Self.partition, TrimRequest(token: 1, committed: [], applied: [:], earlier: [stream: watermark]))
    }

    func create(_ shard: ShardUUID) -> Bool { redis.create(Self.partition, shard: shard, owner: Self.owner) }

    func seal() -> Bool { redis.seal(Self.partition) }

    func collect() -> Bool { redis.collect(Self.partition) }

    func publish(_ topology: Topology) -> Topology { redis.publish(topology) }

    func trim(_ sequences: [UInt64], token: UInt64, applied: UInt64) -> TrimReply {
        let committed = sequences.map { Self.id($0) }
        return redis.trim(
            Self.partition, TrimRequest(token: token, committed: committed, applied: [Self.producer: applied]))
    }

    func claim(_ holder: String, now: UInt64, token: UInt64) -> ClaimReply {
        redis.claim(
            Self.partition, holder: holder, leaseMilliseconds: 10, token: token, owner: Self.owner, now: now)
    }

    func renew(_ token: UInt64, now: UInt64) -> Bool {
        redis.renew(Self.partition, token: token, leaseMilliseconds: 10, now: now)
    }

    @Test func aPushIsCheckedInOrder() {
        #expect(push(2) == .gap(last: 0, applied: 0))
        #expect(push(1) == .ok(applied: 0))
        #expect(push(2, limitBytes: 40) == .full(applied: 0))
        #expect(push(2, limitBytes: 41) == .ok(applied: 0))
        #expect(push(1, limitBytes: 0) == Self.duplicate(2))
        #expect(trim([1, 2], token: 0, applied: 7) == .fenced)
        #expect(claim("a", now: 0, token: 1) == granted(1))
        #expect(push(8, floor: 7) == .behind(applied: 0), "released, and nobody has it")
        #expect(redis.groups[Self.partition]?.behind == [Self.producer: 7])
        #expect(trim([1, 2], token: 1, applied: 7) == .trimmed(batches: 2))
        #expect(redis.groups[Self.partition]?.behind == [:])
        #expect(push(9, floor: 7) == .gap(last: 2, applied: 7))
        #expect(push(8, floor: 7) == .ok(applied: 7))
        #expect(push(9, floor: 8) == .ok(applied: 7), "the list has it")
        #expect(seal())
        #expect(push(8) == Self.duplicate(9, applied: 7))
        #expect(push(12) == .sealed(applied: 7))
        redis.flush()
        #expect(push(1) == .noTopology)
        #expect(redis.groups.isEmpty)
    }

    /// Somebody else has pushed another batch under this id.
    @Test func aSequenceBelongsToItsBytes() {
        #expect(push(1) == .ok(applied: 0))
        #expect(push(1, chain: BatchChain(before: 0, through: 77)) == Self.duplicate(1), "who asks compares")
        #expect(push(2, chain: BatchChain(before: 77, through: 78)) == .conflict)
        #expect(push(2) == .ok(applied: 0))
    }

    @Test func anotherClusterIsGivenNothing() {
        let cluster = ClusterID(Bytes16(high: 0, low: 2))
        let other = ModelRedis.Owner(Topology(cluster: cluster, epoch: 1, partitions: 2))
        #expect(push(1, owner: other) == .noTopology)
        #expect(push(1) == .ok(applied: 0))
        #expect(push(1, owner: other) == .noTopology, "not even that it is there")
    }

    /// The epoch has come again, with other partitions.
    @Test func anotherNumberOfPartitionsIsGivenNothing() {
        let other = ModelRedis.Owner(Topology(cluster: Self.cluster, epoch: 1, partitions: 3))
        #expect(push(1, owner: other) == .noTopology)
        #expect(push(1) == .ok(applied: 0))
    }

    @Test func aFloorThatNothingReachesIsNoted() {
        #expect(heartbeat(floor: 4) == .progress(last: 0, applied: 0))
        #expect(redis.groups[Self.partition]?.behind == [Self.producer: 4])
    }

    /// Of an earlier epoch a partition knows what its consumer has looked up.
    @Test func anEarlierFloorIsNotedUntilTheShardIsKnownToReachIt() {
        let stream = StreamID(partition: PartitionID(epoch: 0, number: 7), producer: Self.producer)
        let floor = StreamFloor(stream: stream, sequence: 5)
        #expect(claim("a", now: 0, token: 1) == granted(1))
        for watermark in [4, 5] as [UInt64] {
            #expect(compare(floor) == .known([false]))
            #expect(redis.groups[Self.partition]?.earlierBehind == [stream: 5])
            #expect(raise(stream, to: watermark) == .trimmed(batches: 0))
        }
        #expect(redis.groups[Self.partition]?.earlierBehind == [:])
        #expect(compare(floor) == .known([true]))
    }

    @Test func aKeyGroupBeginsWithWhatItsFileHolds() {
        redis.flush()
        let isNew = redis.create(
            Self.partition, shard: Self.shard, owner: Self.owner, applied: [Self.producer: 3])
        #expect(isNew)
        #expect(heartbeat(floor: 3) == .progress(last: 0, applied: 3))
        #expect(push(4, floor: 3) == .ok(applied: 3))
    }

    @Test func aTrimPopsWhatWasCommittedAndNothingElse() {
        for sequence in 1...3 as ClosedRange<UInt64> { #expect(push(sequence) == .ok(applied: 0)) }
        #expect(claim("a", now: 0, token: 1) == granted(1))
        #expect(trim([1], token: 2, applied: 1) == .fenced)
        #expect(trim([2, 3], token: 1, applied: 0) == .trimmed(batches: 0))
        #expect(trim([2, 1], token: 1, applied: 2) == .trimmed(batches: 2))
        #expect(trim([1], token: 1, applied: 1) == .trimmed(batches: 0))
        #expect(heartbeat(floor: 2) == .progress(last: 3, applied: 2))
        #expect(redis.groups[Self.partition]?.bytes == 40)
    }

    @Test func aLeaseBelongsToOneHolderUntilItExpires() {
        #expect(claim("a", now: 0, token: 1) == granted(1))
        #expect(claim("b", now: 4, token: 2) == .held(by: "a", milliseconds: 6))
        #expect(claim("a", now: 5, token: 2) == granted(2))
        #expect(!renew(2, now: 12))
        #expect(claim("b", now: 22, token: 3) == granted(3))
        #expect(renew(2, now: 23))
    }

    private func granted(_ token: UInt64) -> ClaimReply {
        .granted(Claim(token: token, shard: Self.shard, sealed: false, applied: [:]))
    }

    @Test func aPeekIsBoundedAndShowsAtLeastOneBatch() {
        for sequence in 1...3 as ClosedRange<UInt64> { #expect(push(sequence) == .ok(applied: 0)) }
        #expect(peeked(bytesMax: 1, batchesMax: 9) == 1)
        #expect(peeked(bytesMax: 80, batchesMax: 9) == 2)
        #expect(peeked(bytesMax: 1000, batchesMax: 2) == 2)
    }

    private func peeked(bytesMax: Int, batchesMax: Int) -> Int? {
        guard
            case .batches(let peeked) = redis.peek(
                Self.partition, bytesMax: bytesMax, batchesMax: batchesMax, time: 5)
        else { return nil }
        #expect(peeked.length == 3 && peeked.time == 5)
        return peeked.batches.count
    }

    @Test func nothingIsEverLoweredOrCreatedTwice() {
        let second = Topology(cluster: Self.cluster, epoch: 2, partitions: 4)
        #expect(publish(second) == second)
        #expect(publish(Topology(cluster: Self.cluster, epoch: 1, partitions: 1)) == second)
        #expect(!create(ShardUUID(Bytes16(high: 9, low: 9))))
        #expect(redis.groups[Self.partition]?.shard == Self.shard)
        #expect(!collect())
        #expect(seal())
        #expect(collect())
    }
}
