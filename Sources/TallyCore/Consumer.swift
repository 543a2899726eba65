// The consumer: brings one partition's queue into its shard file, and is stopped by nothing that time can mend.
//
// A state machine without I/O. Its shell runs one straight loop: `next` says what to do, the shell does it and tells
// the outcome to `handle`. Killed between any two steps, it starts again from the lease; exactness rests on the apply
// transaction, the lease's token only keeps a file from trimming what another file holds.
//
//                                                           ┌─more─┐
//   claim ──granted──> inspect ──sound──> checkpoint ──> peek <────┘ ──batches──> apply ──committed──> trim ──┐
//     ^  no group, held: pause                            ^ │ empty                                  ^─more─┘ │
//     └───────────── fenced, another shard ───────────────┤ └──> wait ──────────────────────────────────────> │
//                                                         └───────────────────────────────────────────────────┘
//
// A short queue is applied as it is found. A long one is gathered, peek by peek, because a commit costs the pages that
// it touches: the more increments are folded into one transaction, the more of them share a page. How much is gathered
// (`reach`) grows fourfold with every transaction that went through whole and in time, and halves otherwise. Between
// two peeks a Redis may go back in time, so that batches are met twice or missed: the first are skipped by the rules,
// and the second make a hole, which ends a transaction before it, as a hole behind the first batch always does.
//
// A consumer that follows one that was killed begins far below a peek: what lies at the head of the list may be what
// kept its predecessor so long that a watchdog ended it. That it was killed shows in its lease: whoever ends in order
// gives it back, and one that was not given back is still there, run out or not.
//
// A rebalance drains an old partition with the same machine: it minds no newer epoch, and where a consumer would wait
// for a batch it seals the list, unless it is sealed, and then is done.

/// One partition's consumer.
public struct Consumer {
    /// What the shell has to do now.
    public enum Action: Hashable, Sendable {
        case claim
        /// Compare the file with the claim.
        case inspect(Claim)
        /// Look up the watermarks of these streams in the file.
        case lookUp([StreamID])
        /// Make what the file holds safe from a power failure, by a checkpoint or, where a reader does not allow that,
        /// by an fsync of its write-ahead log.
        case checkpoint
        /// Read on behind the oldest `skip` batches.
        case peek(skip: Int, bytes: Int, batches: Int)
        case apply([[UInt8]])
        case trim(TrimRequest)
        case renew(token: UInt64)
        /// Block until a batch comes, at most `Limits.waitForBatchMilliseconds`.
        case waitForBatch
        /// Let nothing new enter the partition.
        case seal
        case pause(milliseconds: UInt64, Pause)
        case stop(Stop)
    }

    /// What came of an action.
    public enum Event: Hashable, Sendable {
        /// - isRetired: whether the file was closed for ever.
        /// - newestEpoch: the epoch that Redis publishes, 0 if none.
        /// - isLeaseLeft: whether the last holder of the lease has not given it back, looked at before the claim.
        case claimed(ClaimReply, isRetired: Bool, newestEpoch: UInt32, isLeaseLeft: Bool = false)
        /// What the queue has seen committed and the file does not hold, and the watermarks of the file that the queue
        /// does not know: Redis has gone back.
        case inspected(missing: [MissingRange], unknown: [ProducerID: UInt64])
        /// The file's watermarks, of those that have one.
        case lookedUp([StreamID: UInt64])
        case checkpointed
        case peeked(PeekReply)
        case applied(ApplyOutcome)
        /// Disk full or busy: nothing was written, it may work later.
        case applyDeferred(String)
        case trimmed(TrimReply)
        case renewed(isFenced: Bool)
        case waited
        case sealed(SealReply)
        case paused
        /// The action's fate is unknown, or Redis refused it: the text is for the log.
        case redisFailed(String)
    }

    /// Why nothing can be done for the moment.
    public enum Pause: Hashable, Sendable {
        /// The partition has no key group: `repair` is due.
        case noTopology
        case held(by: String)
        /// The key group belongs to another file.
        case otherShard(ShardUUID)
        case storage(String)
        case redis(String)
    }

    /// Why the consumer cannot go on with this file.
    public enum Stop: Hashable, Sendable {
        /// A rebalance has closed the file: everything in it lives on in a newer epoch.
        case retired
        case superseded(byEpoch: UInt32)
        /// The file is older than its queue: a backup was put in its place.
        case fileTooOld([MissingRange])
        case alarm(ApplyAlarm)
        /// Nothing is left in the queue, and nothing can enter it: the list is sealed and empty, or gone.
        case drained
        /// The queue that was to be drained belongs to another file.
        case otherShard(ShardUUID)
    }

    /// What the machine is for.
    public enum Purpose: Hashable, Sendable {
        /// Goes on for as long as its epoch is the newest.
        case consume
        /// Ends with an empty, sealed queue, for a rebalance.
        case drain
    }

    /// Batches of a producer that were committed once and are not in the file.
    public struct MissingRange: Hashable, Sendable {
        public let producer: ProducerID
        public let sequences: ClosedRange<UInt64>

        public init(producer: ProducerID, sequences: ClosedRange<UInt64>) {
            self.producer = producer
            self.sequences = sequences
        }
    }

    private enum State {
        /// -> inspecting; pausing (claiming) while there is no group, another holder or another file
        case claiming
        /// -> checkpointing, stopped
        case inspecting(Claim)
        /// -> trimming (raises what Redis does not know), peeking
        case checkpointing(unknown: [ProducerID: UInt64])
        /// -> trimming (raises what was found)
        case lookingUp([StreamID])
        /// With what was gathered before -> peeking, applying, waiting; pausing (claiming)
        case peeking([[UInt8]])
        /// -> trimming, stopped; claiming if fenced; pausing (peeking)
        case applying([[UInt8]], since: UInt64)
        /// -> trimming the rest, peeking; claiming if fenced
        case trimming(TrimRequest, rest: ArraySlice<TrimRequest>)
        /// -> peeking
        case waiting
        /// -> peeking, stopped
        case sealing
        /// -> the state that the enum carries
        case pausing(UInt64, Pause, then: AfterPause)
        /// final
        case stopped(Stop)
    }

    private enum AfterPause {
        case claiming
        case peeking
    }

    public let partition: PartitionID
    private let shard: ShardUUID
    private let purpose: Purpose
    private var state = State.claiming
    private var token: UInt64 = 0
    /// Failures since a batch was last trimmed or waited for. A step that works on the way to one that does not must
    /// not end the back-off: a full disk would have the whole head of the queue read again every 20 ms, and a Redis
    /// that refuses the wait would have an empty queue looked at as often.
    private var failures = 0
    private var renewAt: UInt64 = 0
    /// When producers that Redis refuses are looked up next.
    private var lookUpAt: UInt64 = 0
    /// Whether the last peek led to a look-up: the next one leads on, however long it took.
    private var hasLookedUp = false
    private let bounds: Bounds
    /// Payload bytes that the next transaction may take.
    private var reach: Int
    /// Batches behind those of the last peek.
    public private(set) var backlog = 0

    public init(
        partition: PartitionID, shard: ShardUUID, purpose: Purpose = .consume, bounds: Bounds = Bounds()
    ) {
        self.partition = partition
        self.shard = shard
        self.purpose = purpose
        self.bounds = bounds
        reach = bounds.peekBytes
    }

    /// The token of the lease that was granted last, 0 before the first.
    public var leaseToken: UInt64 { token }

    /// The next action. `now` is in monotonic milliseconds.
    public func next(now: UInt64) -> Action {
        switch state {
        case .claiming: .claim
        case .inspecting(let claim): .inspect(claim)
        case .lookingUp(let streams): .lookUp(streams)
        case .checkpointing: .checkpoint
        case .peeking(let batches): now >= renewAt ? .renew(token: token) : peek(behind: batches)
        case .applying(let batches, _): now >= renewAt ? .renew(token: token) : .apply(batches)
        case .trimming(let request, _): .trim(request)
        case .waiting: .waitForBatch
        case .sealing: .seal
        case .pausing(let milliseconds, let reason, _): .pause(milliseconds: milliseconds, reason)
        case .stopped(let stop): .stop(stop)
        }
    }

    /// The outcome of the action that `next` returned. `now` is in monotonic milliseconds.
    public mutating func handle(_ event: Event, now: UInt64) {
        switch (event, state) {
        case (.claimed(let reply, let isRetired, let newestEpoch, let isLeaseLeft), .claiming):
            // One that this process held before says nothing of another.
            if isLeaseLeft, token == 0 { reach = smallestReach }
            claimed(reply, isRetired: isRetired, newestEpoch: newestEpoch, now)
        case (.inspected(let missing, let unknown), .inspecting):
            state = missing.isEmpty ? .checkpointing(unknown: unknown) : .stopped(.fileTooOld(missing))
        case (.checkpointed, .checkpointing(let watermarks)): raise(watermarks)
        case (.lookedUp(let watermarks), .lookingUp): raise(found: watermarks)
        case (.peeked(let reply), .peeking(let batches)): peeked(reply, behind: batches, now)
        case (.applied(let outcome), .applying(let batches, let since)): applied(outcome, batches, since, now)
        case (.applyDeferred(let reason), .applying), (.applyDeferred(let reason), .checkpointing),
            (.applyDeferred(let reason), .inspecting), (.applyDeferred(let reason), .lookingUp):
            // A full disk may have room for a smaller transaction.
            reach = min(reach, bounds.peekBytes)
            pause(.storage(reason), then: isClaimed ? .peeking : .claiming)
        case (.trimmed(let reply), .trimming(let request, let rest)):
            // What is raised after each reconnect is no work.
            if !request.committed.isEmpty { failures = 0 }
            switch reply {
            case .fenced: state = .claiming
            case .trimmed: trim(rest)
            case .noTopology: state = .peeking([])
            }
        case (.renewed(let isFenced), .peeking), (.renewed(let isFenced), .applying):
            renewAt = now + Limits.leaseMilliseconds / 3
            if isFenced { state = .claiming }
        case (.waited, .waiting), (.sealed(.sealed), .sealing):
            failures = 0
            state = .peeking([])
        case (.sealed(.noTopology), .sealing): state = .stopped(.drained)
        case (.paused, .pausing(_, _, let then)):
            switch then {
            case .claiming: state = .claiming
            case .peeking: state = .peeking([])
            }
        case (.redisFailed(let reason), .claiming): pause(.redis(reason), then: .claiming)
        case (.redisFailed(let reason), .peeking), (.redisFailed(let reason), .applying),
            (.redisFailed(let reason), .trimming), (.redisFailed(let reason), .waiting),
            (.redisFailed(let reason), .sealing):
            // What was committed stays committed: the next peek meets it again and skips it.
            pause(.redis(reason), then: .peeking)
        default: preconditionFailure("\(event) is no outcome of \(next(now: now))")
        }
    }

    private var isClaimed: Bool {
        switch state {
        case .applying, .lookingUp: true
        default: false
        }
    }

    private mutating func claimed(
        _ reply: ClaimReply, isRetired: Bool, newestEpoch: UInt32, _ now: UInt64
    ) {
        if isRetired {
            state = .stopped(.retired)
            return
        }
        if newestEpoch > partition.epoch, purpose == .consume {
            state = .stopped(.superseded(byEpoch: newestEpoch))
            return
        }
        switch reply {
        case .noTopology: missGroup()
        case .held(let holder, _): pause(.held(by: holder), then: .claiming)
        case .otherShard(let other): meetOther(other)
        case .granted(let claim) where claim.shard != shard: meetOther(claim.shard)
        case .granted(let claim):
            token = claim.token
            renewAt = now + Limits.leaseMilliseconds / 3
            state = .inspecting(claim)
        }
    }

    private mutating func peeked(_ reply: PeekReply, behind gathered: [[UInt8]], _ now: UInt64) {
        switch reply {
        case .noTopology: missGroup()
        case .batches(let peeked) where peeked.shard != shard: state = .claiming
        case .batches(let peeked) where isLookUpDue(peeked, now) && gathered.isEmpty:
            hasLookedUp = true
            lookUpAt = now + Limits.behindMilliseconds
            state = .lookingUp(peeked.behind)
        case .batches(let peeked):
            hasLookedUp = false
            let batches = gathered + peeked.batches
            backlog = max(0, peeked.length - batches.count)
            if batches.isEmpty {
                reach = bounds.peekBytes
                state = purpose == .consume ? .waiting : peeked.sealed ? .stopped(.drained) : .sealing
            } else if backlog == 0 || peeked.batches.isEmpty || isFull(batches) {
                state = .applying(batches, since: now)
            } else {
                state = .peeking(batches)
            }
        }
    }

    private func isLookUpDue(_ peeked: Peeked, _ now: UInt64) -> Bool {
        !peeked.behind.isEmpty && now >= lookUpAt && !hasLookedUp
    }

    /// A backup may be put back under a consumer; a drain is preceded by the check that it was not.
    private mutating func meetOther(_ other: ShardUUID) {
        if purpose == .drain {
            state = .stopped(.otherShard(other))
        } else {
            pause(.otherShard(other), then: .claiming)
        }
    }

    /// A consumer waits for `repair`; for a drain there is nothing left: what it misses comes again with its origin.
    private mutating func missGroup() {
        if purpose == .drain { state = .stopped(.drained) } else { pause(.noTopology, then: .claiming) }
    }

    private func isFull(_ batches: [[UInt8]]) -> Bool {
        batches.count >= bounds.transactionBatches || Self.bytes(of: batches) >= reach
    }

    private func peek(behind batches: [[UInt8]]) -> Action {
        .peek(
            skip: batches.count, bytes: min(bounds.peekBytes, reach - Self.bytes(of: batches)),
            batches: min(bounds.peekBatches, bounds.transactionBatches - batches.count))
    }

    private static func bytes(of batches: [[UInt8]]) -> Int { batches.reduce(0) { $0 + $1.count } }

    private mutating func applied(_ outcome: ApplyOutcome, _ batches: [[UInt8]], _ since: UInt64, _ now: UInt64) {
        switch outcome {
        case .commit(let applied):
            adjustReach(wasWhole: applied.committed.count == batches.count, milliseconds: now - since)
            trim(requests(applied, batches)[...])
        case .retired: state = .stopped(.retired)
        case .stop(let alarm): state = .stopped(.alarm(alarm))
        case .tooManyMisfits: preconditionFailure("the store repeats such a transaction itself")
        }
    }

    private var smallestReach: Int { min(bounds.cautiousBytes, bounds.peekBytes) }

    private mutating func adjustReach(wasWhole: Bool, milliseconds: UInt64) {
        if !wasWhole || milliseconds > 2 * Limits.transactionMilliseconds {
            reach = max(reach / 2, smallestReach)
        } else if milliseconds <= Limits.transactionMilliseconds {
            reach = min(reach * 4, bounds.transactionBytes)
        }
    }

    /// What was committed, the first of `batches`, in pieces of a peek: Redis looks at every entry that it pops, and
    /// does nothing else meanwhile.
    private func requests(_ applied: Applied, _ batches: [[UInt8]]) -> [TrimRequest] {
        var requests: [TrimRequest] = []
        var piece: [BatchID] = []
        var bytes = 0
        for (id, batch) in zip(applied.committed, batches) {
            piece.append(id)
            bytes += batch.count
            if bytes >= bounds.peekBytes || piece.count >= bounds.peekBatches || id == applied.committed.last {
                requests.append(TrimRequest(token: token, committed: piece, applied: applied.watermarks))
                piece = []
                bytes = 0
            }
        }
        return requests
    }

    private mutating func raise(found watermarks: [StreamID: UInt64]) {
        var own: [ProducerID: UInt64] = [:]
        var earlier: [StreamID: UInt64] = [:]
        for (stream, watermark) in watermarks {
            if stream.partition == partition {
                own[stream.producer] = watermark
            } else {
                earlier[stream] = watermark
            }
        }
        raise(own, earlier: earlier)
    }

    /// Lets Redis know what the file holds.
    private mutating func raise(_ watermarks: [ProducerID: UInt64], earlier: [StreamID: UInt64] = [:]) {
        let request = TrimRequest(token: token, committed: [], applied: watermarks, earlier: earlier)
        trim(watermarks.isEmpty && earlier.isEmpty ? [] : [request])
    }

    private mutating func trim(_ requests: ArraySlice<TrimRequest>) {
        state = requests.first.map { .trimming($0, rest: requests.dropFirst()) } ?? .peeking([])
    }

    private mutating func pause(_ reason: Pause, then: AfterPause) {
        failures += 1
        state = .pausing(Backoff.milliseconds(failures: failures), reason, then: then)
    }
}
