// The lines of the protocol's list "Push", in their order: where two of them apply, the earlier one answers. Then what
// `behind` keeps, and what an earlier release leaves and is told.

import RedisQueue
import TestSupport
import Testing

@testable import TallyCore

@Suite struct PushOrderTests {
    let stream = Stream()
    let other = Topology(cluster: ClusterID(Bytes16(high: 2, low: 2)), epoch: 1, partitions: 2)

    /// Two batches pushed; of a clone, which has the same id and another history, none.
    private func scene() throws -> (Scene, clone: Stream) {
        let scene = try Scene()
        for sequence in 1...2 { #expect(try scene.push(stream[UInt64(sequence)]) == .ok(applied: 0)) }
        return (scene, Stream(history: 5))
    }

    // MARK: The order

    @Test func anotherClusterIsToldNothingAtAll() throws {
        let (scene, _) = try scene()
        try scene.expectUnchanged(.noTopology) { try scene.push(stream[1], topology: other) }
        try scene.expectUnchanged(.noTopology) { try scene.push(stream[3], topology: other) }
        #expect(try scene.keys.seal(Scene.partition) == .sealed)
        try scene.expectUnchanged(.noTopology) { try scene.push(stream[3], floor: 9, topology: other) }
    }

    @Test func whatRedisHasIsADuplicateWhateverElseIsWrong() throws {
        let (scene, clone) = try scene()
        // The chain tells the clone that it is one.
        #expect(try scene.push(clone[1], floor: 9, limitBytes: 0) == stream.duplicate(last: 2))
        #expect(try scene.push(clone[2]) == stream.duplicate(last: 2))
        #expect(try scene.keys.seal(Scene.partition) == .sealed)
        #expect(try scene.push(stream[2], floor: 9) == stream.duplicate(last: 2))
        #expect(try scene.dump().meta["duplicates"] == "3")
        #expect(try scene.dump().behind == [:])
    }

    @Test func aSealedListNotesNobody() throws {
        let (scene, clone) = try scene()
        #expect(try scene.keys.seal(Scene.partition) == .sealed)
        try scene.expectUnchanged(.sealed(applied: 0)) { try scene.push(stream[3], floor: 9) }
        try scene.expectUnchanged(.sealed(applied: 0)) { try scene.push(stream[7], limitBytes: 0) }
        try scene.expectUnchanged(.sealed(applied: 0)) { try scene.push(clone[3]) }
    }

    @Test func aFloorAboveWhatIsKnownIsBehind() throws {
        let (scene, clone) = try scene()
        for batch in [stream[10], stream[12], clone[3]] {
            #expect(try scene.push(batch, floor: 9, limitBytes: 0) == .behind(applied: 0))
        }
        var dump = try scene.dump()
        #expect(dump.behind == [stream.producer: 9])
        #expect(dump.seqs == [stream.producer: 2] && dump.queue.count == 2)
        // The list and the shard together decide: one below either is not behind.
        #expect(try scene.push(stream[3], floor: 2) == .ok(applied: 0))
        try scene.raise([stream.producer: 5], token: scene.claim().token)
        #expect(try scene.push(stream[7], floor: 6) == .behind(applied: 5))
        #expect(try scene.push(stream[6], floor: 5) == .ok(applied: 5))
        dump = try scene.dump()
        #expect(dump.seqs == [stream.producer: 6] && dump.behind == [stream.producer: 9])
    }

    @Test func aGapComesBeforeTheHistoryAndTheHistoryBeforeTheLimit() throws {
        let (scene, clone) = try scene()
        try scene.expectUnchanged(.gap(last: 2, applied: 0)) { try scene.push(clone[4], limitBytes: 0) }
        try scene.expectUnchanged(.conflict) { try scene.push(clone[3], limitBytes: 0) }
        try scene.expectUnchanged(.full(applied: 0)) { try scene.push(stream[3], limitBytes: 0) }
        try scene.expectUnchanged(.conflict) { try scene.push(clone[3]) }
        #expect(try scene.push(stream[3]) == .ok(applied: 0))
        let dump = try scene.dump()
        #expect(dump.chains == [stream.producer: stream.chain(3).through])
    }

    /// Where Redis has gone back, what it remembers of the history does not lead up to the next batch.
    @Test func theHistoryIsComparedOnlyWithTheBatchBefore() throws {
        let (scene, _) = try scene()
        try scene.raise([stream.producer: 4], token: scene.claim().token)
        #expect(try scene.push(stream[5], floor: 4) == .ok(applied: 4))
        #expect(try scene.dump().chains == [stream.producer: stream.chain(5).through])
        try scene.expectUnchanged(.conflict) { try scene.push(Stream(history: 5)[6]) }
    }

    @Test func everyAnswerOfBehindCarriesTheWatermark() throws {
        let (scene, _) = try scene()
        try scene.raise([stream.producer: 1], token: scene.claim().token)
        #expect(try scene.push(stream[4], floor: 3) == .behind(applied: 1))
    }

    // MARK: Behind

    @Test func theHighestFloorStays() throws {
        let scene = try Scene()
        let two = Stream(producer: 2)
        #expect(try scene.push(stream[10], floor: 9) == .behind(applied: 0))
        #expect(try scene.push(two[5], floor: 4) == .behind(applied: 0))
        try scene.expectUnchanged(.behind(applied: 0)) { try scene.push(stream[9], floor: 8) }
        try scene.expectUnchanged(.behind(applied: 0)) { try scene.push(stream[10], floor: 9) }
        #expect(try scene.push(stream[12], floor: 11) == .behind(applied: 0))
        #expect(try scene.dump().behind == [stream.producer: 11, two.producer: 4])
        #expect(try scene.peeked().behind == [stream.id, two.id])
        guard case .group(let found) = try scene.keys.inspect(Scene.partition) else { throw Unanswered(text: "none") }
        #expect(found.behind == [stream.producer: 11, two.producer: 4])
    }

    @Test func aTrimThatRaisesFarEnoughClears() throws {
        let scene = try Scene()
        let two = Stream(producer: 2)
        #expect(try scene.push(stream[10], floor: 9) == .behind(applied: 0))
        #expect(try scene.push(two[5], floor: 4) == .behind(applied: 0))
        let token = try scene.claim().token
        try scene.raise([stream.producer: 8, Stream(producer: 3).producer: 1], token: token)
        #expect(try scene.dump().behind == [stream.producer: 9, two.producer: 4])
        try scene.raise([stream.producer: 9], token: token)
        #expect(try scene.dump().behind == [two.producer: 4])
        try scene.raise([two.producer: 7], token: token)
        #expect(try scene.dump().behind == [:])
        #expect(try scene.peeked().behind == [])
        #expect(try scene.push(stream[10], floor: 9) == .ok(applied: 9))
    }

    @Test func oneThousandAndTwentyFourAreNoted() throws {
        let scene = try Scene()
        let streams = (1...UInt64(Limits.behindStreamsMax)).map { Stream(producer: $0) }
        let pushes = streams.map { QueueCommand.push($0[5], floor: 4, limitBytes: 1 << 30, topology: .ofTests) }
        #expect(scene.producer.deliver(pushes).answers.allSatisfy { $0 == .push(.behind(applied: 0)) })
        #expect(try scene.dump().behind.count == 1_024)
        let late = Stream(producer: 5_000)
        try scene.expectUnchanged(.behind(applied: 0)) { try scene.push(late[5], floor: 4) }
        // Who is noted stays noted, and may say more.
        #expect(try scene.push(streams[0][7], floor: 6) == .behind(applied: 0))
        #expect(try scene.dump().behind.count == 1_024)
        try scene.raise([streams[700].producer: 4], token: scene.claim().token)
        #expect(try scene.push(late[5], floor: 4) == .behind(applied: 0))
        let behind = try scene.dump().behind
        #expect(behind.count == 1_024 && behind[late.producer] == 4 && behind[streams[700].producer] == nil)
        #expect(behind[streams[0].producer] == 6)
    }

    /// A record is 24 bytes. The end of one and its floor are not the beginning of another.
    @Test func aProducerIsFoundOnlyWhereARecordBegins() throws {
        let scene = try Scene()
        #expect(try scene.push(stream[8], floor: 7) == .behind(applied: 0))
        let tail = Array(stream.producer.bytes.array.suffix(8)) + [7, 0, 0, 0, 0, 0, 0, 0]
        let alike = try #require(Bytes16(tail))
        let twin = Stream(id: ProducerID(alike))
        #expect(try scene.push(twin[4], floor: 3) == .behind(applied: 0))
        #expect(try scene.dump().behind == [stream.producer: 7, twin.producer: 3])
    }

    // MARK: An earlier release

    /// What the library of release 0.1.0 leaves: no cluster, no chains.
    private func madeBefore(_ scene: Scene) throws {
        let group = scene.names.group(of: Scene.partition)
        _ = try scene.connection.command(
            RedisCommand(
                "HSET", group.meta, "state", "open", "shard", Scene.shard.description, "bytes", "400", "token", "3"))
        for (key, value) in [(group.seqs, "2"), (group.applied, "1")] {
            var set = RedisCommand("HSET", key)
            set.append(stream.producer.bytes.array)
            set.append(value)
            _ = try scene.connection.command(set)  // how many fields are new
        }
        var push = RedisCommand("RPUSH", group.queue)
        for sequence in 1...2 { push.append(stream[UInt64(sequence)].bytes) }
        _ = try scene.connection.command(push)  // the length
    }

    @Test func aGroupOfAnEarlierReleaseIsUsed() throws {
        let scene = try Scene(creates: false)
        try madeBefore(scene)
        #expect(try scene.push(stream[2]) == .duplicate(last: 2, chain: nil, applied: 1))
        #expect(try scene.push(stream[3], floor: 1) == .ok(applied: 1))
        let landed = scene.producer.deliver([Scene.heartbeat(stream.id)])
        #expect(landed.answers == [.heartbeat(.progress(last: 3, applied: 1))])
        #expect(try scene.peeked().batches.count == 3)
        // Nobody has said whose it is: so it is whoever's shard it names.
        #expect(try scene.dump().meta["cluster"] == nil)
        let claim = try scene.claim()
        #expect(claim.applied == [stream.producer: 1])
        #expect(try scene.dump().meta["cluster"] == Topology.ofTests.ownerText)
        try scene.expectUnchanged(.noTopology) { try scene.push(stream[4], topology: other) }
        try scene.expectUnchanged(.conflict) { try scene.push(Stream(history: 5)[4]) }
        #expect(try scene.push(stream[4]) == .ok(applied: 1))
        let trim = TrimRequest(token: claim.token, committed: [stream[1].id], applied: [:])
        #expect(try scene.queue.trim(trim) == .trimmed(batches: 1))
    }

    @Test func createAlsoSaysWhoseAnEarlierGroupIs() throws {
        let scene = try Scene(creates: false)
        try madeBefore(scene)
        #expect(try scene.keys.create(Scene.partition, shard: Scene.shard) == .existing(Scene.shard, sealed: false))
        #expect(try scene.dump().meta["cluster"] == Topology.ofTests.ownerText)
        try scene.expectUnchanged(.existing(Scene.shard, sealed: false)) {
            try scene.keys.create(Scene.partition, shard: Scene.shard, topology: other, applied: [stream.producer: 9])
        }
    }

    @Test func anEarlierReleasesPushIsTakenAsItWas() throws {
        let scene = try Scene()
        func push(_ batch: Batch, floor: Int) throws -> RedisReply {
            try scene.call(
                "push",
                [
                    batch.id.stream.producer.bytes.array, Array("\(batch.id.sequence)".utf8), Array("\(floor)".utf8),
                    Array("100000".utf8), batch.bytes,
                ])
        }
        #expect(try push(stream[1], floor: 0) == .array([.bytes(Array("OK".utf8)), .integer(0)]))
        #expect(try scene.dump().chains == [:])
        // Neither BEHIND nor CONFLICT: it could not read them.
        #expect(try push(stream[5], floor: 4) == .array([.bytes(Array("OK".utf8)), .integer(0)]))
        #expect(try scene.push(stream[6]) == .ok(applied: 0))
        #expect(try push(stream[7], floor: 4) == .array([.bytes(Array("OK".utf8)), .integer(0)]))
        let dump = try scene.dump()
        #expect(dump.seqs == [stream.producer: 7] && dump.chains == [:] && dump.behind == [:])
    }
}

extension Stream {
    fileprivate init(id producer: ProducerID) {
        self.init(StreamID(partition: Scene.partition, producer: producer))
    }
}
