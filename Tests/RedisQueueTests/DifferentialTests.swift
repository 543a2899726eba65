// The model of Redis that the simulator believes in, held against the real function library: the same random commands
// to both, every answer and, again and again, the whole state compared.
//
// The commands come from a seeded generator and are made to collide: few producers, sequences around what is expected,
// small limits, foreign tokens, trims of what is not there, groups that are missing, sealed and deleted.
//
//     TALLYMILL_DIFFERENTIAL_SEED=7 deploy/test --filter Differential     one seed; default: 0 to 7

import Glibc
import RedisQueue
import Simulation
import TestSupport
import Testing

@testable import TallyCore

@Suite struct DifferentialTests {
    static let seeds: [UInt64] =
        getenv("TALLYMILL_DIFFERENTIAL_SEED").flatMap { UInt64(String(cString: $0)) }
        .map { [$0] } ?? Array(0..<8)
    static let commandsPerSeed = 1_500

    @Test(arguments: seeds)
    func modelAndLibraryAgree(seed: UInt64) throws {
        var run = try DifferentialRun(seed: seed)
        for step in 0..<Self.commandsPerSeed {
            let (command, model, real) = try run.step()
            try #require(model == real, "seed \(seed), step \(step), \(command)")
            if step % 25 == 24 { try run.compareStates("seed \(seed), step \(step), after \(command)") }
        }
        try run.compareStates("seed \(seed), at the end")
        #expect(run.answers.count >= 18, "seed \(seed) provokes too few kinds of answers: \(run.answers.sorted())")
    }
}

/// One seed's commands to both sides. Answers are compared as text, the same words from both.
private struct DifferentialRun {
    /// Whose groups they are, and one that shares the namespace by mistake.
    private static let topologies = [
        Topology.ofTests, Topology(cluster: ClusterID(Bytes16(high: 2, low: 2)), epoch: 1, partitions: 2),
        Topology(cluster: .ofTests, epoch: 1, partitions: 3),
    ]
    private var random: SplitMix64
    private var model = ModelRedis()
    private let scene: Scene
    private let queues: [PartitionQueue]
    private let partitions = [0, 1].map { PartitionID(epoch: 1, number: UInt32($0)) }
    /// Kinds of answers seen.
    private(set) var answers: Set<String> = []

    init(seed: UInt64) throws {
        random = SplitMix64(seed: seed)
        let scene = try Scene(creates: false)
        self.scene = scene
        let connection = try scene.server.connect()
        queues = partitions.map { PartitionQueue(connection: connection, names: scene.names, partition: $0) }
    }

    /// Does one random command on both sides.
    mutating func step() throws -> (command: String, model: String, real: String) {
        let index = random.below(2)
        let partition = partitions[index]
        let done: (String, String, String)
        switch random.below(100) {
        case 0..<42: done = try push(partition)
        case 42..<48: done = try pushAsBefore(partition)
        case 48..<51: done = try heartbeat(partition)
        case 51..<53: done = try compare(partition)
        case 53..<60: done = try peek(partition, queues[index])
        case 60..<62: done = try inspect(partition)
        case 62..<76: done = try trim(partition, queues[index])
        case 76..<81: done = try claim(partition, queues[index])
        case 81..<84: done = try claimAsBefore(partition)
        case 84..<88: done = try renew(partition, queues[index])
        case 88..<94: done = try create(partition)
        case 94..<96: done = try seal(partition)
        case 96..<98: done = try collect(partition)
        case 98: done = random.below(2) == 0 ? try note() : try bury(partition)
        default: done = try publish()
        }
        answers.insert("\(done.0.prefix { $0 != " " }) \(done.1.prefix { $0.isLetter })")
        return (done.0, done.1, done.2)
    }

    func compareStates(_ context: String) throws {
        for partition in partitions {
            let real = try KeyGroupDump(partition, names: scene.names, over: scene.connection)
            guard let group = model.groups[partition] else {
                #expect(real == KeyGroupDump.none, "\(context): \(partition) exists in Redis alone")
                continue
            }
            #expect(real.queue == group.queue, "\(context): queue of \(partition)")
            #expect(real.seqs == group.seqs, "\(context): seqs of \(partition)")
            #expect(real.chains == group.chains, "\(context): chains of \(partition)")
            #expect(real.applied == group.applied, "\(context): applied of \(partition)")
            #expect(real.behind == group.behind, "\(context): behind of \(partition)")
            #expect(real.earlierBehind == group.earlierBehind, "\(context): earlier floors of \(partition)")
            #expect(real.earlierApplied == group.earlierApplied, "\(context): earlier watermarks of \(partition)")
            let meta = [
                "state": group.isSealed ? "sealed" : "open", "bytes": "\(group.bytes)", "token": "\(group.token)",
                "duplicates": "\(group.duplicates)", "shard": group.shard.description,
                "cluster": group.owner.map { "\($0.cluster)/\($0.partitions)" } ?? "0",
            ]
            let known = real.meta.filter { meta[$0.key] != nil }
            #expect(
                known == meta.filter { known[$0.key] != nil || $0.value != "0" }, "\(context): meta of \(partition)")
        }
        #expect(try scene.keys.readTopology() == model.topology, "\(context): topology")
        let noted = try scene.keys.notedEpochs(of: .ofTests).map { ($0.partitions, $0.epoch) }
        #expect(Dictionary(uniqueKeysWithValues: noted) == model.notedEpochs, "\(context): noted epochs")
    }

    /// Mostly the right one.
    private mutating func owner(_ probability: Double) -> Topology {
        Self.topologies[random.chance(probability) ? 0 : 1 + random.below(2)]
    }

    private mutating func producer() -> UInt64 { 1 + UInt64(random.below(3)) }

    private mutating func push(_ partition: PartitionID) throws -> (String, String, String) {
        // Sometimes another process under the same id: it has another history.
        let stream = Stream(
            partition, producer: producer(), bytes: 150 + random.below(3) * 100, history: random.chance(0.9) ? 0 : 77)
        let (batch, floor, limit) = next(of: stream)
        let topology = owner(0.95)
        let expected = model.push(
            batch.bytes, as: batch.id, chain: batch.chain, owner: ModelRedis.Owner(topology), floor: floor,
            limitBytes: limit)
        let real = try scene.push(batch, floor: floor, limitBytes: limit, topology: topology)
        return ("push \(batch.id) floor \(floor) limit \(limit) of \(topology)", "\(expected)", "\(real)")
    }

    /// Mostly the next batch, with a floor that is known; sometimes one that Redis has, or that leaves a hole.
    private mutating func next(of stream: Stream) -> (Batch, floor: UInt64, limit: Int) {
        let group = model.groups[stream.id.partition]
        let last = group?.seqs[stream.producer] ?? 0
        let applied = group?.applied[stream.producer] ?? 0
        let floor = random.chance(0.3) ? max(last, applied) + UInt64(random.below(4)) : 0
        let base = random.chance(0.5) ? last : max(last, floor, applied)
        let sequence = max(1, Int(base) + [1, 1, 1, 1, 0, -1, 2, 4][random.below(8)])
        let limit = random.chance(0.15) ? random.below(3_000) : 1 << 20
        return (stream[UInt64(sequence)], floor, limit)
    }

    /// Five arguments, as release 0.1.0 gives them. It reads an answer's first fields alone.
    private mutating func pushAsBefore(_ partition: PartitionID) throws -> (String, String, String) {
        let (batch, floor, limit) = next(of: Stream(partition, producer: producer()))
        let before = model.groups[partition]?.behind
        var expected = model.push(
            batch.bytes, as: batch.id, chain: nil, owner: nil, floor: floor, limitBytes: limit)
        if case .behind(let applied) = expected {
            // It trusts the floor: the model is asked again as if the shard had confirmed it.
            model.groups[partition]?.behind = before ?? [:]
            model.groups[partition]?.applied[batch.id.stream.producer] = floor
            expected = model.push(
                batch.bytes, as: batch.id, chain: nil, owner: nil, floor: floor, limitBytes: limit)
            model.groups[partition]?.applied[batch.id.stream.producer] = applied == 0 ? nil : applied
            expected = expected.replacingApplied(applied)
        }
        let reply = try scene.call(
            "push", on: partition,
            [
                batch.id.stream.producer.bytes.array, Array("\(batch.id.sequence)".utf8), Array("\(floor)".utf8),
                Array("\(limit)".utf8), batch.bytes,
            ])
        return ("old push \(batch.id) floor \(floor) limit \(limit)", expected.words, reply.words)
    }

    private mutating func inspect(_ partition: PartitionID) throws -> (String, String, String) {
        guard case .group(let real) = try scene.keys.inspect(partition) else {
            return ("inspect", model.groups[partition] == nil ? "none" : "a group", "none")
        }
        let group = model.groups[partition]
        let expected = group?.behind.map { "\($0.key)=\($0.value)" }.sorted()
        return (
            "inspect", "group \(group?.queue.count ?? 0) \(group?.duplicates ?? 0) \(expected ?? [])",
            "group \(real.length) \(real.duplicates) \(real.behind.map { "\($0.key)=\($0.value)" }.sorted())"
        )
    }

    private mutating func heartbeat(_ partition: PartitionID) throws -> (String, String, String) {
        let stream = Stream(partition, producer: producer()).id
        let topology = owner(0.9)
        let group = model.groups[partition]
        let known = max(group?.seqs[stream.producer] ?? 0, group?.applied[stream.producer] ?? 0)
        let floor = random.chance(0.2) ? known + UInt64(random.below(3)) : 0
        let landed = scene.producer.deliver([Scene.heartbeat(stream, floor: floor, topology: topology)])
        guard case .heartbeat(let real)? = landed.answers.first else { throw Unanswered(text: "\(landed)") }
        let expected = model.heartbeat(stream, floor: floor, owner: ModelRedis.Owner(topology))
        return ("heartbeat \(stream) floor \(floor)", "\(expected)", "\(real)")
    }

    /// Floors of an earlier epoch, some of which the shard is known to reach.
    private mutating func compare(_ partition: PartitionID) throws -> (String, String, String) {
        let floors = (0..<random.below(3)).map { _ in
            let earlier = PartitionID(epoch: 0, number: UInt32(random.below(3)))
            return StreamFloor(stream: Stream(earlier, producer: producer()).id, sequence: UInt64(1 + random.below(9)))
        }
        let topology = owner(0.9)
        let landed = scene.producer.deliver([.compare(floors, in: partition, topology: topology)])
        guard case .compared(let real)? = landed.answers.first else { throw Unanswered(text: "\(landed)") }
        let expected = model.compare(floors, in: partition, owner: ModelRedis.Owner(topology))
        return ("compare \(floors)", "\(expected)", "\(real)")
    }

    private mutating func note() throws -> (String, String, String) {
        let topology = Topology(cluster: .ofTests, epoch: UInt32(1 + random.below(5)), partitions: 1 + random.below(3))
        let landed = scene.producer.deliver([.noteEpoch(topology)])
        model.noteEpoch(topology)
        return ("note \(topology)", "\([QueueAnswer.epochNoted])", "\(landed.answers)")
    }

    private mutating func peek(_ partition: PartitionID, _ queue: PartitionQueue) throws -> (String, String, String) {
        let (bytes, batches) = (1 + random.below(2_000), 1 + random.below(40))
        let skip = random.chance(0.5) ? random.below(20) : 0
        let expected = model.peek(partition, skip: skip, bytesMax: bytes, batchesMax: batches, time: 0)
        let real = try queue.peek(skip: skip, bytes: bytes, batches: batches)
        return ("peek \(bytes) \(batches) behind \(skip)", Self.text(expected), Self.text(real))
    }

    /// Time passes, and the order of those behind is nobody's concern.
    private static func text(_ reply: PeekReply) -> String {
        guard case .batches(let peeked) = reply else { return "\(reply)" }
        return "batches \(peeked.shard) \(peeked.sealed) \(peeked.batches) \(peeked.length) "
            + "\(peeked.behind.map { "\($0.partition) \($0.producer)" }.sorted())"
    }

    /// What lies at the head, less, more, or something else; under the token, or another one.
    private mutating func trim(_ partition: PartitionID, _ queue: PartitionQueue) throws -> (String, String, String) {
        let group = model.groups[partition]
        var committed: [BatchID] = []
        var applied: [ProducerID: UInt64] = [:]
        for bytes in (group?.queue ?? []).prefix(random.below(6)) {
            let id = try bytes.withUnsafeBytes { try BatchHeader(reading: $0) }.id
            if random.chance(0.9) { committed.append(id) }
            applied[id.stream.producer] = id.sequence
        }
        if random.chance(0.1) { committed.append(BatchID(stream: Stream(partition, producer: 9).id, sequence: 1)) }
        if random.chance(0.1) { applied[Stream(partition).producer] = 1 }
        // What a consumer finds that looks a refused producer up: all that it released, or less.
        let first = group?.behind.min { ($0.value, $0.key.description) < ($1.value, $1.key.description) }
        if random.chance(0.3), let (producer, floor) = first, floor > 1 {
            applied[producer] = max(applied[producer] ?? 0, floor - UInt64(random.below(2)))
        }
        let token = (group?.token ?? 1) + (random.chance(0.1) ? 1 : 0)
        var earlier: [StreamID: UInt64] = [:]
        if random.chance(0.2), let (stream, floor) = group?.earlierBehind.min(by: { "\($0)" < "\($1)" }), floor > 1 {
            earlier[stream] = floor - UInt64(random.below(2))
        }
        let request = TrimRequest(token: token, committed: committed, applied: applied, earlier: earlier)
        let expected = model.trim(partition, request)
        return ("trim of \(committed.count) token \(token)", "\(expected)", "\(try queue.trim(request))")
    }

    private mutating func claim(_ partition: PartitionID, _ queue: PartitionQueue) throws -> (String, String, String) {
        let host = random.pick(["host-a", "host-a", "host-b"])
        let topology = owner(0.9)
        let known = model.groups[partition]?.shard
        let shard = random.chance(0.5) ? nil : random.chance(0.8) ? known : ShardUUID(Bytes16(high: 9, low: 9))
        let real = try queue.claim(
            host: host, owner: host, milliseconds: 3_600_000, topology: topology, shard: shard)
        // The token is the caller's choice.
        var token: UInt64 = 1
        if case .granted(let claim) = real { token = claim.token }
        let expected = model.claim(
            partition, holder: host, leaseMilliseconds: 3_600_000, token: token,
            owner: ModelRedis.Owner(topology), shard: shard, now: 0)
        return ("claim \(host) for \(topology)", Self.text(expected), Self.text(real))
    }

    /// Three arguments, as release 0.1.0 gives them: Redis counts the token up, and learns no cluster.
    private mutating func claimAsBefore(_ partition: PartitionID) throws -> (String, String, String) {
        let host = random.pick(["host-a", "host-b"])
        let before = model.groups[partition]
        let token = (before?.token ?? 0) % Limits.sequenceMax + 1
        let expected = model.claim(
            partition, holder: host, leaseMilliseconds: 3_600_000, token: token,
            owner: ModelRedis.Owner(.ofTests), now: 0)
        model.groups[partition]?.owner = before?.owner
        let real = try scene.call("claim", on: partition, [Array(host.utf8), Array(host.utf8), Array("3600000".utf8)])
        let words =
            switch expected {
            case .granted(let claim): "GRANTED \(claim.token) \(claim.shard)"
            case .held(let owner, _): "HELD \(owner)"
            case .noTopology: "NOTOPO"
            case .otherShard(let shard): "OTHER \(shard)"
            }
        return ("old claim \(host)", words, real.words(words.split(separator: " ").count))
    }

    /// The time left of a lease differs by the time that passes.
    private static func text(_ reply: ClaimReply) -> String {
        switch reply {
        case .held(let owner, _): "held by \(owner)"
        case .noTopology: "noTopology"
        case .otherShard(let shard): "otherShard \(shard)"
        case .granted(let claim):
            "granted \(claim.token) \(claim.shard) \(claim.sealed) "
                + "\(claim.applied.map { "\($0.key)=\($0.value)" }.sorted())"
        }
    }

    private mutating func renew(_ partition: PartitionID, _ queue: PartitionQueue) throws -> (String, String, String) {
        let token = (model.groups[partition]?.token ?? 1) + (random.chance(0.3) ? 1 : 0)
        let isLost = model.renew(partition, token: token, leaseMilliseconds: 3_600_000, now: 0)
        let real = try queue.renew(token: token, milliseconds: 3_600_000)
        return ("renew \(token)", isLost ? "lost" : "ok", real == .ok ? "ok" : "lost")
    }

    private mutating func create(_ partition: PartitionID) throws -> (String, String, String) {
        let shard = ShardUUID(Bytes16(high: 7, low: UInt64(random.below(2))))
        let before = model.groups[partition]
        let topology = owner(0.9)
        let watermarks = [Stream(producer: producer()).producer: UInt64(random.below(3))]
        let isAsBefore = random.chance(0.3)
        let isNew = model.create(
            partition, shard: shard, owner: ModelRedis.Owner(topology), applied: isAsBefore ? [:] : watermarks)
        let expected: CreateReply =
            isNew ? .created : .existing(before?.shard ?? shard, sealed: before?.isSealed ?? false)
        guard isAsBefore else {
            let real = try scene.keys.create(partition, shard: shard, topology: topology, applied: watermarks)
            return ("create \(shard) of \(topology) at \(watermarks)", "\(expected)", "\(real)")
        }
        // Release 0.1.0 names no cluster.
        model.groups[partition]?.owner = before?.owner
        let real = try scene.call("create", on: partition, [Array(shard.description.utf8)])
        return ("old create \(shard)", isNew ? "CREATED" : "EXISTING", real.words(1))
    }

    private mutating func seal(_ partition: PartitionID) throws -> (String, String, String) {
        let expected: SealReply = model.seal(partition) ? .sealed : .noTopology
        return ("seal", "\(expected)", "\(try scene.keys.seal(partition))")
    }

    private mutating func collect(_ partition: PartitionID) throws -> (String, String, String) {
        let isCollected = model.collect(partition)
        let real = try scene.keys.collect(partition)
        return ("collect", isCollected ? "collected" : "kept", real == .collected ? "collected" : "kept")
    }

    /// The head, or an entry that is not.
    private mutating func bury(_ partition: PartitionID) throws -> (String, String, String) {
        var entry = model.groups[partition]?.queue.first ?? [1]
        if random.below(3) == 0 { entry[0] ^= 1 }
        let expected: BuryReply =
            switch model.bury(entry, in: partition) {
            case nil: .noTopology
            case true?: .buried
            case false?: .otherHead
            }
        return ("bury", "\(expected)", "\(try scene.keys.bury(entry, in: partition))")
    }

    private mutating func publish() throws -> (String, String, String) {
        // K follows from the epoch: another K for a known epoch is an error, which has a test of its own.
        let epoch = UInt32(1 + random.below(4))
        let topology = Topology(cluster: .ofTests, epoch: epoch, partitions: 2 + Int(epoch))
        let isHigher = epoch >= model.topology?.epoch ?? 0
        let newest = model.publish(topology)
        let expected: PublishReply = isHigher ? .published : .newer(newest)
        return ("publish \(epoch)", "\(expected)", "\(try scene.keys.publish(topology))")
    }
}

/// The words that a release 0.1.0 reads in an answer.
extension PushReply {
    fileprivate var words: String {
        switch self {
        case .ok(let applied): "OK \(applied)"
        case .duplicate(_, _, let applied): "DUP \(applied)"
        case .sealed(let applied): "SEALED \(applied)"
        case .gap(let last, let applied): "GAP \(last) \(applied)"
        case .full(let applied): "FULL \(applied)"
        case .noTopology: "NOTOPO"
        case .behind, .conflict, .refused: "what it does not know: \(self)"
        }
    }

    fileprivate func replacingApplied(_ applied: UInt64) -> PushReply {
        switch self {
        case .ok: .ok(applied: applied)
        case .gap(let last, _): .gap(last: last, applied: applied)
        case .full: .full(applied: applied)
        default: self
        }
    }
}

extension RedisReply {
    /// Of a push.
    fileprivate var words: String {
        let word = words(1)
        return words(word == "GAP" ? 3 : word == "NOTOPO" ? 1 : 2)
    }

    fileprivate func words(_ count: Int) -> String {
        guard case .array(let parts) = self else { return "\(self)" }
        return parts.prefix(count).map { part in
            if case .integer(let number) = part { "\(number)" } else { part.text ?? "\(part)" }
        }.joined(separator: " ")
    }
}
