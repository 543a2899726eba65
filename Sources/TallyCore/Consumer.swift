// The consumer: brings one partition's queue into its shard file, and is stopped by nothing that time can mend.
//
// A state machine without I/O. Its shell runs one straight loop: `next` says what to do, the shell does it and tells
// the outcome to `handle`. Killed between any two steps, it starts again from the lease; exactness rests on the apply
// transaction, the lease's token only keeps a file from trimming what another file holds.
//
//   claim ──granted──> inspect ──sound──> checkpoint ──> peek ──batches──> apply ──committed──> trim ──┐
//     ^  no group, held: pause                            ^ │ empty                                    │
//     └───────────── fenced, another shard ───────────────┤ └──> wait ───────────────────────────────> │
//                                                         └────────────────────────────────────────────┘

/// One partition's consumer.
public struct Consumer {
    /// What the shell has to do now.
    public enum Action: Hashable, Sendable {
        case claim
        /// Compare the file with the claim.
        case inspect(Claim)
        /// Make the file independent of its write-ahead log.
        case checkpoint
        case peek
        case apply([[UInt8]])
        case trim(TrimRequest)
        case renew(token: UInt64)
        /// Block until a batch comes, at most `Limits.waitForBatchMilliseconds`.
        case waitForBatch
        case pause(milliseconds: UInt64, Pause)
        case stop(Stop)
    }

    /// What came of an action.
    public enum Event: Hashable, Sendable {
        /// - isRetired: whether the file was closed for ever.
        /// - newestEpoch: the epoch that Redis publishes, 0 if none.
        case claimed(ClaimReply, isRetired: Bool, newestEpoch: UInt32)
        /// What the queue has seen committed and the file does not hold.
        case inspected(missing: [MissingRange])
        case checkpointed
        case peeked(PeekReply)
        case applied(ApplyOutcome)
        /// Disk full or busy: nothing was written, it may work later.
        case applyDeferred(String)
        case trimmed(TrimReply)
        case renewed(isFenced: Bool)
        case waited
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
        /// -> peeking
        case checkpointing
        /// -> applying, waiting; pausing (claiming)
        case peeking
        /// -> trimming, stopped; pausing (peeking)
        case applying([[UInt8]])
        /// -> peeking; claiming if fenced
        case trimming(TrimRequest)
        /// -> peeking
        case waiting
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
    private var state = State.claiming
    private var token: UInt64 = 0
    /// Failures since the queue was last found empty or trimmed. A step that works on the way to one that does not
    /// must not end the back-off: a full disk would have the whole head of the queue read again every 20 ms.
    private var failures = 0
    private var renewAt: UInt64 = 0
    /// Batches behind those of the last peek.
    public private(set) var backlog = 0

    public init(partition: PartitionID, shard: ShardUUID) {
        self.partition = partition
        self.shard = shard
    }

    /// The token of the lease that was granted last, 0 before the first.
    public var leaseToken: UInt64 { token }

    /// The next action. `now` is in monotonic milliseconds.
    public func next(now: UInt64) -> Action {
        switch state {
        case .claiming: .claim
        case .inspecting(let claim): .inspect(claim)
        case .checkpointing: .checkpoint
        case .peeking: now >= renewAt ? .renew(token: token) : .peek
        case .applying(let batches): .apply(batches)
        case .trimming(let request): .trim(request)
        case .waiting: .waitForBatch
        case .pausing(let milliseconds, let reason, _): .pause(milliseconds: milliseconds, reason)
        case .stopped(let stop): .stop(stop)
        }
    }

    /// The outcome of the action that `next` returned. `now` is in monotonic milliseconds.
    public mutating func handle(_ event: Event, now: UInt64) {
        switch (event, state) {
        case (.claimed(let reply, let isRetired, let newestEpoch), .claiming):
            claimed(reply, isRetired: isRetired, newestEpoch: newestEpoch, now)
        case (.inspected(let missing), .inspecting):
            state = missing.isEmpty ? .checkpointing : .stopped(.fileTooOld(missing))
        case (.checkpointed, .checkpointing): state = .peeking
        case (.peeked(let reply), .peeking): peeked(reply)
        case (.applied(let outcome), .applying): applied(outcome)
        case (.applyDeferred(let reason), .applying), (.applyDeferred(let reason), .checkpointing),
            (.applyDeferred(let reason), .inspecting):
            pause(.storage(reason), then: isClaimed ? .peeking : .claiming)
        case (.trimmed(let reply), .trimming):
            failures = 0
            state = reply == .fenced ? .claiming : .peeking
        case (.renewed(let isFenced), .peeking):
            renewAt = now + Limits.leaseMilliseconds / 3
            if isFenced { state = .claiming }
        case (.waited, .waiting): state = .peeking
        case (.paused, .pausing(_, _, let then)):
            switch then {
            case .claiming: state = .claiming
            case .peeking: state = .peeking
            }
        case (.redisFailed(let reason), .claiming): pause(.redis(reason), then: .claiming)
        case (.redisFailed(let reason), .peeking), (.redisFailed(let reason), .trimming),
            (.redisFailed(let reason), .waiting):
            // What was committed stays committed: the next peek meets it again and skips it.
            pause(.redis(reason), then: .peeking)
        default: preconditionFailure("\(event) is no outcome of \(next(now: now))")
        }
    }

    private var isClaimed: Bool {
        if case .applying = state { true } else { false }
    }

    private mutating func claimed(
        _ reply: ClaimReply, isRetired: Bool, newestEpoch: UInt32, _ now: UInt64
    ) {
        if isRetired {
            state = .stopped(.retired)
            return
        }
        if newestEpoch > partition.epoch {
            state = .stopped(.superseded(byEpoch: newestEpoch))
            return
        }
        switch reply {
        case .noTopology: pause(.noTopology, then: .claiming)
        case .held(let holder, _): pause(.held(by: holder), then: .claiming)
        case .granted(let claim) where claim.shard != shard: pause(.otherShard(claim.shard), then: .claiming)
        case .granted(let claim):
            token = claim.token
            renewAt = now + Limits.leaseMilliseconds / 3
            state = .inspecting(claim)
        }
    }

    private mutating func peeked(_ reply: PeekReply) {
        switch reply {
        case .noTopology: pause(.noTopology, then: .claiming)
        case .batches(let peeked) where peeked.shard != shard: state = .claiming
        case .batches(let peeked):
            backlog = peeked.length - peeked.batches.count
            if peeked.batches.isEmpty { failures = 0 }
            state = peeked.batches.isEmpty ? .waiting : .applying(peeked.batches)
        }
    }

    private mutating func applied(_ outcome: ApplyOutcome) {
        switch outcome {
        case .commit(let applied):
            state = .trimming(
                TrimRequest(token: token, committed: applied.committed, applied: applied.watermarks))
        case .retired: state = .stopped(.retired)
        case .stop(let alarm): state = .stopped(.alarm(alarm))
        case .foldingOverflows: preconditionFailure("the store repeats a folding transaction itself")
        }
    }

    private mutating func pause(_ reason: Pause, then: AfterPause) {
        failures += 1
        state = .pausing(Backoff.milliseconds(failures: failures), reason, then: then)
    }
}
