// Every answer of push and heartbeat, in the protocol's order, and that a refusal leaves nothing behind.

import RedisQueue
import TestSupport
import Testing

@testable import TallyCore

@Suite struct PushTests {
    let stream = Stream()

    @Test func nothingIsCreatedImplicitly() throws {
        let scene = try Scene(creates: false)
        try scene.expectUnchanged { () throws in
            #expect(try scene.push(stream[1]) == .noTopology)
            #expect(scene.producer.deliver([Scene.heartbeat(stream.id)]).answers == [.heartbeat(.noTopology)])
        }
    }

    @Test func appendsInOrder() throws {
        let scene = try Scene()
        #expect(try scene.push(stream[1]) == .ok(applied: 0))
        #expect(try scene.push(stream[2]) == .ok(applied: 0))
        let dump = try scene.dump()
        #expect(dump.queue == [stream[1].bytes, stream[2].bytes])
        #expect(dump.seqs == [stream.producer: 2])
        #expect(dump.meta["bytes"] == "400")
        let landed = scene.producer.deliver([Scene.heartbeat(stream.id)])
        #expect(landed.answers == [.heartbeat(.progress(last: 2, applied: 0))])
    }

    @Test func aDuplicateIsCountedAndNothingElse() throws {
        let scene = try Scene()
        #expect(try scene.push(stream[1]) == .ok(applied: 0))
        let before = try scene.dump()
        #expect(try scene.push(stream[1]) == stream.duplicate(last: 1))
        #expect(try scene.push(stream[1]) == stream.duplicate(last: 1))
        var after = try scene.dump()
        #expect(after.meta.removeValue(forKey: "duplicates") == "2")
        #expect(after == before)
    }

    @Test func aDuplicateIsOneEvenIfSealed() throws {
        let scene = try Scene()
        #expect(try scene.push(stream[1]) == .ok(applied: 0))
        #expect(try scene.keys.seal(Scene.partition) == .sealed)
        #expect(try scene.push(stream[1]) == stream.duplicate(last: 1))
        try scene.expectUnchanged(.sealed(applied: 0)) { try scene.push(stream[2]) }
        try scene.expectUnchanged(.sealed(applied: 0)) { try scene.push(stream[9]) }
    }

    @Test func aGapTellsWhereItBegins() throws {
        let scene = try Scene()
        try scene.expectUnchanged(.gap(last: 0, applied: 0)) { try scene.push(stream[2]) }
        #expect(try scene.push(stream[1]) == .ok(applied: 0))
        try scene.expectUnchanged(.gap(last: 1, applied: 0)) { try scene.push(stream[3]) }
    }

    /// A Redis that went back below the released part of an outbox, and whose consumer has said what the shard holds.
    @Test func theFloorBridgesWhatWasApplied() throws {
        let scene = try Scene()
        try scene.raise([stream.producer: 4], token: scene.claim().token)
        try scene.expectUnchanged(.gap(last: 0, applied: 4)) { try scene.push(stream[6], floor: 4) }
        #expect(try scene.push(stream[5], floor: 4) == .ok(applied: 4))
        #expect(try scene.push(stream[6], floor: 4) == .ok(applied: 4))
        try scene.expectUnchanged(.gap(last: 6, applied: 4)) { try scene.push(stream[8], floor: 4) }
        #expect(try scene.push(stream[3], floor: 0) == stream.duplicate(last: 6, applied: 4))
    }

    @Test func theByteLimitIsAThreshold() throws {
        let scene = try Scene()
        try scene.expectUnchanged(.full(applied: 0)) { try scene.push(stream[1], limitBytes: 0) }
        #expect(try scene.push(stream[1], limitBytes: 1) == .ok(applied: 0))
        try scene.expectUnchanged(.full(applied: 0)) { try scene.push(stream[2], limitBytes: 200) }
        #expect(try scene.push(stream[2], limitBytes: 201) == .ok(applied: 0))
    }

    @Test func everyAnswerCarriesTheWatermark() throws {
        let scene = try Scene()
        for sequence in 1...3 { #expect(try scene.push(stream[UInt64(sequence)]) == .ok(applied: 0)) }
        let token = try scene.claim().token
        let trim = TrimRequest(token: token, committed: [stream[1].id, stream[2].id], applied: [stream.producer: 2])
        #expect(try scene.queue.trim(trim) == .trimmed(batches: 2))
        #expect(try scene.push(stream[4]) == .ok(applied: 2))
        #expect(try scene.push(stream[4]) == stream.duplicate(last: 4, applied: 2))
        #expect(try scene.push(stream[6]) == .gap(last: 4, applied: 2))
        #expect(try scene.push(stream[5], limitBytes: 1) == .full(applied: 2))
        #expect(try scene.keys.seal(Scene.partition) == .sealed)
        #expect(try scene.push(stream[5]) == .sealed(applied: 2))
        let landed = scene.producer.deliver([Scene.heartbeat(stream.id)])
        #expect(landed.answers == [.heartbeat(.progress(last: 4, applied: 2))])
    }

    @Test func sequencesAreNumbersBelowTwoToThe53() throws {
        let scene = try Scene()
        let most = Limits.sequenceMax
        let token = try scene.claim().token
        try scene.raise([stream.producer: most - 2], token: token)
        #expect(try scene.push(stream[most - 1], floor: most - 2) == .ok(applied: most - 2))
        #expect(try scene.push(stream[most], floor: 0) == .ok(applied: most - 2))
        #expect(try scene.dump().seqs == [stream.producer: most])
        #expect(try scene.push(stream[most - 1]) == stream.duplicate(last: most, applied: most - 2))
        try scene.expectUnchanged { () throws in
            #expect(
                try scene.push(stream[most + 1])
                    == .refused("Redis refused: TALLYMILL a sequence is not below 2^53"))
        }
    }

    @Test func aPayloadOfAnotherIdentityIsRefused() throws {
        let scene = try Scene()
        let refusal = PushReply.refused(
            "Redis refused: TALLYMILL the payload does not carry this producer and sequence")
        try scene.expectUnchanged { () throws in
            func with(_ bytes: [UInt8], as id: BatchID) -> Batch { Batch(id: id, bytes: bytes, chain: stream.chain(1)) }
            #expect(try scene.push(with(stream[2].bytes, as: stream[1].id)) == refusal)
            #expect(try scene.push(with(Stream(producer: 2)[1].bytes, as: stream[1].id)) == refusal)
            #expect(try scene.push(with(Array(stream[1].bytes.prefix(27)), as: stream[1].id)) == refusal)
            #expect(try scene.push(with(stream[0].bytes, as: stream[0].id)) == refusal)
        }
    }

    @Test(arguments: 0..<4)
    func aKeyOfAnotherTypeStopsThePushBeforeItWrites(index: Int) throws {
        let scene = try Scene()
        #expect(try scene.push(stream[1]) == .ok(applied: 0))
        let key = scene.names.group(of: Scene.partition).all[index]
        _ = try scene.connection.command(RedisCommand("SET", key, "x"))  // always OK
        try scene.expectUnchanged {
            let reply = try scene.push(stream[2], floor: 1)
            guard case .refused(let text) = reply else { throw Unanswered(text: "\(reply)") }
            #expect(
                text == "Redis refused: WRONGTYPE Operation against a key holding the wrong kind of value")
        }
    }

    @Test(arguments: [("seqs", "last sequence"), ("applied", "watermark")])
    func aDamagedNumberStopsThePush(key: String, what: String) throws {
        let scene = try Scene()
        for text in ["-1", "0x10", "1e3", "nan", "", "1 ", "9007199254740992", "99999999999999999999"] {
            var set = RedisCommand("HSET", "\(scene.names.namespace):{e1.p0}:\(key)")
            set.append(stream.producer.bytes.array)
            set.append(text)
            _ = try scene.connection.command(set)  // a count of fields
            try scene.expectUnchanged {
                guard case .refused(let refusal) = try scene.push(stream[1]) else { throw Unanswered(text: text) }
                #expect(refusal.contains("TALLYMILL \(what) is not"))
            }
        }
    }

    @Test func manyPushesOverSeveralPartitionsInOnePipeline() throws {
        let scene = try Scene(creates: false)
        let partitions = (0..<4).map { PartitionID(epoch: 7, number: $0) }
        for partition in partitions { #expect(try scene.keys.create(partition, shard: Scene.shard) == .created) }
        let streams = partitions.map { Stream($0, bytes: 3_000) }
        var commands: [QueueCommand] = []
        for sequence in 1...UInt64(16) {
            for stream in streams { commands.append(stream[sequence].pushed) }
        }
        commands.append(Scene.heartbeat(streams[3].id))
        commands.append(.readTopology)
        let landed = scene.producer.deliver(commands)
        let expected =
            [QueueAnswer](repeating: .push(.ok(applied: 0)), count: 64)
            + [.heartbeat(.progress(last: 16, applied: 0)), .topology(nil)]
        #expect(landed.answers == expected)
        #expect(landed.failure == nil)
        for (partition, stream) in zip(partitions, streams) {
            #expect(try scene.dump(partition).queue == (1...16).map { stream[$0].bytes })
        }
    }

    @Test func aPipelineOfLargePayloads() throws {
        let scene = try Scene()
        let stream = Stream(bytes: 1 << 20)
        let commands = (1...12).map { stream[$0].pushed }
        #expect(scene.producer.deliver(commands).answers.allSatisfy { $0 == .push(.ok(applied: 0)) })
        let peeked = try scene.peeked(bytes: 3 << 20)
        #expect(peeked.batches == (1...3).map { stream[$0].bytes })
        #expect(peeked.length == 12)
    }

    @Test func aTopologyThatCannotBeReadSpoilsNoOtherAnswer() throws {
        let scene = try Scene()
        _ = try scene.connection.command(RedisCommand("SET", scene.names.topology, "{}"))  // always OK
        let landed = scene.producer.deliver([.readTopology, Scene.heartbeat(stream.id)])
        #expect(landed.answers == [.unknown, .heartbeat(.progress(last: 0, applied: 0))])
        guard case .protocolViolation(let text) = landed.failure else { throw Unanswered(text: "\(landed)") }
        #expect(text.hasPrefix("\(scene.names.topology) holds no topology: "))
        #expect(scene.producer.isConnected)
    }
}
