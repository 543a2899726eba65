// The producer: decides what a web node may promise, and keeps every promise.
//
// A state machine without I/O. One belongs to each event loop. It admits requests as a whole, aggregates them, freezes
// batches, says what to send, and learns from the answers; it never forgets a batch before a shard has it. Its shell
// does the rest: calls `nextFlight`, sends the commands as one pipeline, and feeds each answer to `received`, late,
// repeated or `unknown` as it may be. Time (monotonic and since 1970) and the id come in as arguments.
//
//   admit ──> aggregator ──freeze──> outbox: pending ──> in flight ──OK, DUP──> resolved ──applied──> gone
//                                       ^                   │                      │
//                                       └── unknown, FULL ──┴──── GAP, heartbeat ──┘

/// Why a request is not admitted. Nothing of it was counted.
public enum Refusal: Error, Hashable, Sendable {
    /// No topology was read yet.
    case noTopology
    case draining
    /// Redis does not answer.
    case redisUnreachable
    /// The batches that no shard has confirmed, and the requests that wait for their level, fill the node's bound.
    case outboxFull
    case queueFull(partition: UInt32)
    /// The shard lacks batches that this producer has released, or Redis does not know yet that it has them.
    case shardBehind(partition: PartitionID, missing: ClosedRange<UInt64>)
    /// Another process uses this producer's id: it was resumed from a snapshot of its memory, or cloned.
    case identityInUse
    /// Redis would not keep what it confirms; the text says why.
    case redisUnfit(String)
    /// The partition is closed or gone, and there is no newer epoch: `repair` is due.
    case repairDue(partition: UInt32)
    case redisRefuses(String)
    /// Redis belongs to another cluster now.
    case otherCluster(ClusterID)
    /// An idempotent request adds up to more than Int64 for this key.
    case sumOutOfRange(key: [UInt8])
}

/// One event loop's producer.
public struct Producer {
    /// Bounds that a flag can change, in bytes.
    public struct Configuration: Hashable, Sendable {
        public var outboxBytes = Limits.outboxBytes
        public var queueBytes = Limits.queueBytes
        public var batchBytes = Limits.batchBytes

        public init() {}
    }

    /// What happened since the start.
    public struct Statistics: Hashable, Sendable {
        public var requests: UInt64 = 0
        public var increments: UInt64 = 0
        public var batches: UInt64 = 0
        public var entries: UInt64 = 0
        /// Batches sent again.
        public var replays: UInt64 = 0
        /// Batches that Redis had already.
        public var duplicates: UInt64 = 0
        /// Pushes that Redis refused because it lacked one before.
        public var gaps: UInt64 = 0
        /// Times that Redis was found to have gone back in time.
        public var rollbacks: UInt64 = 0

        public init() {}

        public static func += (left: inout Statistics, right: Statistics) {
            left.requests += right.requests
            left.increments += right.increments
            left.batches += right.batches
            left.entries += right.entries
            left.replays += right.replays
            left.duplicates += right.duplicates
            left.gaps += right.gaps
            left.rollbacks += right.rollbacks
        }
    }

    public let id: ProducerID
    /// May be changed at any time: what is over a bound is kept, and nothing more is admitted.
    public var configuration: Configuration
    public internal(set) var topology: Topology?
    public internal(set) var statistics = Statistics()
    public private(set) var isDraining = false
    var channels: [Channel] = []
    var tickets = Tickets()
    /// Where each increment of the request under admission goes; reused.
    private var destinations: [Int] = []
    private var isTouched: [Bool] = []
    private var touched: [Int] = []

    var isTopologyWanted = true
    var isTopologyInFlight = false
    var topologyReadAt: UInt64 = 0
    var topologyFailures = 0
    /// What Redis published last is from before the topology in use, or nothing.
    var isTopologyOlder = false
    /// A rollback has been counted since the topology was last read.
    var isTopologyDoubted = false
    /// Whether some channel holds a floor of an earlier epoch that no shard of this one is known to reach.
    var hasUnknownFloors = false
    /// When known floors are asked for once more.
    var doubtFloorsAt: UInt64 = 0
    /// Whether Redis has to be told of this epoch: what it publishes is from before it.
    var isEpochNoteDue = false
    /// Whether this connection's Redis has been seen to be ours, or empty: nothing is sent to it before.
    var isClusterConfirmed = false
    var otherCluster: ClusterID?
    private var nextChannel = 0
    public private(set) var isConnected = false
    /// Why the Redis that is there is not used.
    private var unfitReason: String?
    private var flightSince: UInt64?
    /// What batches and claims are dated with.
    var clock: RedisClock
    /// The stream that somebody else has written to under this producer's id. Nothing is sent or promised any more;
    /// the process has to end.
    public internal(set) var conflict: StreamID?

    /// - Parameter clock: a first guess; Redis is asked with each topology.
    public init(id: ProducerID, configuration: Configuration, clock: RedisClock) {
        self.id = id
        self.configuration = configuration
        self.clock = clock
    }

    // MARK: Admission

    /// Takes the request as a whole, or refuses it as a whole.
    ///
    /// - Parameters:
    ///   - level: what the client waits for.
    ///   - now: monotonic milliseconds.
    /// - Returns: a ticket that is acknowledged once `level` is reached; nil for `memory`, which is reached now.
    public mutating func admit(
        _ increments: borrowing IncrementBuffer, level: Level, idempotencyKey: [UInt8]?, now: UInt64
    ) throws(Refusal) -> Ticket? {
        if let refusal = closedReason(now: now) { throw refusal }
        guard let partitioner = topology?.partitioner else { throw .noTopology }
        let bytes = increments.keyBytes + increments.count * BatchFormat.entryOverheadMax
        if outboxBytes + bytes > configuration.outboxBytes { throw .outboxFull }
        try chooseDestinations(increments, partitioner, now)
        if let idempotencyKey {
            try addGroups(increments, idempotencyKey)
        } else {
            for (item, destination) in zip(increments.items, destinations) {
                increments.withKey(of: item) {
                    channels[destination].aggregator.add($0, hash: item.hash, delta: item.delta)
                }
            }
        }
        statistics.requests += 1
        statistics.increments += UInt64(increments.count)
        if level == .memory || touched.isEmpty { return nil }
        let ticket = tickets.open(level)
        for channel in touched {
            tickets.miss(ticket.slot)
            channels[channel].openTickets.append(ticket.slot)
        }
        return ticket
    }

    /// Why nothing at all is admitted, or nil.
    public func closedReason(now: UInt64) -> Refusal? {
        if conflict != nil { return .identityInUse }
        if isDraining { return .draining }
        if !isConnected { return unfitReason.map { .redisUnfit($0) } ?? .redisUnreachable }
        if let flightSince, now > flightSince + Limits.stallMilliseconds { return .redisUnreachable }
        if let otherCluster { return .otherCluster(otherCluster) }
        return topology == nil ? .noTopology : nil
    }

    /// Bytes of everything that is not yet confirmed by a shard.
    public var heldBytes: Int {
        channels.reduce(0) { $0 + $1.heldBytes }
    }

    /// What the bound of the outbox is compared with: that, and what waits for its level.
    public var outboxBytes: Int { heldBytes + tickets.heldBytes }

    private mutating func chooseDestinations(
        _ increments: borrowing IncrementBuffer, _ partitioner: Partitioner, _ now: UInt64
    ) throws(Refusal) {
        destinations.removeAll(keepingCapacity: true)
        for index in touched { isTouched[index] = false }
        touched.removeAll(keepingCapacity: true)
        for item in increments.items {
            let destination = partitioner.partition(ofHash: item.hash)
            destinations.append(destination)
            if isTouched[destination] { continue }
            isTouched[destination] = true
            touched.append(destination)
            if let refusal = channels[destination].refusal { throw refusal }
            if channels[destination].aggregator.isEmpty { channels[destination].openedAt = clock.time(at: now) }
        }
    }

    /// An idempotent request is summed by key first: (idempotency key, key) is the unit that counts once.
    private mutating func addGroups(
        _ increments: borrowing IncrementBuffer, _ idempotencyKey: [UInt8]
    ) throws(Refusal) {
        var sums = KeyTable()
        for item in increments.items {
            increments.withKey(of: item) { sums.add($0, hash: item.hash, delta: item.delta) }
            if sums.hasOverflow { throw .sumOutOfRange(key: increments.key(of: item)) }
        }
        guard let partitioner = topology?.partitioner else { throw .noTopology }
        for channel in touched { channels[channel].aggregator.beginGroup(idempotencyKey) }
        for entry in sums.entries {
            let channel = partitioner.partition(ofHash: entry.hash)
            sums.withKey(of: entry) {
                channels[channel].aggregator.addToGroup(
                    $0, hash: entry.hash, delta: entry.sum, increments: entry.increments)
            }
        }
    }

    // MARK: Waiting

    /// Swaps the levels reached since the last call into `other`, which is emptied first.
    public mutating func takeAcknowledged(into other: inout [Acknowledgement]) {
        tickets.takeAcknowledged(into: &other)
    }

    /// Nobody waits for the ticket any more. Returns the level reached so far, nil if it was acknowledged already.
    public mutating func abandon(_ ticket: Ticket) -> Level? {
        let level = tickets.abandon(ticket)
        if tickets.hasLitter {
            for index in channels.indices { channels[index].forgetAbandoned(tickets) }
            tickets.forgetAbandoned()
        }
        return level
    }

    /// Tickets that were neither acknowledged nor abandoned.
    public var awaitedTickets: Int { tickets.awaitedCount }

    // MARK: Sending

    /// No request is admitted from now on; what was admitted is still delivered.
    public mutating func drain() {
        isDraining = true
    }

    /// Everything admitted is in Redis, as far as we know.
    public var isFlushed: Bool { channels.allSatisfy(\.isFlushed) }

    /// The connection is usable or not. While it is not, nothing is admitted.
    ///
    /// - Parameter unfit: why the Redis that was found is not used, nil if none was found.
    public mutating func connection(isUp: Bool, unfit: String? = nil, now: UInt64) {
        isConnected = isUp
        unfitReason = unfit
        flightSince = nil
        // Behind the same address may be another Redis by now.
        isClusterConfirmed = false
        isTopologyWanted = true
        topologyFailures = 0
        for index in channels.indices {
            channels[index].doubt()
            channels[index].isFloorTold = false
            // Consumers connect anew as well, and may have told Redis by then what it has forgotten.
            channels[index].idleHeartbeatAt = now + Limits.heartbeatMilliseconds
        }
        doubtFloors()
    }

    /// What to send now, as one pipeline; empty if there is nothing to do. Every command is to be answered by a call
    /// of `received`, at the latest with `.unknown`, before the next flight.
    ///
    /// - Parameter now: monotonic milliseconds.
    public mutating func nextFlight(now: UInt64) -> [QueueCommand] {
        if conflict != nil { return [] }
        var commands: [QueueCommand] = []
        if isTopologyDue(now) {
            isTopologyInFlight = true
            commands = [.readTopology, .readTime]
        }
        if isClusterConfirmed, let topology { collectAll(now, topology, &commands) }
        if !commands.isEmpty { flightSince = now }
        return commands
    }

    private mutating func collectAll(_ now: UInt64, _ topology: Topology, _ commands: inout [QueueCommand]) {
        if isEpochNoteDue {
            isEpochNoteDue = false
            commands.append(.noteEpoch(topology))
        }
        if hasUnknownFloors { collectComparisons(now, topology, &commands) }
        var replayBytes = channels.reduce(0) { $0 + $1.inFlightBytes }
        for offset in channels.indices {
            let index = (nextChannel + offset) % channels.count
            collect(channel: index, now, topology, &replayBytes, &commands)
        }
        if !channels.isEmpty { nextChannel = (nextChannel + 1) % channels.count }
    }

    /// The flight that `nextFlight` began has been answered in full.
    public mutating func flightEnded() {
        flightSince = nil
    }

    private func isTopologyDue(_ now: UInt64) -> Bool {
        if isTopologyInFlight { return false }
        if topology == nil || isTopologyWanted {
            return now >= topologyReadAt + Backoff.milliseconds(failures: topologyFailures)
        }
        return now >= topologyReadAt + Limits.topologyMilliseconds
    }

    /// Appends the commands of one channel. A first push of a batch always goes; batches behind it, and replays, only
    /// within the bound of unanswered bytes.
    private mutating func collect(
        channel index: Int, _ now: UInt64, _ topology: Topology, _ unanswered: inout Int,
        _ commands: inout [QueueCommand]
    ) {
        if now >= channels[index].retryAt {
            freeze(channel: index)
            while let batch = takePending(channel: index, &unanswered) {
                commands.append(
                    .push(
                        batch, floor: channels[index].floor, limitBytes: configuration.queueBytes,
                        topology: topology))
            }
        }
        if channels[index].isHeartbeatDue(
            now, isAwaited: tickets.storedCount > 0 || isDraining, isLeaving: isDraining)
        {
            channels[index].isHeartbeatInFlight = true
            commands.append(
                .heartbeat(channels[index].stream, floor: channels[index].floor, topology: topology))
        }
    }

    private mutating func takePending(channel index: Int, _ unanswered: inout Int) -> Batch? {
        let isFirst = channels[index].inFlightCount == 0
        let before = unanswered
        var isReplay = false
        let batch = channels[index].takePending { bytes, wasSent in
            isReplay = wasSent
            return isFirst && !wasSent || before == 0 || before + bytes <= Limits.replayBytes
        }
        guard let batch else { return nil }
        unanswered += batch.bytes.count
        if isReplay { statistics.replays += 1 }
        return batch
    }

    /// Group commit: a batch is frozen when nothing of the channel is under way, and grows until then.
    private mutating func freeze(channel index: Int) {
        guard channels[index].pendingCount == 0, channels[index].inFlightCount == 0,
            !channels[index].aggregator.isEmpty
        else { return }
        statistics.entries += UInt64(channels[index].aggregator.entryCount)
        let before = channels[index].nextSequence
        channels[index].freeze(at: channels[index].openedAt, limitBytes: configuration.batchBytes)
        statistics.batches += channels[index].nextSequence - before
        registerOpenTickets(channel: index)
    }

    /// The tickets of the aggregator now wait for the last batch that it became.
    func waits(of channel: Channel, _ tickets: [Int32]) -> (queue: Channel.Wait, store: Channel.Wait?) {
        let last = channel.nextSequence - 1
        let storing = tickets.filter { self.tickets.wants($0) == .stored }
        return (
            Channel.Wait(sequence: last, tickets: tickets),
            storing.isEmpty ? nil : Channel.Wait(sequence: last, tickets: storing)
        )
    }

    mutating func registerOpenTickets(channel index: Int) {
        guard !channels[index].openTickets.isEmpty else { return }
        let waits = waits(of: channels[index], channels[index].openTickets)
        channels[index].queueWaits.append(waits.queue)
        if let store = waits.store { channels[index].storeWaits.append(store) }
        channels[index].openTickets.removeAll(keepingCapacity: true)
    }

    mutating func resetChannels(_ topology: Topology) -> [Channel] {
        let old = channels
        channels = topology.partitionIDs.map { Channel(stream: StreamID(partition: $0, producer: id)) }
        isTouched = Array(repeating: false, count: topology.partitions)
        touched.removeAll()
        nextChannel = 0
        return old
    }
}
