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
    private static let cluster = ClusterID(Bytes16(high: 1, low: 1))
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
        case 0..<45: done = try push(partition)
        case 45..<52: done = try heartbeat(partition)
        case 52..<62: done = try peek(partition, queues[index])
        case 62..<78: done = try trim(partition, queues[index])
        case 78..<84: done = try claim(partition, queues[index])
        case 84..<88: done = try renew(partition, queues[index])
        case 88..<94: done = try create(partition)
        case 94..<96: done = try seal(partition)
        case 96..<98: done = try collect(partition)
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
            #expect(real.applied == group.applied, "\(context): applied of \(partition)")
            let meta = [
                "state": group.isSealed ? "sealed" : "open", "bytes": "\(group.bytes)", "token": "\(group.token)",
                "duplicates": "\(group.duplicates)", "shard": group.shard.description,
            ]
            let known = real.meta.filter { meta[$0.key] != nil }
            #expect(
                known == meta.filter { known[$0.key] != nil || $0.value != "0" }, "\(context): meta of \(partition)")
        }
        #expect(try scene.keys.readTopology() == model.topology, "\(context): topology")
    }

    private mutating func producer() -> UInt64 { 1 + UInt64(random.below(3)) }

    private mutating func push(_ partition: PartitionID) throws -> (String, String, String) {
        let stream = Stream(partition, producer: producer(), bytes: 150 + random.below(3) * 100)
        let last = model.groups[partition]?.seqs[stream.producer] ?? 0
        // Mostly the next one; sometimes one that is known, or that leaves a hole.
        let sequence = max(1, Int(last) + [1, 1, 1, 1, 0, -1, 2, 4][random.below(8)])
        let floor = random.chance(0.2) ? last + UInt64(random.below(4)) : 0
        let limit = random.chance(0.15) ? random.below(3_000) : 1 << 20
        let batch = stream[UInt64(sequence)]
        let expected = model.push(batch.bytes, as: batch.id, floor: floor, limitBytes: limit)
        let real = try scene.push(batch, floor: floor, limitBytes: limit)
        return ("push \(batch.id) floor \(floor) limit \(limit)", "\(expected)", "\(real)")
    }

    private mutating func heartbeat(_ partition: PartitionID) throws -> (String, String, String) {
        let stream = Stream(partition, producer: producer()).id
        let landed = scene.producer.deliver([.heartbeat(stream)])
        guard case .heartbeat(let real)? = landed.answers.first else { throw Unanswered(text: "\(landed)") }
        return ("heartbeat \(stream)", "\(model.heartbeat(stream))", "\(real)")
    }

    private mutating func peek(_ partition: PartitionID, _ queue: PartitionQueue) throws -> (String, String, String) {
        let (bytes, batches) = (1 + random.below(2_000), 1 + random.below(40))
        let skip = random.chance(0.5) ? random.below(20) : 0
        let expected = model.peek(partition, skip: skip, bytesMax: bytes, batchesMax: batches)
        let real = try queue.peek(skip: skip, bytes: bytes, batches: batches)
        return ("peek \(bytes) \(batches) behind \(skip)", "\(expected)", "\(real)")
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
        let token = (group?.token ?? 1) + (random.chance(0.1) ? 1 : 0)
        let request = TrimRequest(token: token, committed: committed, applied: applied)
        let expected = model.trim(partition, request)
        return ("trim of \(committed.count) token \(token)", "\(expected)", "\(try queue.trim(request))")
    }

    private mutating func claim(_ partition: PartitionID, _ queue: PartitionQueue) throws -> (String, String, String) {
        let host = random.pick(["host-a", "host-a", "host-b"])
        let expected = model.claim(partition, holder: host, leaseMilliseconds: 3_600_000, now: 0)
        let real = try queue.claim(host: host, owner: host, milliseconds: 3_600_000)
        return ("claim \(host)", Self.text(expected), Self.text(real))
    }

    /// The time left of a lease differs by the time that passes.
    private static func text(_ reply: ClaimReply) -> String {
        switch reply {
        case .held(let owner, _): "held by \(owner)"
        case .noTopology: "noTopology"
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
        let isNew = model.create(partition, shard: shard)
        let expected: CreateReply =
            isNew ? .created : .existing(before?.shard ?? shard, sealed: before?.isSealed ?? false)
        return ("create \(shard)", "\(expected)", "\(try scene.keys.create(partition, shard: shard))")
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

    private mutating func publish() throws -> (String, String, String) {
        // K follows from the epoch: another K for a known epoch is an error, which has a test of its own.
        let epoch = UInt32(1 + random.below(4))
        let topology = Topology(cluster: Self.cluster, epoch: epoch, partitions: 2 + Int(epoch))
        let isHigher = epoch >= model.topology?.epoch ?? 0
        let newest = model.publish(topology)
        let expected: PublishReply = isHigher ? .published : .newer(newest)
        return ("publish \(epoch)", "\(expected)", "\(try scene.keys.publish(topology))")
    }
}
