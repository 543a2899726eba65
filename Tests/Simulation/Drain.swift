// Drain, a step of a rebalance: a real `Consumer` empties the list of an epoch that ends, until one peek shows it
// sealed and empty, or it is gone.

import TallyCore

struct Drain {
    enum Outcome {
        case goOn
        case send(ConsumerCommand)
        /// Nothing is left: the file may be retired.
        case drained
        /// Another file took the place of this one, or nothing can be done with it.
        case startAgain
    }

    let file: ModelShard
    private var machine: Consumer
    private var resumeAt: UInt64?
    private var peekedThrough = 0
    /// When its file was compared with Redis last.
    private var grantedAt: UInt64 = 0

    init(_ file: ModelShard) {
        self.file = file
        machine = Consumer(
            partition: file.partition, shard: file.uuid, purpose: .drain, bounds: SimulatedConsumer.bounds)
    }

    /// What a kill interrupts.
    var point: String {
        switch machine.next(now: 0) {
        case .claim, .inspect, .lookUp, .checkpoint: "drain: claim"
        case .apply: "drain: apply"
        case .trim: "drain: trim"
        case .seal: "drain: seal"
        case .stop(.drained): "drain: retire"
        case .peek, .renew, .pause, .stop, .waitForBatch: "drain: peek"
        }
    }

    mutating func act(in world: World) -> Outcome {
        let action = machine.next(now: world.now)
        switch action {
        case .claim: return .send(.claim)
        case .peek(let skip, let bytes, let batches):
            return .send(.peek(skip: skip, bytesMax: bytes, batchesMax: 1 + world.random.below(batches)))
        case .renew(let token): return .send(.renew(token: token))
        case .trim(let request): return .send(.trim(request, upTo: peekedThrough))
        case .inspect(let claim):
            machine.handle(world.inspect(file, claim), now: world.now)
        case .lookUp(let streams):
            machine.handle(.lookedUp(file.watermarks(of: streams)), now: world.now)
        case .checkpoint: machine.handle(.checkpointed, now: world.now)
        case .apply(let batches):
            world.log("drain \(file.partition) applies \(batches.count)")
            world.logBatches(batches)
            let letters = file.tables.deadLetters.count
            let outcome = file.apply(batches, time: world.consumerTime)
            world.examineLetters(of: file, from: letters)
            machine.handle(.applied(outcome), now: world.now)
        case .waitForBatch: preconditionFailure("a drain waits for no batch")
        case .seal: return .send(.seal)
        case .stop(.drained): return .drained
        case .pause(let milliseconds, _): pause(milliseconds, now: world.now)
        case .stop(let reason): return stopped(reason, in: world)
        }
        return .goOn
    }

    private mutating func pause(_ milliseconds: UInt64, now: UInt64) {
        let end = resumeAt ?? now + milliseconds
        resumeAt = now < end ? end : nil
        if resumeAt == nil { machine.handle(.paused, now: now) }
    }

    private func stopped(_ reason: Consumer.Stop, in world: World) -> Outcome {
        switch reason {
        case .retired, .otherShard: break
        case .superseded, .drained: world.bad("a drain of \(file.partition) stopped as \(reason)")
        case .alarm(.hole) where world.isUnchecked(since: grantedAt): break
        case .alarm(let alarm): world.bad("alarm in the drain of \(file.partition): \(alarm)")
        case .fileTooOld(let missing) where world.remembersBatches:
            // The rebalance ends with that, and goes on when the operator has accepted the loss.
            world.accept(missing, in: file)
        case .fileTooOld(let missing): world.putBack(file, missing, host: "a")
        }
        return .startAgain
    }

    mutating func received(_ reply: ConsumerReply, in world: World) {
        let now = world.now
        switch reply {
        case .claim(let reply, _):
            grantedAt = now
            // The newest epoch is the tool's own doing.
            machine.handle(.claimed(reply, isRetired: false, newestEpoch: 0), now: now)
        case .peek(let reply, let position):
            if case .batches(let peeked) = reply {
                peekedThrough = position + peeked.batches.count
                // It forgets nothing, but what it applies has to be dated.
                if world.hasClocks, peeked.shard == file.uuid { file.keepTime(peeked, elapsed: 0) }
            }
            machine.handle(.peeked(Self.shown(reply, world.mutation)), now: now)
        case .trim(let reply): machine.handle(.trimmed(reply), now: now)
        case .renew(let isFenced): machine.handle(.renewed(isFenced: isFenced), now: now)
        case .seal(let reply): machine.handle(.sealed(reply), now: now)
        }
    }

    /// Without seals, or without a look at them, every list is a sealed one.
    private static func shown(_ reply: PeekReply, _ mutation: Mutation?) -> PeekReply {
        guard mutation == .drainNoSealCheck || mutation == .noSeal, case .batches(let peeked) = reply else {
            return reply
        }
        return .batches(
            Peeked(
                shard: peeked.shard, sealed: true, batches: peeked.batches, length: peeked.length,
                behind: peeked.behind, time: peeked.time))
    }

    mutating func commandFailed(now: UInt64) {
        machine.handle(.redisFailed("no answer"), now: now)
    }
}
