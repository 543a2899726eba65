// What an operator is told of a partition's consumer: lines of the log, figures, and why it ends.

import Logging
import ServiceKit
import ShardStore
import TallyCore

extension PartitionConsumer {
    func report(_ event: Consumer.Event) {
        switch event {
        case .applied(.commit(let applied)):
            tell(deadLetters.note(applied.dead.increments, now: MonotonicClock.milliseconds()))
            logger.debug(
                "committed",
                metadata: [
                    "batches": "\(applied.committed.count)", "increments": "\(applied.applied.increments)",
                    "keys": "\(applied.keys)", "repeated": "\(applied.repeated.increments)",
                    "skipped": "\(applied.skippedBatches)", "backlog": "\(machine.backlog)",
                ])
        case .claimed(.granted(let claim), _, _, let isLeaseLeft):
            logger.info("consuming", metadata: ["token": "\(claim.token)", "file": "\(file.path)"])
            if isLeaseLeft, machine.leaseToken == 0 {
                logger.notice("the last consumer has not given its lease back: the first transactions are small")
            }
        default: tell(deadLetters.note(0, now: MonotonicClock.milliseconds()))
        }
    }

    /// - Parameter dead: increments, nil if the log has been told of all or is to be spared for a while.
    func tell(_ dead: UInt64?) {
        guard let dead else { return }
        logger.error(
            "increments went to the dead letters", metadata: ["increments": "\(dead)", "file": "\(file.path)"])
    }

    /// What an event adds to the figures. Whether the consumer waits shows in the machine's next action.
    static func count(_ event: Consumer.Event, nanoseconds: UInt64, in report: inout PartitionReport) {
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
    func watchPatience(_ action: Consumer.Action) throws(Failure) {
        guard patienceMilliseconds != .max else { return }
        let now = MonotonicClock.milliseconds()
        switch action {
        case .pause(_, let reason) where now >= patienceEnds:
            var code = ServiceKit.ExitCode.unavailable
            if case .held = reason { code = .locked }
            throw Failure(code, "partition \(machine.partition.number) cannot be drained: \(reason.sentence)")
        case .pause, .claim: patienceEnds = min(patienceEnds, now + patienceMilliseconds)
        default: break
        }
    }

    /// Whether a tool is further than before. A step that only leads to one that fails is no progress: what was
    /// committed, and could not be trimmed, is peeked at and skipped each time.
    func hasProgressed(_ event: Consumer.Event) -> Bool {
        switch event {
        case .applied(.commit(let applied)): applied.skippedBatches < applied.committed.count
        case .trimmed(.trimmed), .sealed, .waited, .checkpointed: true
        default: false
        }
    }

    /// One line when the consumer begins to wait for something, one when it goes on.
    func reportPause(after action: Consumer.Action, _ event: Consumer.Event) {
        if case .pause(_, let reason) = machine.next(now: 0) {
            if reportedPauses.isNews(reason) { logger.warning("waiting", metadata: ["reason": "\(reason.sentence)"]) }
            isPauseReported = true
            isWaitRefused = action == .waitForBatch
            progress.update { $0.state = .waiting(reason: reason.sentence) }
        } else if isPauseReported, hasEndedPause(event) {
            logger.info("going on")
            isPauseReported = false
            reportedPauses.end()
        }
    }

    /// Whether it goes on again: steps that work on the way to one that does not are no end.
    private func hasEndedPause(_ event: Consumer.Event) -> Bool {
        switch event {
        case .waited: true
        case .trimmed(.trimmed): !isWaitRefused
        default: false
        }
    }

    func failure(of stop: Consumer.Stop) -> Failure {
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
        case .alarm(let alarm) where alarm.canBeBuried:
            Failure(
                .corrupt, alarm.description, at: file.path,
                advice: "Nothing was changed. Put back the newest copy of Redis if that has it whole; else `tallymill"
                    + " repair` names it, and takes it away when it is told to.")
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
