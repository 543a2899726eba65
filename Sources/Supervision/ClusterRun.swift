// A cluster from its start to its end: Redis, then the cluster in it, then consumers and web node; and back, in an
// order in which nobody loses what the next one needs: the web node pushes what it has admitted, the consumers count
// what waits, then they end, then Redis.
//
// The code is one straight line; every wait in it keeps all processes alive meanwhile. What cuts a wait short:
//
//   first signal, or a role that cannot be kept alive    the orderly end begins (a consumer that is refused its shard
//                                                        is tried again instead: RestartRules.swift)
//   second signal                                        no wait for empty queues: all are asked to end at once
//   third signal                                         all are killed
//
// While the consumers are held, or the epoch is being built (ControlDesk.swift), nobody empties the queues: then the
// end does not wait for it, and says what waits.
//
// Nothing is lost by any of them: what was acknowledged is on disk, and the next `up` goes on with it.

public import Logging
public import ServiceKit

/// One run of `up`. Owned by the main thread.
public final class ClusterRun {
    /// After this time, a start that goes on says what it waits for.
    static let startNoticeMilliseconds: UInt64 = 5_000
    /// How often the queues are asked whether they are empty.
    static let drainIntervalMilliseconds: UInt64 = 50

    private let redis: Role?
    private let hooks: ClusterHooks
    private let supervisor: Supervisor
    private let desk: ControlDesk
    private let logger: Logger
    private var isReady = false
    private var isHurried = false
    /// What went wrong; the first one gives the exit code, and a lost role comes first: it is the cause.
    private var problems: [Failure] = []
    private let complain: (Failure) -> Void

    /// - Parameters:
    ///   - redis: the private Redis; nil if another one is used.
    ///   - control: where other commands ask for a hold on the consumers.
    ///   - complain: tells at the end what went wrong.
    public init(
        redis: Role?, control: ControlSocket, hooks: ClusterHooks, signals: SignalWaiter, logger: Logger,
        complain: @escaping (Failure) -> Void = { LineSink.standardError.write($0.report) }
    ) {
        self.complain = complain
        self.redis = redis
        self.hooks = hooks
        self.logger = logger
        supervisor = Supervisor(signals: signals, logger: logger, respectsHangup: !Supervisor.isHangupIgnored)
        desk = ControlDesk(control, supervisor: supervisor, hooks: hooks, logger: logger)
        supervisor.desk = desk
    }

    /// Starts everything, waits for a signal, and stops everything.
    ///
    /// - Returns: the exit code; what it is about is on stderr.
    public func run() -> ExitCode {
        do throws(Failure) {
            do throws(Failure) {
                try start()
                try supervisor.wait { isInterrupted }
                if let failure = desk.failure { throw failure }
            } catch {
                note(error)
            }
            try stop()
        } catch {
            // The system refuses to wait or to signal. What is left ends with this process.
            note(error)
        }
        problems.insert(contentsOf: supervisor.refusals.map(\.failure), at: 0)
        if let lost = supervisor.lost { problems.insert(lost.failure, at: 0) }
        for ending in supervisor.badEndings { problems.append(Failure(.failure, "\(ending) while it was stopped")) }
        for problem in problems { complain(problem) }
        return problems.first?.code ?? .ok
    }

    private var isInterrupted: Bool {
        supervisor.stopRequests > 0 || supervisor.lost != nil || desk.failure != nil
    }

    private func note(_ failure: Failure) {
        problems.append(failure)
    }
}

// Starting.
extension ClusterRun {
    private func start() throws(Failure) {
        if let redis {
            try supervisor.start(redis)
            guard try becomesReady() else { return }
        }
        try hooks.initialise()
        // The system calls that start a process are quick; whoever is interested in signals looks afterwards.
        let state = try desk.startConsumers()
        try supervisor.start(try hooks.web())
        guard try becomesReady() else { return }
        isReady = true
        supervisor.isEstablished = true
        LineSink.standardOutput.write(hooks.readyText(supervisor.readyText(of: .web) ?? "", state))
        for refusal in supervisor.refusals {
            LineSink.standardOutput.write("\(refusal.sentence): its partition is not counted until that is mended.")
        }
        if state.isBuilding { LineSink.standardOutput.write(hooks.unfinishedText(state)) }
        try desk.open()
    }

    /// Waits until all that was started is ready; false if something else came first.
    private func becomesReady() throws(Failure) -> Bool {
        let isDone = { self.isInterrupted || self.supervisor.unready.isEmpty }
        let noticeTime = MonotonicClock.milliseconds() + Self.startNoticeMilliseconds
        if try !supervisor.wait(until: noticeTime, for: isDone) {
            logger.notice("still waiting for \(supervisor.unready.joined(separator: ", "))")
            try supervisor.wait(for: isDone)
        }
        return !isInterrupted
    }
}

// Stopping.
extension ClusterRun {
    private func stop() throws(Failure) {
        let drains = isReady && supervisor.lost == nil && problems.isEmpty
        logger.info(drains ? "draining" : "stopping")
        let undrained = try desk.close()
        try end([.web], noticing: undrained)
        let isEmpty = drains && undrained == nil ? try drain() : false
        if drains, let undrained { tellWaiting(undrained) }
        try end([.consumer])
        if isEmpty && !isHurried {
            do throws(Failure) {
                LineSink.standardOutput.write(try hooks.total())
            } catch {
                note(error)
            }
        }
        try end([.redis])
    }

    /// Asks for an end and waits for it.
    ///
    /// - Parameter undrained: why nobody makes room in the queues; then the web node may wait for that room.
    private func end(_ kinds: Set<Role.Kind>, noticing undrained: String? = nil) throws(Failure) {
        guard !isHurried else { return }
        try supervisor.stop(kinds)
        let isDone = { self.supervisor.hasEnded(kinds) || self.supervisor.stopRequests > 1 }
        let noticeTime = MonotonicClock.milliseconds() + Self.startNoticeMilliseconds
        if let undrained, try !supervisor.wait(until: noticeTime, for: isDone) {
            logger.notice("the web node still pushes, and \(undrained); another signal ends it at once")
        }
        try supervisor.wait(for: isDone)
        if supervisor.stopRequests > 1 { try hurry() }
    }

    /// Without consumers nothing is waited for: says what the next run has to do.
    private func tellWaiting(_ why: String) {
        guard !isHurried else { return }
        let waiting = waitingBatches()
        if waiting == 0 { logger.notice("\(why); no batch waits") } else { note(.incomplete(why, waiting: waiting)) }
    }

    /// Waits for empty queues; false if something else came first.
    private func drain() throws(Failure) -> Bool {
        var progress: (line: ProgressLine, total: Int)?
        defer { progress?.line.clear() }
        var patience = DrainPatience(now: MonotonicClock.milliseconds())
        while !isHurried && supervisor.lost == nil {
            let waiting = waitingBatches()
            if let waiting {
                let shown = progress ?? (ProgressLine("counting the last batches", total: waiting), waiting)
                progress = shown
                supervisor.beforeOutput = { shown.line.clear() }
                shown.line.update(done: max(0, shown.total - waiting))
            }
            switch patience.saw(waiting, now: MonotonicClock.milliseconds()) {
            case .empty: return true
            case .giveUp:
                note(.incomplete("no batch was counted for 60 s", waiting: patience.lowest))
                return false
            case .wait: break
            }
            let next = MonotonicClock.milliseconds() + Self.drainIntervalMilliseconds
            try supervisor.wait(until: next) { supervisor.stopRequests > 1 || supervisor.lost != nil }
            if supervisor.stopRequests > 1 { try hurry() }
        }
        return false
    }

    /// nil if Redis does not say; it may be starting again.
    private func waitingBatches() -> Int? {
        do throws(Failure) {
            return try hooks.waitingBatches()
        } catch {
            logger.debug("cannot ask for the length of the queues", metadata: error.metadata)
            return nil
        }
    }

    /// All are asked to end at once, and with the next signal all are killed.
    private func hurry() throws(Failure) {
        guard !isHurried else { return }
        isHurried = true
        logger.notice("stopping at once; another signal kills")
        // Before Redis goes. It may be gone already; then nobody knows.
        if isReady { note(.incomplete("stopped at once", waiting: waitingBatches())) }
        let all: Set<Role.Kind> = [.web, .consumer, .redis]
        try supervisor.stop(all)
        try supervisor.wait { supervisor.hasEnded(all) || supervisor.stopRequests > 2 }
        guard !supervisor.hasEnded(all) else { return }
        try supervisor.stop(all, with: 9)
        try supervisor.wait { supervisor.hasEnded(all) }
    }
}

extension Failure {
    fileprivate static func incomplete(_ why: String, waiting: Int?) -> Failure {
        let rest =
            switch waiting {
            case .some(1): "1 batch waits in Redis"
            case .some(let count): "\(count) batches wait in Redis"
            case .none: "how many batches wait in Redis is not known"
            }
        return Failure(.failure, "\(why): \(rest)", advice: "Nothing is lost: the next `tallymill up` goes on with it.")
    }
}
