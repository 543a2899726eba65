// The key groups and the topology, for those who make, close and look at them: init, rebalance, repair, status.

public import TallyCore

/// All keys of one cluster over one connection. Not thread-safe.
public final class ClusterKeys {
    /// What `inspect` returns of the oldest batch: enough for its header.
    public static let inspectedHeadBytes = 128
    let connection: RedisConnection
    public let names: KeyNames

    public init(connection: RedisConnection, names: KeyNames) {
        self.connection = connection
        self.names = names
    }

    /// Whether the connection can be used further.
    public var isConnected: Bool { connection.failure == nil }

    /// Creates the partition's key group for a shard file, unless there is one.
    ///
    /// - Parameters:
    ///   - topology: whose partition it is.
    ///   - applied: the watermarks of the file: an older copy of it is recognised by them.
    public func create(
        _ partition: PartitionID, shard: ShardUUID, topology: Topology, applied: [ProducerID: UInt64]
    ) throws(RedisError) -> CreateReply {
        let answer = try call(.create, partition) { command in
            command.append(shard.description)
            command.append(topology.owner)
            command.append(applied.records(of: partition))
        }
        switch answer.word {
        case "CREATED": return .created
        case "EXISTING": return .existing(try answer.shard(1), sealed: try answer.isSealed(2))
        default: throw answer.unexpected
        }
    }

    /// From now on nothing new enters the partition.
    public func seal(_ partition: PartitionID) throws(RedisError) -> SealReply {
        try SealReply(call(.seal, partition))
    }

    /// Deletes the partition's key group if it is sealed and empty.
    public func collect(_ partition: PartitionID) throws(RedisError) -> CollectReply {
        let answer = try call(.collect, partition)
        switch answer.word {
        case "OK": return .collected
        case "OPEN": return .open
        case "FILLED": return .filled(batches: try answer.count(1))
        case "NOTOPO": return .noTopology
        default: throw answer.unexpected
        }
    }

    /// The bytes of the oldest entry; nil if there is none.
    public func head(of partition: PartitionID) throws(RedisError) -> [UInt8]? {
        let key = names.group(of: partition).queue
        let reply = try connection.command(RedisCommand("LINDEX", key, "0"))
        switch reply {
        case .null: return nil
        case .bytes(let bytes): return bytes
        case .status, .integer, .array, .error: throw .protocolViolation("LINDEX \(key) answered \(reply)")
        }
    }

    /// Takes the oldest entry away, if it is these bytes.
    public func bury(_ entry: [UInt8], in partition: PartitionID) throws(RedisError) -> BuryReply {
        let answer = try call(.bury, partition) { $0.append(payload: entry) }
        switch answer.word {
        case "OK": return .buried
        case "OTHER": return .otherHead
        case "NOTOPO": return .noTopology
        default: throw answer.unexpected
        }
    }

    public func inspect(_ partition: PartitionID) throws(RedisError) -> InspectReply {
        let answer = try call(.inspect, partition) { $0.append(Self.inspectedHeadBytes) }
        switch answer.word {
        case "OK":
            let left = try answer.signed(9)
            let lease =
                left < 0
                ? nil
                : Lease(owner: try answer.text(7), host: try answer.text(8), millisecondsLeft: UInt64(left))
            return .group(
                Inspection(
                    shard: try answer.shard(2), sealed: try answer.isSealed(1), length: try answer.count(3),
                    bytes: try answer.count(4), duplicates: try answer.integer(5), token: try answer.integer(6),
                    lease: lease,
                    // An earlier release's functions do not tell.
                    behind: answer.has(11)
                        ? try Dictionary(answer.floors(11).map { ($0.producer, $0.floor) }) { max($0, $1) } : [:],
                    earlier: answer.has(12)
                        ? try Dictionary(answer.earlierFloors(12).map { ($0.stream, $0.sequence) }) { max($0, $1) }
                        : [:],
                    head: try answer.bytes(10)))
        case "NOTOPO": return .noTopology
        default: throw answer.unexpected
        }
    }

    /// Sets the topology, unless Redis has a higher epoch.
    ///
    /// - Throws: `RedisError.server` with the code `OTHERCLUSTER` if the namespace belongs to another cluster, or
    ///   `OTHERPARTITIONS` if this epoch was published with another K; the message names both.
    public func publish(_ topology: Topology) throws(RedisError) -> PublishReply {
        let answer = try connection.call(.topology, keys: [names.topology]) { $0.append(topology.json) }
        switch answer.word {
        case "OK": return .published
        case "NEWER":
            let text = RedisReply.bytes(try answer.bytes(1))
            guard let newer = try Topology(published: text, at: names.topology) else { throw answer.unexpected }
            return .newer(newer)
        default: throw answer.unexpected
        }
    }

    /// What Redis publishes; nil if there is none.
    public func readTopology() throws(RedisError) -> Topology? {
        try Topology(published: connection.command(RedisCommand("GET", names.topology)), at: names.topology)
    }

    /// The newest epochs that nodes of the cluster have seen, as far as one had to tell, by their number of partitions.
    public func notedEpochs(of cluster: ClusterID) throws(RedisError) -> [Topology] {
        let reply = try connection.command(RedisCommand("HGETALL", names.noted))
        if case .error(let code, let message) = reply { throw .server(code: code, message: message) }
        guard case .array(let pairs) = reply else { throw .protocolViolation("HGETALL answered \(reply)") }
        var noted: [Topology] = []
        for index in stride(from: 0, to: pairs.count - 1, by: 2) {
            let parts = pairs[index].text?.split(separator: "/") ?? []
            guard parts.count == 2, let owner = ClusterID(parts[0]), let partitions = Int(parts[1]),
                (1...Limits.partitionsMax).contains(partitions),
                let epoch = pairs[index + 1].text.flatMap({ UInt32($0) }), (1...Limits.epochMax).contains(epoch)
            else { throw .protocolViolation("\(names.noted) holds no epochs") }
            if owner == cluster { noted.append(Topology(cluster: cluster, epoch: epoch, partitions: partitions)) }
        }
        return noted
    }

    /// Whether the connection lives and still leads to the Redis to ask: one that has become a replica since the last
    /// call is left, because behind its address may be the new primary. To be called once when it is made.
    public func leadOn() throws(RedisError) -> Bool {
        isConnected ? try connection.isNoNewReplica() : false
    }

    /// Bytes that clients have sent to this Redis since it started; 0 if it does not say.
    public func bytesReceived() throws(RedisError) -> UInt64 {
        try ServerInfo(connection)?["total_net_input_bytes"].flatMap { UInt64($0) } ?? 0
    }

    func call(
        _ function: FunctionName, _ partition: PartitionID, _ fill: (inout RedisCommand) -> Void = { _ in }
    ) throws(RedisError) -> FunctionAnswer {
        try connection.call(function, keys: names.group(of: partition).all, fill)
    }
}

extension SealReply {
    init(_ answer: FunctionAnswer) throws(RedisError) {
        switch answer.word {
        case "OK": self = .sealed
        case "NOTOPO": self = .noTopology
        default: throw answer.unexpected
        }
    }
}
