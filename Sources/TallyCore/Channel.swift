// One producer's stream into one partition: the open batch, the outbox, and what is known about Redis' side.
//
// The outbox holds every batch from floor + 1 on, in order and without holes. A batch is pending (to be pushed), in
// flight, or resolved (in the list, as far as we know); it leaves only when `applied` covers it. Redis may go back in
// time, so a resolved batch can become pending again; what a client was told stays true meanwhile, because the batch is
// still here.

/// Why a channel takes no new increments, if it does not.
enum Gate: Hashable, Sendable {
    case open
    /// SEALED or no key group, and the topology is being read: a newer epoch is likely.
    case awaitingTopology
    case full
    /// The shard seems to lack what was released: batches from `applied + 1` to the floor.
    case behind(applied: UInt64)
    /// SEALED or no key group, and no newer epoch.
    case repairDue
    case refusing(String)
}

struct Channel {
    enum State: Hashable {
        case pending
        case inFlight
        case resolved
    }

    struct Outgoing {
        let batch: Batch
        var state: State
        /// Whether Redis has ever confirmed it.
        var wasResolved = false
        /// Whether it was ever sent.
        var wasSent = false
    }

    /// Tickets whose increments lie in batches up to `sequence`.
    struct Wait {
        let sequence: UInt64
        let tickets: [Int32]
    }

    let stream: StreamID
    var aggregator = Aggregator()
    /// When the first increment of the aggregator was admitted: Redis' time, as it was known then.
    var openedAt: UInt64 = 0
    /// Tickets whose increments lie in the aggregator.
    var openTickets: [Int32] = []
    var queueWaits = Fifo<Wait>()
    var storeWaits = Fifo<Wait>()

    private(set) var outbox = Fifo<Outgoing>()
    private(set) var outboxBytes = 0
    private(set) var nextSequence: UInt64 = 1
    private(set) var cumulative = Amount.zero
    /// Of the newest batch.
    private var chain: UInt64 = 0
    /// The highest `applied` ever seen. The oldest batch of the outbox is floor + 1.
    private(set) var floor: UInt64 = 0
    /// Every batch up to this one was confirmed at least once.
    private(set) var resolvedThrough: UInt64 = 0
    private(set) var inFlightBytes = 0
    private(set) var inFlightCount = 0
    private(set) var pendingCount = 0
    /// The newest batch that was ever sent.
    private var sentThrough: UInt64 = 0
    /// No batch below this one is pending.
    private var pendingFrom: UInt64 = 1

    var gate = Gate.open
    /// Consecutive answers that were neither OK nor DUP.
    var failures = 0
    var retryAt: UInt64 = 0
    var heardAt: UInt64 = 0
    var isHeartbeatInFlight = false

    init(stream: StreamID) {
        self.stream = stream
    }

    var heldBytes: Int { outboxBytes + aggregator.encodedBytes }
    /// Whether Redis has been asked, over the present connection, if it still has what it confirmed.
    var isVerified = true
    /// Whether Redis has answered for the floor over the present connection.
    var isFloorTold = false
    /// When the floor is compared with Redis next, unless something is under way.
    var idleHeartbeatAt: UInt64 = 0
    /// What Redis has shown of the stream, for what falls below it.
    var shown = Shown()
    /// There is no key group; whether it was lost, the topology tells.
    var isGroupMissing = false
    /// What was released of streams of earlier epochs, for this partition's shard to be compared with.
    var earlier: [EarlierFloor] = []
    /// When those that are not known are asked for next; never while they are being asked for.
    var compareAt: UInt64 = 0
    /// Nothing is left that Redis has not confirmed, or may have lost since.
    var isFlushed: Bool {
        aggregator.isEmpty && isFrozenConfirmed && (outbox.isEmpty || isVerified && gate == .open)
    }
    /// Nothing that was frozen waits for Redis.
    var isFrozenConfirmed: Bool { pendingCount == 0 && inFlightCount == 0 }
    /// Whether batches lie in Redis that no shard has confirmed.
    var hasResolved: Bool { outbox.count > pendingCount + inFlightCount }

    /// Whether Redis is to be asked what it has of the stream: batches may leave the outbox, and what it has confirmed,
    /// or a shard, may be gone.
    ///
    /// - Parameters:
    ///   - isAwaited: whether somebody waits for `stored`.
    ///   - isLeaving: whether the floor has to be told before the process ends.
    func isHeartbeatDue(_ now: UInt64, isAwaited: Bool, isLeaving: Bool) -> Bool {
        guard hasResolved || floor > 0, inFlightCount == 0, !isHeartbeatInFlight, now >= retryAt else { return false }
        if !hasResolved { return now >= idleHeartbeatAt || isLeaving && !isFloorTold }
        if !isVerified { return true }
        return now >= heardAt + (isAwaited ? Limits.storedHeartbeatMilliseconds : Limits.heartbeatMilliseconds)
    }

    /// Refers to none of the tickets any more that nobody waits for.
    mutating func forgetAbandoned(_ tickets: borrowing Tickets) {
        func kept(_ wait: Wait) -> Wait? {
            let awaited = wait.tickets.filter { tickets.isAwaited($0) }
            return awaited.isEmpty ? nil : Wait(sequence: wait.sequence, tickets: awaited)
        }
        openTickets = openTickets.filter { tickets.isAwaited($0) }
        queueWaits.replaceAll(kept)
        storeWaits.replaceAll(kept)
    }

    /// Redis may have lost what it confirmed: it is asked next.
    mutating func doubt() {
        isVerified = outbox.isEmpty
    }

    /// Takes over what a writer made, to be pushed next.
    mutating func enqueue(_ writer: inout BatchWriter) {
        for batch in writer.finish() {
            precondition(batch.id.sequence == nextSequence, "a hole in an outbox")
            outbox.append(Outgoing(batch: batch, state: .pending))
            outboxBytes += batch.bytes.count
            pendingCount += 1
            nextSequence += 1
        }
        cumulative = writer.cumulative
        chain = writer.chain
    }

    func writer(frozenAt: UInt64, origin: BatchID?, limitBytes: Int, sizeHint: Int) -> BatchWriter {
        BatchWriter(
            stream: stream, nextSequence: nextSequence, cumulative: cumulative, chain: chain, frozenAt: frozenAt,
            origin: origin, limitBytes: limitBytes, sizeHint: sizeHint)
    }

    /// Freezes the aggregator.
    mutating func freeze(at frozenAt: UInt64, limitBytes: Int) {
        guard !aggregator.isEmpty else { return }
        var writer = writer(
            frozenAt: frozenAt, origin: nil, limitBytes: limitBytes, sizeHint: aggregator.encodedBytes)
        aggregator.write(to: &writer)
        enqueue(&writer)
    }

    /// The oldest pending batch, if `fits` accepts it: it is in flight from now on. `fits` gets its size and whether
    /// it was sent before.
    mutating func takePending(_ fits: (_ bytes: Int, _ isReplay: Bool) -> Bool) -> Batch? {
        guard pendingCount > 0 else { return nil }
        var index = self.index(of: max(pendingFrom, floor + 1))
        while outbox[index].state != .pending { index += 1 }
        let outgoing = outbox[index]
        pendingFrom = outgoing.batch.id.sequence
        guard fits(outgoing.batch.bytes.count, outgoing.wasSent) else { return nil }
        outbox[index].wasSent = true
        sentThrough = max(sentThrough, outgoing.batch.id.sequence)
        set(.inFlight, at: index)
        pendingFrom += 1
        return outgoing.batch
    }

    /// The batch is in the list.
    mutating func resolve(_ sequence: UInt64) {
        guard contains(sequence) else { return }
        let index = index(of: sequence)
        set(.resolved, at: index)
        outbox[index].wasResolved = true
        advanceResolved()
    }

    private mutating func advanceResolved() {
        while resolvedThrough + 1 < nextSequence, outbox[index(of: resolvedThrough + 1)].wasResolved {
            resolvedThrough += 1
        }
    }

    /// The fate of an attempt is unknown, or Redis would not take it.
    mutating func retry(_ sequence: UInt64) {
        guard contains(sequence) else { return }
        let index = index(of: sequence)
        if outbox[index].state == .inFlight { set(.pending, at: index) }
    }

    /// Whether Redis can know of `last`, and of `chain` through it, from this producer alone.
    func isOwn(last: UInt64, chain: UInt64? = nil) -> Bool {
        if last > sentThrough { return false }
        guard let chain, contains(last) else { return true }
        return outbox[index(of: last)].batch.chain.through == chain
    }

    /// Redis knows nothing above `last`: what it had confirmed is gone.
    mutating func replay(above last: UInt64) {
        for index in 0..<outbox.count where outbox[index].state == .resolved {
            if outbox[index].batch.id.sequence > last { set(.pending, at: index) }
        }
    }

    /// The shard holds everything up to `applied`: it may leave the outbox.
    mutating func release(through applied: UInt64) {
        guard applied > floor else { return }
        precondition(applied < nextSequence, "\(stream.partition) has applied a batch that was never frozen")
        floor = applied
        resolvedThrough = max(resolvedThrough, applied)
        while let first = outbox.first, first.batch.id.sequence <= applied {
            note(first, count: -1)
            outboxBytes -= first.batch.bytes.count
            outbox.removeFirst()
        }
        // The floor may have jumped over a batch that others were waiting for.
        advanceResolved()
    }

    private func contains(_ sequence: UInt64) -> Bool {
        sequence > floor && sequence < nextSequence
    }

    private func index(of sequence: UInt64) -> Int {
        Int(sequence - floor) - 1
    }

    private mutating func set(_ state: State, at index: Int) {
        note(outbox[index], count: -1)
        outbox[index].state = state
        note(outbox[index], count: 1)
        if state == .pending { pendingFrom = min(pendingFrom, outbox[index].batch.id.sequence) }
    }

    private mutating func note(_ outgoing: Outgoing, count: Int) {
        switch outgoing.state {
        case .pending: pendingCount += count
        case .inFlight:
            inFlightCount += count
            inFlightBytes += count * outgoing.batch.bytes.count
        case .resolved: break
        }
    }
}

extension Channel {
    var isBehind: Bool { if case .behind = gate { true } else { false } }

    /// Why requests that touch the partition are turned away, nil if they are not.
    var refusal: Refusal? {
        let number = stream.partition.number
        return switch gate {
        case .open, .awaitingTopology: nil
        case .full: .queueFull(partition: number)
        case .behind(let applied):
            .shardBehind(partition: stream.partition, missing: applied + 1...max(applied + 1, floor))
        case .repairDue: .repairDue(partition: number)
        case .refusing(let text): .redisRefuses(text)
        }
    }
}
