// Lies between a producer and Redis, for the canaries: the machine keeps the protocol, what arrives does not.
//
// Without one of these mutations every call passes its argument through.

import TallyCore

struct Forgery {
    private let mutation: Mutation?
    /// For `seq-reuse`: how often a batch was sent, the newest batch sent, and the batch that was given up.
    private var tries: [BatchID: Int] = [:]
    private var newest: [StreamID: UInt64] = [:]
    private var givenUp: [StreamID: GivenUp] = [:]
    private var excused: [[UInt8]] = []
    /// For `lower-epoch`: the producer never goes to a lower epoch, so each change is shown to it as a new one. By the
    /// number it was shown, what Redis said.
    private var shown: [UInt32: Topology] = [:]
    private var newestShown: UInt32 = 0

    private struct GivenUp {
        let sequence: UInt64
        let amount: Amount
    }

    init(_ mutation: Mutation?) {
        self.mutation = mutation
    }

    /// Keys whose clients were told, by a mutant, that nobody knows.
    mutating func takeExcused() -> [[UInt8]] {
        let keys = excused
        excused = []
        return keys
    }

    /// The commands that are sent; `answer` gets those that are answered on the spot.
    mutating func filter(
        _ commands: [QueueCommand], _ answer: (QueueAnswer, QueueCommand) -> Void
    ) -> [QueueCommand] {
        if mutation == .lowerEpoch || mutation == .noHeartbeat {
            for case .push(let batch, _, _, _) in commands {
                newest[batch.id.stream] = max(newest[batch.id.stream] ?? 0, batch.id.sequence)
            }
        }
        guard mutation == .seqReuse else { return commands }
        return commands.filter { command in
            guard case .push(let batch, _, _, _) = command, isGivenUp(batch) else { return true }
            answer(.push(.ok(applied: 0)), command)
            return false
        }
    }

    /// Two attempts, then the newest batch of a stream is given up, once a stream.
    private mutating func isGivenUp(_ batch: Batch) -> Bool {
        let stream = batch.id.stream
        if let done = givenUp[stream] {
            newest[stream] = max(newest[stream] ?? 0, batch.id.sequence)
            return done.sequence == batch.id.sequence
        }
        tries[batch.id, default: 0] += 1
        newest[stream] = max(newest[stream] ?? 0, batch.id.sequence)
        guard let count = tries[batch.id], count > 2, newest[stream] == batch.id.sequence else { return false }
        batch.bytes.withUnsafeBytes { bytes in
            guard let reader = try? BatchReader(bytes) else { return }  // cannot be: the producer has just made it
            reader.forEach { excused.append(Array($0.key)) }
            givenUp[stream] = GivenUp(sequence: batch.id.sequence, amount: reader.amount)
        }
        return true
    }

    /// What a push does.
    func push(
        _ batch: Batch, floor: UInt64, limitBytes: Int, owner: ModelRedis.Owner, into redis: inout ModelRedis
    ) -> PushReply {
        let stream = batch.id.stream
        let send = { (bytes: [UInt8], id: BatchID, floor: UInt64, redis: inout ModelRedis) in
            redis.push(
                bytes, as: id, chain: batch.chain, owner: owner, floor: floor, limitBytes: limitBytes)
        }
        switch mutation {
        case .noOutbox:
            let reply = send(batch.bytes, batch.id, floor, &redis)
            switch reply {
            case .ok, .duplicate: return .ok(applied: batch.id.sequence)
            default: return reply
            }
        case .noOrigin:
            return send(Payload.withoutOrigin(batch.bytes), batch.id, floor, &redis)
        case .seqReuse:
            guard let done = givenUp[stream], batch.id.sequence > done.sequence else { break }
            let id = BatchID(stream: stream, sequence: batch.id.sequence - 1)
            let reply = send(
                Payload.renumbered(batch.bytes, sequence: id.sequence, less: done.amount), id,
                floor >= done.sequence ? floor - 1 : floor, &redis)
            return translated(reply, stream)
        case .lowerEpoch:
            let id = BatchID(stream: real(stream), sequence: batch.id.sequence)
            let payload = Payload.inEpochs(batch.bytes, of: stream.producer) { real($0) }
            return translated(send(payload, id, floor, &redis), stream)
        default: break
        }
        return translated(send(batch.bytes, batch.id, floor, &redis), stream)
    }

    /// What the machine is told.
    mutating func answer(_ answer: QueueAnswer, to command: QueueCommand) -> QueueAnswer {
        if mutation == .lowerEpoch, case .topology(let topology?) = answer { return .topology(show(topology)) }
        guard case .heartbeat(.progress(let last, let applied)) = answer,
            case .heartbeat(let stream, _, _) = command
        else { return answer }
        if mutation == .noHeartbeat {
            return .heartbeat(.progress(last: max(last, newest[stream] ?? 0), applied: applied))
        }
        return .heartbeat(
            .progress(last: translated(last, stream), applied: translated(applied, stream)))
    }

    private func translated(_ reply: PushReply, _ stream: StreamID) -> PushReply {
        switch reply {
        case .ok(let applied): .ok(applied: translated(applied, stream))
        case .duplicate(let last, let chain, let applied):
            .duplicate(last: translated(last, stream), chain: chain, applied: translated(applied, stream))
        case .sealed(let applied): .sealed(applied: translated(applied, stream))
        case .gap(let last, let applied):
            .gap(last: translated(last, stream), applied: translated(applied, stream))
        case .full(let applied): .full(applied: translated(applied, stream))
        case .behind(let applied): .behind(applied: translated(applied, stream))
        case .noTopology, .conflict, .refused: reply
        }
    }

    /// Redis counts one less since a number was used twice.
    private func translated(_ sequence: UInt64, _ stream: StreamID) -> UInt64 {
        // In an epoch that it comes back to, Redis knows of more than the producer, which begins anew.
        if mutation == .lowerEpoch { return min(sequence, newest[stream] ?? 0) }
        guard let done = givenUp[stream], sequence >= done.sequence else { return sequence }
        return min(sequence + 1, newest[stream] ?? sequence)
    }
}

extension Forgery {
    /// The canary `lower-epoch`: whatever Redis says now is a higher epoch to the producer.
    private mutating func show(_ topology: Topology) -> Topology {
        if shown[newestShown] != topology {
            newestShown = max(newestShown + 1, topology.epoch)
            shown[newestShown] = topology
        }
        return Topology(cluster: topology.cluster, epoch: newestShown, partitions: topology.partitions)
    }

    /// What Redis said when the producer was shown `topology`.
    func real(_ topology: Topology?) -> Topology? {
        mutation == .lowerEpoch ? topology.flatMap { shown[$0.epoch] } : topology
    }

    private func real(_ epoch: UInt32) -> UInt32 { shown[epoch]?.epoch ?? epoch }

    func real(_ partition: PartitionID) -> PartitionID {
        mutation == .lowerEpoch ? PartitionID(epoch: real(partition.epoch), number: partition.number) : partition
    }

    func real(_ stream: StreamID) -> StreamID {
        StreamID(partition: real(stream.partition), producer: stream.producer)
    }

    func real(_ floors: [StreamFloor]) -> [StreamFloor] {
        floors.map { StreamFloor(stream: real($0.stream), sequence: $0.sequence) }
    }
}

/// Batches rewritten with good checksums: what only a broken producer would send.
enum Payload {
    static func withoutOrigin(_ bytes: [UInt8]) -> [UInt8] {
        var forged = bytes
        for offset in 80..<BatchFormat.headerChecksum { forged[offset] = 0 }
        return sealed(forged)
    }

    static func renumbered(_ bytes: [UInt8], sequence: UInt64, less: Amount) -> [UInt8] {
        var forged = bytes
        let header = bytes.withUnsafeBytes { try? BatchHeader(reading: $0) }
        guard let header else { preconditionFailure("the producer sends no batch") }
        let cumulative = header.cumulative - less
        store(sequence, at: 20, &forged)
        store(cumulative.increments, at: 48, &forged)
        store(cumulative.sum, at: 56, &forged)
        return sealed(forged)
    }

    /// With the epochs of the batch and of its origin, if that is the producer's own, as `real` says.
    static func inEpochs(_ bytes: [UInt8], of producer: ProducerID, _ real: (UInt32) -> UInt32) -> [UInt8] {
        var forged = bytes
        let header = bytes.withUnsafeBytes { try? BatchHeader(reading: $0) }
        guard let header else { preconditionFailure("the producer sends no batch") }
        store(real(header.id.stream.partition.epoch), at: 28, &forged)
        if let origin = header.origin, origin.stream.producer == producer {
            store(real(origin.stream.partition.epoch), at: 104, &forged)
        }
        return sealed(forged)
    }

    private static func sealed(_ bytes: [UInt8]) -> [UInt8] {
        var forged = bytes
        store(XXH64.hash(Array(forged[..<BatchFormat.headerChecksum])), at: BatchFormat.headerChecksum, &forged)
        store(XXH64.hash(Array(forged[..<(forged.count - 8)])), at: forged.count - 8, &forged)
        return forged
    }

    private static func store<Integer: FixedWidthInteger>(_ value: Integer, at offset: Int, _ bytes: inout [UInt8]) {
        bytes.withUnsafeMutableBytes { $0.storeBytes(of: value.littleEndian, toByteOffset: offset, as: Integer.self) }
    }
}

extension BatchFormat {
    /// Offset of the header's checksum in version 1.
    fileprivate static let headerChecksum = 112
}
