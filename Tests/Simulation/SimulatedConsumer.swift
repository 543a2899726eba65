// The shell of one real `Consumer`: performs its actions one at a time, each of them a point at which it may be killed,
// or stopped to go on later as a zombie with what it knew.

import TallyCore

final class SimulatedConsumer {
    let number: Int
    /// Where it runs: a lease belongs to a host, on which the file's lock keeps others out.
    let host: String
    /// Kept open although another file may have taken its place.
    let file: ModelShard
    private var machine: Consumer
    /// Counts commands: an answer to an earlier one comes from a connection that is no more.
    private var tag = 0
    private var isAwaiting = false
    /// When a wait or pause ends; nil if there is none.
    private var resumeAt: UInt64?
    private var peekedThrough = 0
    /// Whether the last peek began at the head of the list.
    private var isAtHead = false
    /// When its file was compared with Redis last.
    private(set) var grantedAt: UInt64 = 0
    /// When it asked for the lease last.
    private var claimedAt: UInt64 = 0
    /// When it last looked at Redis' clock.
    private var lookedAt: UInt64?
    /// What it left of the clock of the claims then.
    private var leftClock = ClaimClock()
    /// Steps for which it does not move.
    var frozenSteps = 0
    var isDone = false
    /// Another file was put in its file's place, and its process is about to end: it only finishes what is under way.
    var isOrphan = false

    init(number: Int, host: String, file: ModelShard) {
        self.number = number
        self.host = host
        self.file = file
        machine = Consumer(partition: file.partition, shard: file.uuid, bounds: Self.bounds)
    }

    /// So small that transactions of one batch, of one peek and of several come about all the time.
    static var bounds: Consumer.Bounds {
        var bounds = Consumer.Bounds()
        bounds.peekBytes = 2_000
        bounds.peekBatches = 4
        bounds.transactionBytes = 8_000
        bounds.transactionBatches = 12
        return bounds
    }

    func act(in world: World) {
        if isDone { return }
        if frozenSteps > 0 {
            frozenSteps -= 1
            return
        }
        if isAwaiting {
            if world.random.chance(0.12) {
                isAwaiting = false
                machine.handle(.redisFailed("no answer"), now: world.now)
            }
            return
        }
        let action = machine.next(now: world.now)
        if isOrphan {
            switch action {
            case .apply, .trim: break
            default:
                isDone = true
                world.log("c\(number) \(file.partition) ends")
                world.consumers.removeAll { $0.isDone }
                return
            }
        }
        perform(action, in: world)
    }

    func receive(_ reply: ConsumerReply, tag: Int, in world: World) {
        // A zombie reads its socket when it wakes up; by then its shell has given the answer up.
        guard !isDone, frozenSteps == 0, isAwaiting, tag == self.tag else { return }
        isAwaiting = false
        switch reply {
        case .claim(let reply, let newestEpoch):
            if case .granted = reply { grantedAt = claimedAt }
            let isRetired = file.tables.isRetired()
            machine.handle(
                .claimed(reply, isRetired: isRetired, newestEpoch: newestEpoch), now: world.now)
        case .peek(let reply, let position):
            if case .batches(let peeked) = reply {
                peekedThrough = position + peeked.batches.count
                if world.hasClocks, peeked.shard == file.uuid { keepTime(peeked, in: world) }
            }
            machine.handle(.peeked(reply), now: world.now)
        case .trim(let reply): machine.handle(.trimmed(reply), now: world.now)
        case .renew(let isFenced): machine.handle(.renewed(isFenced: isFenced), now: world.now)
        case .seal: preconditionFailure("a consumer seals nothing")
        }
    }

    /// Its connection has timed out.
    func loseAnswer(in world: World) {
        guard !isDone, isAwaiting else { return }
        isAwaiting = false
        tag += 1
        machine.handle(.redisFailed("no answer"), now: world.now)
    }

    private func perform(_ action: Consumer.Action, in world: World) {
        switch action {
        case .claim:
            claimedAt = world.now
            send(.claim, in: world)
        case .peek(let skip, let bytes, let batches):
            let batchesMax = 1 + world.random.below(batches)
            isAtHead = skip == 0
            send(.peek(skip: skip, bytesMax: bytes, batchesMax: batchesMax), in: world)
        case .renew(let token): send(.renew(token: token), in: world)
        case .trim(let request): send(.trim(request, upTo: peekedThrough), in: world)
        case .inspect(let claim):
            machine.handle(world.inspect(file, claim), now: world.now)
        case .lookUp(let streams):
            machine.handle(.lookedUp(file.watermarks(of: streams)), now: world.now)
        case .checkpoint: machine.handle(.checkpointed, now: world.now)
        case .apply(let batches): apply(batches, in: world)
        case .seal: preconditionFailure("a consumer seals nothing")
        case .waitForBatch:
            let hasBatch = world.redis.groups[file.partition]?.queue.isEmpty == false
            wait(hasBatch ? 0 : Limits.waitForBatchMilliseconds, .waited, in: world)
        case .pause(let milliseconds, _): wait(milliseconds, .paused, in: world)
        case .stop(let reason):
            isDone = true
            world.log("c\(number) \(file.partition) stops: \(reason)")
            world.consumerStopped(self, reason)
        }
    }

    private func apply(_ batches: [[UInt8]], in world: World) {
        if world.isLive, world.mix.faults.contains(.consumers), world.random.chance(0.02) {
            file.applyAndFail(batches, time: world.consumerTime)
            machine.handle(.applyDeferred("disk full"), now: world.now)
            return
        }
        let letters = file.tables.deadLetters.count
        world.logBatches(batches)
        if world.hasClocks {
            file.tables.claimClock.pass(elapsed(in: world))
            lookedAt = world.now
            leftClock = file.tables.claimClock
        }
        let outcome = file.apply(batches, time: world.consumerTime)
        world.examineLetters(of: file, from: letters)
        world.log("c\(number) \(file.partition) applies \(batches.count)")
        machine.handle(.applied(outcome), now: world.now)
    }

    /// Since it looked last; nothing if somebody else has used the file meanwhile.
    private func elapsed(in world: World) -> UInt64 {
        guard let lookedAt, leftClock == file.tables.claimClock else { return 0 }
        return world.now - lookedAt
    }

    private func keepTime(_ peeked: Peeked, in world: World) {
        file.keepTime(peeked, elapsed: elapsed(in: world))
        lookedAt = world.now
        world.log("c\(number) \(file.partition) clock \(file.tables.claimClock) Redis \(peeked.time)")
        if isAtHead {
            world.counts.forgottenClaims += file.forgetClaims(
                peeked, retention: Clocks.retention, consumerTime: world.consumerTime)
        }
        leftClock = file.tables.claimClock
    }

    private func wait(_ milliseconds: UInt64, _ event: Consumer.Event, in world: World) {
        let end = resumeAt ?? world.now + milliseconds
        if world.now < end, !(event == .waited && milliseconds == 0) {
            resumeAt = end
            return
        }
        resumeAt = nil
        machine.handle(event, now: world.now)
    }

    private func send(_ command: ConsumerCommand, in world: World) {
        tag += 1
        isAwaiting = true
        world.send(.consumer(self, tag: tag, command))
    }
}

extension World {
    /// The start check of a consumer or a drain.
    func inspect(_ file: ModelShard, _ claim: Claim) -> Consumer.Event {
        let missing = mutation == .noBackupCheck ? [] : file.missing(from: claim.applied)
        if missing.isEmpty { checkIsWhole(file) }
        if missing.isEmpty { accept(file) }
        return .inspected(missing: missing, unknown: Consumer.unknown(to: claim.applied, of: file.watermarks))
    }

    /// Whether a file may have become older than its queue since it was compared: another copy has consumed, or Redis
    /// was put forward beneath a file that a backup replaced.
    func isUnchecked(since time: UInt64) -> Bool {
        mix.faults.contains(.copies) || mix.faults.contains(.loss) && wentBackAt >= time
    }

    /// A consumer that cannot go on: right, if there is a reason.
    func consumerStopped(_ consumer: SimulatedConsumer, _ reason: Consumer.Stop) {
        let partition = consumer.file.partition
        switch reason {
        case .retired: break
        case .drained, .otherShard: bad("\(partition): a consumer stopped as a drain does")
        case .superseded(let epoch):
            // A canary: what comes of it is to be found, not this.
            if epoch > self.epoch, mutation != .noPlanFile {
                bad("\(partition) superseded by an epoch that is not there")
            }
        case .alarm(.hole) where isUnchecked(since: consumer.grantedAt):
            // Started again, it says what is missing.
            if let next = newConsumer(partition, host: consumer.host) { consumers.append(next) }
        case .alarm(.unreadable) where mix.faults.contains(.garbage): break  // started again behind a bury
        case .alarm(let alarm): bad("alarm: \(alarm)")
        case .fileTooOld(let missing) where remembersBatches: refused(consumer.file, missing)
        case .fileTooOld(let missing):
            putBack(consumer.file, missing, host: consumer.host)
        }
        consumers.removeAll { $0.isDone }
    }

    /// The operator does what the message says and puts the right file back.
    func putBack(_ refused: ModelShard, _ missing: [Consumer.MissingRange], host: String) {
        let partition = refused.partition
        counts.refusedFiles += 1
        guard files[partition] === refused, let newest = replaced[partition] else {
            bad("file refused without a reason: \(partition)")
            return
        }
        for range in missing where newest.watermark(of: range.producer) < range.sequences.upperBound {
            bad("missing range \(range) was never in the file")
        }
        replaced[partition] = nil
        files[partition] = newest
        for other in consumers where other.file === refused { other.isDone = true }
        if let next = newConsumer(partition, host: host) { consumers.append(next) }
    }

    /// A file has passed the check: nothing that it lacks was ever trimmed, nor will be while nobody has the other.
    func accept(_ file: ModelShard) {
        guard files[file.partition] === file else { return }
        let isAlone = !consumers.contains { $0.file.partition == file.partition && $0.file !== file }
        if isAlone { replaced[file.partition] = nil }
    }
}

extension ModelShard {
    /// Of the file's own streams.
    var watermarks: [ProducerID: UInt64] {
        var watermarks: [ProducerID: UInt64] = [:]
        for (stream, record) in tables.records where stream.partition == partition {
            watermarks[stream.producer] = record.watermark
        }
        return watermarks
    }

    /// Of an epoch that was purged nobody knows more than that all was well then.
    func watermarks(of streams: [StreamID]) -> [StreamID: UInt64] {
        let known = streams.compactMap { stream -> (StreamID, UInt64)? in
            if stream.partition.epoch <= tables.forgotten { return (stream, Limits.sequenceMax) }
            return tables.records[stream].map { (stream, $0.watermark) }
        }
        return Dictionary(uniqueKeysWithValues: known)
    }

    func watermark(of producer: ProducerID) -> UInt64 {
        tables.records[StreamID(partition: partition, producer: producer)]?.watermark ?? 0
    }
}
