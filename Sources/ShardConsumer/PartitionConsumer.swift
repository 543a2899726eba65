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
    private let file: ShardFile
    private let stopRequest: StopRequest
    private let progress: PartitionProgress
    private let logger: Logger
    private var machine: Consumer
    private var queue: PartitionQueue?
    /// What the log has been told last.
    private var reportedPause: Consumer.Pause?
    private var reportedUnfit: String?
    private var purgeAt: UInt64 = 0
    /// When Redis' clock was last seen, in monotonic milliseconds; 0 before the first time.
    private var clockSeenAt: UInt64 = 0
    /// Whether Redis may know less of the file than it did: it went back, if ever, while nobody was connected.
    private var mayHaveGoneBack = false
    /// Called with the length of the queue after each peek.
    var onPeek: (Int) -> Void = { _ in }
    /// How long it waits for something that time can mend before it fails.
    var patienceMilliseconds = UInt64.max
    private var patienceEnds = UInt64.max

    /// How often expired idempotency keys are removed, and how many rows at a time.
    private static let purgeMilliseconds: UInt64 = 1_000
    private static let purgeRows = 20_000

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
        while true {
            let action = machine.next(now: MonotonicClock.milliseconds())
            if stopRequest.isSet, isSafeToStop(before: action) {
                release()
                return
            }
            if case .stop(.drained) = action {
                release()
                return
            }
            if case .stop(let stop) = action {
                // Whoever has the right file need not wait for the lease to run out.
                release()
                throw failure(of: stop)
            }
            try watchPatience(action)
            let began = MonotonicClock.nanoseconds()
            let event = try perform(action)
            let ended = MonotonicClock.nanoseconds()
            report(event)
            machine.handle(event, now: ended / 1_000_000)
            progress.update { Self.count(event, nanoseconds: ended - began, in: &$0) }
            reportPause()
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
                try file.checkpoint()
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
            // The lease keeps away whom the lock on the shard file does not: other hosts, and other copies of the file.
            let reply = try queue.claim(
                host: "\(configuration.host) \(file.lockName)", owner: configuration.owner,
                milliseconds: Limits.leaseMilliseconds, topology: file.identity.topology)
            return .claimed(reply, isRetired: isRetired, newestEpoch: newest)
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
        guard now >= purgeAt, let retention = configuration.idempotencyRetention.milliseconds else { return }
        purgeAt = now + Self.purgeMilliseconds
        let oldest = peeked.batches.first.map { batch in
            batch.withUnsafeBytes { (try? BatchHeader(reading: $0))?.frozenAt ?? 0 }  // shows when it is applied
        }
        _ = try onFile { file throws(StoreError) in
            let removed = try file.forgetClaims(
                retention: retention, oldestWaiting: oldest, limit: Self.purgeRows)
            if removed > 0 { logger.debug("expired idempotency keys removed", metadata: ["rows": "\(removed)"]) }
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

    private func release() {
        guard let queue, machine.leaseToken > 0 else { return }
        do throws(RedisError) {
            _ = try queue.release(token: machine.leaseToken)  // whoever has it now does not mind
        } catch {
            logger.debug("the lease was not given back, it expires", metadata: ["reason": "\(error)"])
        }
    }
}

// What an operator is told.
extension PartitionConsumer {
    private func report(_ event: Consumer.Event) {
        switch event {
        case .applied(.commit(let applied)):
            if applied.dead != .zero {
                logger.error(
                    "increments went to the dead letters",
                    metadata: ["increments": "\(applied.dead.increments)", "file": "\(file.path)"])
            }
            logger.debug(
                "committed",
                metadata: [
                    "batches": "\(applied.committed.count)", "increments": "\(applied.applied.increments)",
                    "keys": "\(applied.keys)", "repeated": "\(applied.repeated.increments)",
                    "skipped": "\(applied.skippedBatches)", "backlog": "\(machine.backlog)",
                ])
        case .claimed(.granted(let claim), _, _):
            logger.info("consuming", metadata: ["token": "\(claim.token)", "file": "\(file.path)"])
        default: break
        }
    }

    /// What an event adds to the figures. Whether the consumer waits shows in the machine's next action.
    private static func count(_ event: Consumer.Event, nanoseconds: UInt64, in report: inout PartitionReport) {
        report.steps += 1
        switch event {
        case .applied(.commit(let applied)): report.add(applied, nanoseconds: nanoseconds)
        case .redisFailed: report.redisFailures += 1
        default: break
        }
        switch event {
        case .checkpointed, .applied(.commit), .waited: report.state = .consuming
        default: break
        }
    }

    /// A tool does not wait for ever.
    private func watchPatience(_ action: Consumer.Action) throws(Failure) {
        guard patienceMilliseconds != .max else { return }
        let now = MonotonicClock.milliseconds()
        switch action {
        case .pause(_, let reason) where now >= patienceEnds:
            var code = ServiceKit.ExitCode.unavailable
            if case .held = reason { code = .locked }
            throw Failure(code, "partition \(machine.partition.number) cannot be drained: \(reason.sentence)")
        case .pause, .claim: patienceEnds = min(patienceEnds, now + patienceMilliseconds)
        default: patienceEnds = .max
        }
    }

    /// One line when the consumer begins to wait for something, one when it goes on.
    private func reportPause() {
        if case .pause(_, let reason) = machine.next(now: 0) {
            if reason != reportedPause { logger.warning("waiting", metadata: ["reason": "\(reason.sentence)"]) }
            reportedPause = reason
            progress.update { $0.state = .waiting(reason: reason.sentence) }
        } else if case .waitForBatch = machine.next(now: 0), reportedPause != nil {
            logger.info("going on")
            reportedPause = nil
        }
    }

    private func failure(of stop: Consumer.Stop) -> Failure {
        switch stop {
        case .retired:
            Failure(
                .configuration, "a rebalance has closed this shard", at: file.path,
                advice: "Start consumers for the partitions of the newest epoch: `tallymill status` shows it.")
        case .superseded(let epoch):
            Failure(
                .configuration,
                "Redis publishes epoch \(epoch), this shard belongs to epoch \(machine.partition.epoch)",
                at: file.path, advice: "Finish the rebalance, or copy the newest topology.json and shards to this host."
            )
        case .fileTooOld(let ranges): Failure(.tooOld(file.path, missing: ranges, in: machine.partition))
        case .otherShard(let uuid):
            Failure(
                .configuration, "the partition's keys in Redis belong to another shard file, \(uuid)", at: file.path,
                advice: "Put that file back, or see what `tallymill verify` finds.")
        case .drained: preconditionFailure("a queue that is drained is no failure")
        case .alarm(.hole(let id, let watermark)):
            Failure(
                .corrupt, ApplyAlarm.hole(id, watermark: watermark).description, at: file.path,
                advice: "Nothing was changed. `tallymill verify` shows what is missing. Put back the newest copy of the"
                    + " file; if there is none any more, "
                    + StoreError.acceptLoss(
                        of: [.init(producer: id.stream.producer, sequences: watermark + 1...id.sequence - 1)],
                        in: machine.partition) + ".")
        case .alarm(let alarm):
            Failure(
                .corrupt, alarm.description, at: file.path,
                advice: "Nothing was changed. Keep the list in Redis as it is and look at the newest release notes.")
        }
    }
}

extension Consumer.Pause {
    var sentence: String {
        switch self {
        case .noTopology: "the partition has no keys in Redis: `tallymill repair` creates them"
        case .held(let holder):
            "the lease is held by \(holder), a consumer on another host or of another copy of this shard file:"
                + " only one of the files can be the shard"
        case .otherShard(let uuid): "the partition's keys in Redis belong to another shard file, \(uuid)"
        case .storage(let reason): reason
        case .redis(let reason): reason
        }
    }
}
