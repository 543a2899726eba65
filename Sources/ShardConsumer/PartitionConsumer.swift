// One partition's consumer: a thread, a Redis connection, a shard file, and the straight loop that the machine drives.
//
// The loop holds no state of its own beside the two handles: killed anywhere, the next one starts from the lease. An
// I/O error of the file ends it, because SQLite's view of a file is not to be trusted after one; a Redis that fails is
// connected to anew and asked again.

import Logging
import RedisQueue
import ServiceKit
import ShardStore
import Synchronization
import TallyCore

/// Runs a `Consumer` against the real Redis and the real file. Owned by one thread.
final class PartitionConsumer {
    private let configuration: ShardConsumer.Configuration
    let file: ShardFile
    private let stopRequest: StopRequest
    let progress: PartitionProgress
    let logger: Logger
    var machine: Consumer
    private var queue: PartitionQueue?
    /// What the log has been told since it began to wait.
    var reportedPauses = OutageReasons<Consumer.Pause>()
    var isPauseReported = false
    /// Whether what was reported is that Redis refuses the wait for a batch: batches may come and go all the same.
    var isWaitRefused = false
    private var reportedUnfit: String?
    private var claimPurge = ClaimPurge()
    /// When Redis' clock was last seen, in monotonic milliseconds; 0 before the first time.
    private var clockSeenAt: UInt64 = 0
    /// Whether Redis may know less of the file than it did: it went back, if ever, while nobody was connected.
    private var mayHaveGoneBack = false
    private var checkpoints = CheckpointWatch()
    var deadLetters = DeadLetterNotice()
    /// Called with the length of the queue after each peek.
    var onPeek: (Int) -> Void = { _ in }
    /// How long it waits for something that time can mend before it fails.
    var patienceMilliseconds = UInt64.max
    var patienceEnds = UInt64.max

    /// How long a stop waits for a connection, and for an answer, to give the lease back.
    private static let releaseMilliseconds: UInt64 = 1_000

    init(
        configuration: ShardConsumer.Configuration, file: ShardFile, purpose: Consumer.Purpose = .consume,
        stopRequest: StopRequest, progress: PartitionProgress, logger: Logger
    ) {
        self.configuration = configuration
        self.file = file
        self.stopRequest = stopRequest
        self.progress = progress
        self.logger = logger
        machine = Consumer(partition: file.identity.partition, shard: file.identity.uuid, purpose: purpose)
    }

    /// Consumes until told to stop, or until drained; a transaction under way is finished and trimmed.
    ///
    /// - Throws: 69 or 75 when the patience has run out, 74 after an I/O error of the file, 65 if it is corrupt, 78 if
    ///   it is not the file that belongs here.
    func run() throws(Failure) {
        // However it ends: whoever comes next need not wait for the lease to run out.
        defer {
            tell(deadLetters.takeUntold())
            release()
        }
        while true {
            let action = machine.next(now: MonotonicClock.milliseconds())
            if stopRequest.isSet, isSafeToStop(before: action) { return }
            if case .stop(.drained) = action { return }
            if case .stop(let stop) = action { throw failure(of: stop) }
            try watchPatience(action)
            let began = MonotonicClock.nanoseconds()
            let event = try perform(action)
            let ended = MonotonicClock.nanoseconds()
            report(event)
            if hasProgressed(event) { patienceEnds = .max }
            machine.handle(event, now: ended / 1_000_000)
            progress.update { Self.count(event, nanoseconds: ended - began, in: &$0) }
            reportPause(after: action, event)
        }
    }

    /// What was committed is trimmed first: the next consumer would skip it, but need not.
    private func isSafeToStop(before action: Consumer.Action) -> Bool {
        if case .trim = action { queue == nil } else { true }
    }

    private func perform(_ action: Consumer.Action) throws(Failure) -> Consumer.Event {
        switch action {
        case .inspect(let claim):
            mayHaveGoneBack = false
            return try onFile { file throws(StoreError) in
                let watermarks = try file.watermarks(of: machine.partition)
                return .inspected(
                    missing: Consumer.MissingRange.between(claim.applied, and: watermarks),
                    unknown: Consumer.unknown(to: claim.applied, of: watermarks))
            }
        case .lookUp(let streams):
            return try onFile { file throws(StoreError) in .lookedUp(try file.watermarks(of: streams)) }
        case .checkpoint:
            return try onFile { file throws(StoreError) in
                noteCheckpoint(isComplete: try file.secure())
                return .checkpointed
            }
        case .apply(let batches):
            file.passClaimTime(sinceClockWasSeen())
            return try onFile { file throws(StoreError) in
                .applied(try file.apply(batches, timeMilliseconds: UInt64(WallClock.milliseconds())))
            }
        case .pause(let milliseconds, _):
            stopRequest.wait(milliseconds: milliseconds)
            return .paused
        case .claim, .peek, .waitForBatch, .trim, .renew, .seal: break
        case .stop: preconditionFailure("the loop ends before it performs a stop")
        }
        let isRetired = action == .claim ? try isFileRetired() : false
        let event = ask { queue throws(RedisError) in try onQueue(action, queue: queue, isRetired: isRetired) }
        guard case .peek(let skip, _, _) = action, case .peeked(.batches(let peeked)) = event else { return event }
        file.advanceClaimClock(to: peeked.time, elapsed: sinceClockWasSeen())
        if skip > 0 { return event }
        try forgetClaims(behind: peeked)
        try checkpointAgain()
        return mayHaveGoneBack ? try compare(peeked) : event
    }

    private func ask(_ question: (PartitionQueue) throws(RedisError) -> Consumer.Event) -> Consumer.Event {
        do throws(RedisError) {
            return try question(try connected())
        } catch {
            if queue?.isConnected == false { queue = nil }
            return .redisFailed(error.hint.map { "\(error): \($0)" } ?? error.description)
        }
    }

    private func onQueue(
        _ action: Consumer.Action, queue: PartitionQueue, isRetired: Bool
    ) throws(RedisError) -> Consumer.Event {
        switch action {
        case .claim:
            let newest = try queue.readTopology()?.epoch ?? 0
            let isLeaseLeft = try queue.isLeaseLeft()
            // The lease keeps away whom the lock on the shard file does not: other hosts, and other copies of the file.
            let reply = try queue.claim(
                host: "\(configuration.host) \(file.lockName)", owner: configuration.owner,
                milliseconds: Limits.leaseMilliseconds, topology: file.identity.topology,
                shard: file.identity.uuid)
            return .claimed(reply, isRetired: isRetired, newestEpoch: newest, isLeaseLeft: isLeaseLeft)
        case .peek(let skip, let bytes, let batches):
            let reply = try queue.peek(skip: skip, bytes: bytes, batches: batches)
            if case .batches(let peeked) = reply { onPeek(peeked.length) }
            return .peeked(reply)
        case .seal: return .sealed(try queue.seal())
        case .trim(let request): return .trimmed(try queue.trim(request))
        case .renew(let token):
            return .renewed(isFenced: try queue.renew(token: token, milliseconds: Limits.leaseMilliseconds) != .ok)
        case .waitForBatch:
            _ = try queue.waitForBatch(milliseconds: Limits.waitForBatchMilliseconds)  // the next peek will tell
            return .waited
        case .inspect, .lookUp, .checkpoint, .apply, .pause, .stop:
            preconditionFailure("\(action) is no action on the queue")
        }
    }
}

// The file.
extension PartitionConsumer {
    /// A full disk and a busy file are waited out; everything else ends the consumer.
    private func onFile(
        _ body: (ShardFile) throws(StoreError) -> Consumer.Event
    ) throws(Failure) -> Consumer.Event {
        var deferred: String?
        let event = try onStore { () throws(StoreError) -> Consumer.Event? in
            do throws(StoreError) {
                return try body(file)
            } catch  where error.isTemporary {
                deferred = error.description
                return nil
            }
        }
        return event ?? .applyDeferred(deferred ?? "")
    }

    /// Copies the log into the file where a reader has not allowed it before. Never waits for one.
    private func checkpointAgain() throws(Failure) {
        guard checkpoints.isDue(now: MonotonicClock.milliseconds(), logBytes: { file.logBytes }) else { return }
        _ = try onFile { file throws(StoreError) in
            noteCheckpoint(isComplete: try file.checkpointSome())
            if checkpoints.isToShrink, try file.emptyLog() { checkpoints.shrunk() }
            return .checkpointed
        }  // a full disk shows at the next apply, too
    }

    private func noteCheckpoint(isComplete: Bool) {
        let change = checkpoints.attempted(isComplete: isComplete, now: MonotonicClock.milliseconds())
        guard let change else { return }
        let heldSince = checkpoints.heldSince
        progress.update { $0.logHeldSince = heldSince }
        switch change {
        case .held:
            logger.warning(
                "somebody reads an old state of the shard: counting goes on, and its log grows until he ends",
                metadata: ["file": "\(file.path)", "who": "`fuser \(file.path)-shm` or `tallymill doctor` tells"])
        case .free: logger.info("the log of the shard is in its file again", metadata: ["file": "\(file.path)"])
        }
    }

    private func isFileRetired() throws(Failure) -> Bool {
        try onStore { () throws(StoreError) in try file.isRetired() }
    }

    /// Monotonic milliseconds since the last call; 0 for the first.
    private func sinceClockWasSeen() -> UInt64 {
        let now = MonotonicClock.milliseconds()
        defer { clockSeenAt = now }
        return clockSeenAt == 0 ? 0 : now - clockSeenAt
    }

    /// The head of the list tells what waits: claims that have expired are forgotten, a bounded number at a time.
    private func forgetClaims(behind peeked: Peeked) throws(Failure) {
        let now = MonotonicClock.milliseconds()
        guard let retention = configuration.idempotencyRetention.milliseconds,
            var left = claimPurge.due(now: now, made: file.claimsMade)
        else { return }
        let oldest = peeked.batches.first.map { batch in
            batch.withUnsafeBytes { (try? BatchHeader(reading: $0))?.frozenAt ?? 0 }  // shows when it is applied
        }
        _ = try onFile { file throws(StoreError) in
            while left > 0 {
                let limit = min(left, ClaimPurge.rows)
                let removed = try file.forgetClaims(retention: retention, oldestWaiting: oldest, limit: limit)
                if removed > 0 { logger.debug("expired idempotency keys removed", metadata: ["rows": "\(removed)"]) }
                if removed < limit { break }
                left -= removed
            }
            return .waited
        }  // a full disk shows at the next apply, too
    }

    /// After a reconnect: whom Redis would refuse because it knows less than the file is looked up like those whom it
    /// has refused. So a Redis that went back is healed before a node meets it, also while the list is empty and the
    /// consumer only waits.
    private func compare(_ peeked: Peeked) throws(Failure) -> Consumer.Event {
        let own = try onStore { () throws(StoreError) -> [ProducerID: UInt64]? in
            do throws(StoreError) {
                return try file.watermarks(of: machine.partition)
            } catch  where error.isTemporary {
                return nil
            }
        }
        guard let own else { return .peeked(.batches(peeked)) }  // the next peek comes here again
        return ask { queue throws(RedisError) in
            let unknown = Consumer.unknown(to: try queue.watermarks(), of: own)
            // Once the machine has raised them there are none.
            mayHaveGoneBack = !unknown.isEmpty
            let behind = Set(peeked.behind)
            let forgotten = unknown.keys.map { StreamID(partition: machine.partition, producer: $0) }
            return .peeked(
                .batches(
                    Peeked(
                        shard: peeked.shard, sealed: peeked.sealed, batches: peeked.batches, length: peeked.length,
                        behind: peeked.behind + forgotten.filter { !behind.contains($0) }, time: peeked.time)))
        }
    }
}

// The connection.
extension PartitionConsumer {
    private func connected() throws(RedisError) -> PartitionQueue {
        if let queue { return queue }
        let connection = try RedisConnection(configuration.link)
        try lookWhetherFit(connection)
        let made = PartitionQueue(
            connection: connection, names: configuration.names, partition: file.identity.partition)
        queue = made
        mayHaveGoneBack = true
        return made
    }

    /// A Redis that would not keep what it confirms is taken from all the same: what lies there is safer in the file,
    /// and a trim that is lost is done again. Only nodes must not promise anything over it.
    private func lookWhetherFit(_ connection: RedisConnection) throws(RedisError) {
        let problems = try ServerRequirements.problems(
            of: connection, allowVolatile: configuration.link.allowVolatile, needsLibrary: false)
        let unfit = problems.isEmpty ? nil : RedisError.unfit(problems).description
        guard unfit != reportedUnfit else { return }
        reportedUnfit = unfit
        progress.update { $0.redisUnfit = unfit }
        if let unfit {
            logger.warning("Redis is not fit, and consumed all the same", metadata: ["reason": "\(unfit)"])
        } else {
            logger.info("Redis is fit again")
        }
    }

    /// Gives the lease back, if need be over a new connection: the old one may have been cut while it waited, and a
    /// Redis that was away may be there again. Once, and not for long: a lease expires.
    private func release() {
        guard machine.leaseToken > 0 else { return }
        do throws(RedisError) {
            if let queue, queue.isConnected {
                do throws(RedisError) {
                    _ = try queue.release(token: machine.leaseToken)  // whoever has it now does not mind
                    return
                } catch {
                    if queue.isConnected { throw error }
                }
            }
            var link = configuration.link
            link.connectMilliseconds = min(link.connectMilliseconds, Self.releaseMilliseconds)
            link.commandMilliseconds = min(link.commandMilliseconds, Self.releaseMilliseconds)
            let queue = PartitionQueue(
                connection: try RedisConnection(link), names: configuration.names, partition: machine.partition)
            _ = try queue.release(token: machine.leaseToken)  // as above
        } catch {
            logger.info("the lease was not given back, it expires", metadata: ["reason": "\(error)"])
        }
    }
}
