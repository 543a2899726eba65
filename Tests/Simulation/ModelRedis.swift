// A model of the Redis function library: what each function checks, in which order, and what it changes.
//
// It is the other half of PROTOCOL.md's text. The simulator runs the machines against it, and the differential test
// runs the same random commands against it and the real library. It is a value: a copy is a snapshot, an assignment
// goes back in time. Fields are public so that a test can compare them with what Redis holds.

public import TallyCore

/// All key groups and the topology.
public struct ModelRedis: Hashable, Sendable {
    /// The keys of one partition, which one function sees together and which go back in time together.
    public struct KeyGroup: Hashable, Sendable {
        /// Encoded batches, oldest first.
        public var queue: [[UInt8]] = []
        public var seqs: [ProducerID: UInt64] = [:]
        /// The history of each stream through its last sequence; nil where an earlier release pushed.
        public var chains: [ProducerID: UInt64] = [:]
        public var applied: [ProducerID: UInt64] = [:]
        public var isSealed = false
        public var shard: ShardUUID
        /// nil in a group that an earlier release made.
        public var owner: Owner?
        /// By producer, the floor that neither the list nor the shard seems to reach.
        public var behind: [ProducerID: UInt64] = [:]
        /// The same of streams of earlier epochs, and what the shard is known to have of them.
        public var earlierBehind: [StreamID: UInt64] = [:]
        public var earlierApplied: [StreamID: UInt64] = [:]
        public var token: UInt64 = 0
        /// Who holds the lease, nil before the first claim.
        public var holder: String?
        /// Milliseconds at which the lease expires.
        public var leaseUntil: UInt64 = 0
        /// Bytes of `queue`.
        public var bytes = 0
        /// The counter that a duplicate push writes.
        public var duplicates: UInt64 = 0
        /// Batches ever popped: only the canary `offset-trim` looks at it.
        public var popped = 0

        public init(shard: ShardUUID, owner: Owner?) {
            self.shard = shard
            self.owner = owner
        }
    }

    /// Whose partition it is, and one of how many.
    public struct Owner: Hashable, Sendable {
        public let cluster: ClusterID
        public let partitions: Int

        public init(_ topology: Topology) {
            cluster = topology.cluster
            partitions = topology.partitions
        }
    }

    public var groups: [PartitionID: KeyGroup] = [:]
    public var topology: Topology?
    /// The newest epoch that a node has seen, as far as one had to tell, by its number of partitions.
    public var notedEpochs: [Int: UInt32] = [:]
    /// False: leases are granted to everybody and tokens are ignored, which is the worst that two hosts can do.
    public var enforcesLeases = true
    /// A rule broken on purpose.
    public var mutation: Mutation?

    public init() {}

    // MARK: Producer

    /// Appends a batch.
    ///
    /// - Parameters:
    ///   - chain: nil as an earlier release pushes.
    ///   - owner: whose partition it is meant to be; nil as an earlier release pushes.
    ///   - floor: the highest `applied` that the producer ever saw here.
    ///   - limitBytes: a list that holds so many or more is full.
    public mutating func push(
        _ payload: [UInt8], as id: BatchID, chain: BatchChain?, owner: Owner?, floor: UInt64, limitBytes: Int
    ) -> PushReply {
        let partition = id.stream.partition
        let producer = id.stream.producer
        if mutation == .autoCreate, groups[partition] == nil {
            groups[partition] = KeyGroup(shard: ShardUUID(Bytes16(high: 0, low: 0)), owner: nil)
        }
        guard let group = groups[partition], isMeant(group, by: owner) else { return .noTopology }
        let last = group.seqs[producer] ?? 0
        let applied = group.applied[producer] ?? 0
        if mutation == .sealBeforeDedupe, group.isSealed { return .sealed(applied: applied) }
        if id.sequence <= last {
            groups[partition]?.duplicates += 1
            return .duplicate(last: last, chain: checksHistory ? group.chains[producer] : nil, applied: applied)
        }
        if group.isSealed { return .sealed(applied: applied) }
        if floor > max(last, applied), mutation != .trustFloor, mutation != .noFloor {
            noteBehind(producer, floor, partition)
            return .behind(applied: applied)
        }
        let base = mutation == .noFloor ? last : max(last, floor)
        if id.sequence != base + 1, mutation != .noContiguity { return .gap(last: last, applied: applied) }
        if checksHistory, id.sequence == last + 1, let chain, let known = group.chains[producer], known != chain.before
        {
            return .conflict
        }
        if group.bytes >= limitBytes { return .full(applied: applied) }
        groups[partition]?.queue.append(payload)
        groups[partition]?.seqs[producer] = id.sequence
        groups[partition]?.chains[producer] = chain?.through
        groups[partition]?.bytes += payload.count
        return .ok(applied: applied)
    }

    private mutating func noteBehind(_ producer: ProducerID, _ floor: UInt64, _ partition: PartitionID) {
        guard let behind = groups[partition]?.behind else { return }
        if behind[producer] != nil || behind.count < Limits.behindStreamsMax {
            groups[partition]?.behind[producer] = max(floor, behind[producer] ?? 0)
        }
    }

    /// Whether the group is the one that a producer of `owner` means.
    private func isMeant(_ group: KeyGroup, by owner: Owner?) -> Bool {
        guard let owner, let own = group.owner else { return true }
        return switch mutation {
        case .anyCluster: true
        case .anyPartitions: own.cluster == owner.cluster
        default: own == owner
        }
    }

    /// Canaries that forge batches would be found by their history alone.
    private var checksHistory: Bool {
        switch mutation {
        case .noHistory, .seqReuse, .lowerEpoch, .noOrigin: false
        default: true
        }
    }

    /// What Redis has of a stream. A floor that it does not reach is noted.
    ///
    /// - Parameters:
    ///   - floor: as in a push; nil as an earlier release asks, which nothing is noted of.
    ///   - owner: as in a push.
    public mutating func heartbeat(_ stream: StreamID, floor: UInt64?, owner: Owner?) -> HeartbeatReply {
        guard let group = groups[stream.partition], isMeant(group, by: owner) else { return .noTopology }
        let last = group.seqs[stream.producer] ?? 0
        let applied = group.applied[stream.producer] ?? 0
        if let floor, floor > max(last, applied), mutation != .trustFloor, mutation != .noFloor {
            noteBehind(stream.producer, floor, stream.partition)
        }
        return .progress(last: last, applied: applied)
    }

    /// Whether the shard of a partition is known to reach floors of earlier epochs. What is not known is noted.
    public mutating func compare(
        _ floors: [StreamFloor], in partition: PartitionID, owner: Owner
    ) -> CompareReply {
        guard let group = groups[partition], isMeant(group, by: owner) else { return .noTopology }
        if mutation == .forgetFloors { return .known(floors.map { _ in true }) }
        return .known(
            floors.map { floor in
                if group.earlierApplied[floor.stream] ?? 0 >= floor.sequence { return true }
                noteEarlier(floor, partition)
                return false
            })
    }

    private mutating func noteEarlier(_ floor: StreamFloor, _ partition: PartitionID) {
        guard let noted = groups[partition]?.earlierBehind else { return }
        if noted[floor.stream] != nil || noted.count < Limits.behindStreamsMax {
            groups[partition]?.earlierBehind[floor.stream] = max(floor.sequence, noted[floor.stream] ?? 0)
        }
    }

    /// Remembers an epoch that a node has seen, if it is the newest one with so many partitions.
    public mutating func noteEpoch(_ topology: Topology) {
        if mutation == .lowEpoch { return }
        notedEpochs[topology.partitions] = max(topology.epoch, notedEpochs[topology.partitions] ?? 0)
    }

    /// The newest one that is not `topology`; 0 if there is none.
    public func notedEpoch(beside topology: Topology) -> UInt32 {
        notedEpochs.filter { $0.key != topology.partitions || $0.value != topology.epoch }.values.max() ?? 0
    }

    // MARK: Consumer

    /// Takes the lease, and tells what the start check needs, in one step.
    ///
    /// - Parameters:
    ///   - token: a random number that no other lease has.
    ///   - owner: a group that an earlier release made becomes this one's.
    ///   - shard: the file that it is for; nil for a tool that has none, and for an earlier release.
    ///   - now: milliseconds, Redis' own clock.
    public mutating func claim(
        _ partition: PartitionID, holder: String, leaseMilliseconds: UInt64, token: UInt64, owner: Owner,
        shard: ShardUUID? = nil, now: UInt64
    ) -> ClaimReply {
        guard let group = groups[partition] else { return .noTopology }
        if let shard, shard != group.shard { return .otherShard(group.shard) }
        if enforcesLeases, let other = group.holder, other != holder, now < group.leaseUntil {
            return .held(by: other, milliseconds: group.leaseUntil - now)
        }
        let token = mutation == .countedToken ? group.token + 1 : token
        groups[partition]?.token = token
        groups[partition]?.owner = group.owner ?? owner
        groups[partition]?.holder = holder
        groups[partition]?.leaseUntil = now + leaseMilliseconds
        return .granted(
            Claim(token: token, shard: group.shard, sealed: group.isSealed, applied: group.applied))
    }

    /// Extends the lease; true if it went to somebody else. A missing group counts as lost.
    public mutating func renew(
        _ partition: PartitionID, token: UInt64, leaseMilliseconds: UInt64, now: UInt64
    ) -> Bool {
        guard let group = groups[partition] else { return true }
        if enforcesLeases, group.token != token || token == 0 { return true }
        groups[partition]?.leaseUntil = now + leaseMilliseconds
        return false
    }

    /// The list behind `skip` batches: as many as fit into both bounds, at least one.
    ///
    /// - Parameter time: Redis' clock, in ms since 1970.
    public func peek(
        _ partition: PartitionID, skip: Int = 0, bytesMax: Int, batchesMax: Int, time: UInt64
    ) -> PeekReply {
        guard let group = groups[partition] else { return .noTopology }
        var batches: [[UInt8]] = []
        var bytes = 0
        for batch in group.queue.dropFirst(skip).prefix(batchesMax) {
            bytes += batch.count
            if bytes > bytesMax, !batches.isEmpty { break }
            batches.append(batch)
        }
        return .batches(
            Peeked(
                shard: group.shard, sealed: group.isSealed, batches: batches, length: group.queue.count,
                behind: group.noted(of: partition), time: time))
    }

    /// Compare-and-pop: pops while the head is one of `committed`, and raises `applied`.
    ///
    /// - Parameter upTo: the absolute position behind the peeked batches, for the canary `offset-trim`.
    public mutating func trim(_ partition: PartitionID, _ request: TrimRequest, upTo: Int = 0) -> TrimReply {
        guard var group = groups[partition] else { return .noTopology }
        // No lease has token 0: who was never granted one holds nothing.
        if enforcesLeases, mutation != .noTrimToken, request.token != group.token || request.token == 0 {
            return .fenced
        }
        let popped =
            switch mutation {
            case .countTrim: min(request.committed.count, group.queue.count)
            case .offsetTrim: min(max(0, upTo - group.popped), group.queue.count)
            default: committedPrefix(of: group.queue, request.committed)
            }
        groups[partition] = nil  // the copy above is now the only one: no array is duplicated below
        for batch in group.queue.prefix(popped) { group.bytes -= batch.count }
        group.queue.removeFirst(popped)
        group.popped += popped
        for (producer, watermark) in request.applied {
            group.applied[producer] = max(watermark, group.applied[producer] ?? 0)
            if let floor = group.behind[producer], watermark >= floor { group.behind[producer] = nil }
        }
        for (stream, watermark) in request.earlier {
            group.earlierApplied[stream] = max(watermark, group.earlierApplied[stream] ?? 0)
            if let floor = group.earlierBehind[stream], watermark >= floor { group.earlierBehind[stream] = nil }
        }
        groups[partition] = group
        return .trimmed(batches: popped)
    }

    private func committedPrefix(of queue: [[UInt8]], _ committed: [BatchID]) -> Int {
        let identities = Set(committed.map(\.identityBytes))
        let range = BatchFormat.identityRange
        // An entry that is too short for one is nobody's batch.
        let identity = { (entry: [UInt8]) in Array(entry.prefix(range.upperBound).dropFirst(range.lowerBound)) }
        return queue.prefix { identities.contains(identity($0)) }.count
    }

    // MARK: Operator

    /// Creates a key group if there is none; true if it did.
    ///
    /// - Parameter applied: the watermarks of the shard's file.
    public mutating func create(
        _ partition: PartitionID, shard: ShardUUID, owner: Owner, applied: [ProducerID: UInt64] = [:]
    ) -> Bool {
        if groups[partition] != nil {
            if groups[partition]?.owner == nil { groups[partition]?.owner = owner }
            return false
        }
        groups[partition] = KeyGroup(shard: shard, owner: owner)
        if mutation != .blankCreate { groups[partition]?.applied = applied.filter { $0.value > 0 } }
        return true
    }

    /// No push is accepted from now on; false if there is no such group.
    public mutating func seal(_ partition: PartitionID) -> Bool {
        if mutation != .noSeal { groups[partition]?.isSealed = true }
        return groups[partition] != nil
    }

    /// Publishes a topology unless a newer one, or another cluster's, is there; the one that is there then.
    public mutating func publish(_ new: Topology) -> Topology {
        if mutation == .topoBlind { topology = new }
        if let topology, topology.cluster != new.cluster || topology.epoch >= new.epoch { return topology }
        topology = new
        return new
    }

    /// Deletes the key group of an old epoch, if it is sealed and empty; true if it did.
    public mutating func collect(_ partition: PartitionID) -> Bool {
        guard let group = groups[partition], group.isSealed, group.queue.isEmpty else { return false }
        groups[partition] = nil
        return true
    }

    /// Takes the oldest entry away, if it is these bytes; nil if there is no key group.
    public mutating func bury(_ entry: [UInt8], in partition: PartitionID) -> Bool? {
        guard let group = groups[partition] else { return nil }
        guard group.queue.first == entry else { return false }
        groups[partition]?.queue.removeFirst()
        groups[partition]?.bytes -= entry.count
        return true
    }

    // MARK: Faults

    /// One key group goes back in time, or vanishes because it did not exist then.
    public mutating func goBack(_ partition: PartitionID, to snapshot: ModelRedis) {
        groups[partition] = snapshot.groups[partition]
    }

    public mutating func goBackTopology(to snapshot: ModelRedis) {
        topology = snapshot.topology
    }

    public mutating func goBack(to snapshot: ModelRedis) {
        groups = snapshot.groups
        topology = snapshot.topology
        notedEpochs = snapshot.notedEpochs
    }

    /// FLUSHALL.
    public mutating func flush() {
        groups = [:]
        topology = nil
        notedEpochs = [:]
    }
}

extension ModelRedis.KeyGroup {
    /// Streams of which more was released than the shard is known to have: own ones, then earlier ones.
    fileprivate func noted(of partition: PartitionID) -> [StreamID] {
        let own = behind.keys.map { StreamID(partition: partition, producer: $0) }
        return [own, Array(earlierBehind.keys)].flatMap { $0.sorted { $0.order.lexicographicallyPrecedes($1.order) } }
    }
}

extension StreamID {
    /// What the order of streams goes by.
    var order: [UInt8] {
        var bytes = producer.bytes.array
        for number in [partition.epoch, partition.number] {
            for shift in stride(from: 24, through: 0, by: -8) {
                bytes.append(UInt8(truncatingIfNeeded: number >> shift))
            }
        }
        return bytes
    }
}
