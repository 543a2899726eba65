// The consumer's side of one partition: lease, peek, trim, and the wait for something to peek at.
//
// Every call is one round trip. What it throws says whether the connection survived; that a queue is empty, that the
// lease is somebody else's or that the group is missing are answers, not errors.

public import TallyCore

/// One partition's queue over one connection. Not thread-safe.
public final class PartitionQueue {
    public let partition: PartitionID
    let connection: RedisConnection
    let group: KeyGroup
    private let topology: String

    public init(connection: RedisConnection, names: KeyNames, partition: PartitionID) {
        self.connection = connection
        self.partition = partition
        group = names.group(of: partition)
        topology = names.topology
    }

    /// Whether the connection can be used further.
    public var isConnected: Bool { connection.failure == nil }

    /// Takes the lease, unless a holder on another host has a live one. The same host may always take it: there, the
    /// lock on the shard file decides.
    ///
    /// - Parameters:
    ///   - host: 1...255 bytes, the same for all consumers that share a lock on the shard file.
    ///   - owner: 1...255 bytes, for people.
    ///   - topology: whose partition it is: what a group of an earlier release does not say yet.
    ///   - shard: the file that it is for; nil for a tool that has none.
    public func claim(
        host: String, owner: String, milliseconds: UInt64, topology: Topology, shard: ShardUUID? = nil
    ) throws(RedisError) -> ClaimReply {
        // A number that Redis would count up comes again when Redis goes back.
        let token = UInt64.random(in: 1...Limits.sequenceMax)
        let answer = try call(.claim) { command in
            command.append(host)
            command.append(owner)
            command.append(milliseconds)
            command.append(token)
            command.append(topology.owner)
            if let shard { command.append(shard.description) }
        }
        switch answer.word {
        case "GRANTED":
            return .granted(
                Claim(
                    token: try answer.integer(1), shard: try answer.shard(2), sealed: try answer.isSealed(3),
                    applied: try answer.watermarks(4)))
        case "OTHER": return .otherShard(try answer.shard(1))
        case "HELD": return .held(by: try answer.text(1), milliseconds: try answer.integer(2))
        case "NOTOPO": return .noTopology
        default: throw answer.unexpected
        }
    }

    /// Whether the last holder of the lease has not given it back: it holds it still, or has ended without a word.
    public func isLeaseLeft() throws(RedisError) -> Bool {
        try connection.command(RedisCommand("HGET", group.meta, "lease")).text != nil
    }

    /// Lengthens the lease to `milliseconds` from now.
    public func renew(token: UInt64, milliseconds: UInt64) throws(RedisError) -> LeaseReply {
        try leaseReply(
            call(.renew) { command in
                command.append(token)
                command.append(milliseconds)
            })
    }

    /// Gives the lease back.
    public func release(token: UInt64) throws(RedisError) -> LeaseReply {
        try leaseReply(call(.release) { $0.append(token) })
    }

    /// The oldest batches behind the first `skip`: at most `bytes` of payload and `batches`, but at least one if there
    /// is any. Both from 1.
    public func peek(skip: Int = 0, bytes: Int, batches: Int) throws(RedisError) -> PeekReply {
        precondition(skip >= 0 && bytes > 0 && batches > 0, "a peek at nothing")
        let answer = try call(.peek) { command in
            command.append(bytes)
            command.append(batches)
            if skip > 0 { command.append(skip) }
        }
        switch answer.word {
        case "OK":
            return .batches(
                Peeked(
                    shard: try answer.shard(1), sealed: try answer.isSealed(2), batches: try answer.batches(4),
                    length: try answer.count(3), behind: try behind(answer),
                    time: try answer.integer(5)))
        case "NOTOPO": return .noTopology
        default: throw answer.unexpected
        }
    }

    /// An earlier release's functions say nothing of earlier epochs.
    private func behind(_ answer: FunctionAnswer) throws(RedisError) -> [StreamID] {
        let own = try answer.floors(6).map { StreamID(partition: partition, producer: $0.producer) }
        return answer.has(7) ? try own + answer.earlierFloors(7).map(\.stream) : own
    }

    /// Pops batches while the oldest is one of those committed, and raises the watermarks.
    public func trim(_ request: TrimRequest) throws(RedisError) -> TrimReply {
        var committed: [UInt8] = []
        committed.reserveCapacity(request.committed.count * BatchFormat.identityRange.count)
        for id in request.committed { committed.append(contentsOf: id.identityBytes) }
        let watermarks = request.applied.records(of: partition)
        let answer = try call(.trim) { command in
            command.append(request.token)
            command.append(payload: committed)
            command.append(watermarks)
            if !request.earlier.isEmpty { command.append(request.earlier.flatMap { $0.record($1) }) }
        }
        switch answer.word {
        case "OK": return .trimmed(batches: try answer.count(1))
        case "FENCED": return .fenced
        case "NOTOPO": return .noTopology
        default: throw answer.unexpected
        }
    }

    /// Blocks until the list holds something, at most `milliseconds` (from 1). Removes nothing: the oldest batch is
    /// moved from the head to the head. Returns whether there is something.
    ///
    /// It counts as a write for Redis, which refuses it over its maxmemory or on a replica.
    public func waitForBatch(milliseconds: UInt64) throws(RedisError) -> Bool {
        precondition(milliseconds > 0, "a wait of zero would last for ever")
        let fraction = String(milliseconds % 1000 + 1000).dropFirst()
        let reply = try connection.command(
            RedisCommand("BLMOVE", group.queue, group.queue, "LEFT", "LEFT", "\(milliseconds / 1000).\(fraction)"),
            blockingMilliseconds: milliseconds)
        switch reply {
        case .bytes: return true
        case .null: return false
        case .status, .integer, .array, .error:
            connection.abandon(.protocolViolation("BLMOVE answered \(reply)"))
            throw .protocolViolation("BLMOVE answered \(reply)")
        }
    }

    /// From now on nothing new enters the partition.
    public func seal() throws(RedisError) -> SealReply {
        try SealReply(connection.call(.seal, keys: group.all))
    }

    /// What Redis publishes; nil if there is none.
    public func readTopology() throws(RedisError) -> Topology? {
        try Topology(published: connection.command(RedisCommand("GET", topology)), at: topology)
    }

    private func leaseReply(_ answer: FunctionAnswer) throws(RedisError) -> LeaseReply {
        switch answer.word {
        case "OK": return .ok
        case "FENCED": return .fenced
        case "NOTOPO": return .noTopology
        default: throw answer.unexpected
        }
    }

    private func call(
        _ function: FunctionName, _ fill: (inout RedisCommand) -> Void
    ) throws(RedisError) -> FunctionAnswer {
        try connection.call(function, keys: group.all, fill)
    }
}

extension [ProducerID: UInt64] {
    /// Records of 24 bytes: producer and sequence.
    func records(of partition: PartitionID) -> [UInt8] {
        var records: [UInt8] = []
        records.reserveCapacity(count * BatchFormat.identityRange.count)
        for (producer, sequence) in self {
            let stream = StreamID(partition: partition, producer: producer)
            records.append(contentsOf: BatchID(stream: stream, sequence: sequence).identityBytes)
        }
        return records
    }
}

extension StreamID {
    /// A record of 32 bytes, little-endian: producer, epoch, partition, sequence.
    func record(_ sequence: UInt64) -> [UInt8] {
        var record = producer.bytes.array
        for number in [partition.epoch, partition.number] { withUnsafeBytes(of: number.littleEndian) { record += $0 } }
        withUnsafeBytes(of: sequence.littleEndian) { record += $0 }
        return record
    }
}

extension RedisConnection {
    /// Calls a function of the library.
    func call(
        _ function: FunctionName, keys: [String], _ fill: (inout RedisCommand) -> Void = { _ in }
    ) throws(RedisError) -> FunctionAnswer {
        var command = function.call(keys: keys)
        fill(&command)
        return try FunctionAnswer(self.command(command), to: function)
    }
}
