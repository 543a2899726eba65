// What the commands share that change a cluster's epoch: they stop the consumers of a running `up`, take the cluster's
// lock, end between two steps on Ctrl-C, show their progress, and have the consumers started again.

import Glibc
import Operations
import ServiceKit
import ShardConsumer
import Supervision
import Synchronization
import TallyCore

/// A tool that needs the shards for itself.
struct ChangeTool {
    let session: Session
    let access: RedisAccess
    let progress = ChangeProgress()
    private let pauseBefore: Int?
    private let signals: SignalWaiter

    /// How long the consumers of `up` are waited for: a transaction may take 25 s.
    static let holdMilliseconds: UInt64 = 60_000

    /// - Parameter name: of the command.
    init(_ session: Session, _ name: String, pauseBefore: Int? = nil) throws(Failure) {
        signals = try SignalWaiter()
        self.session = session
        self.pauseBefore = pauseBefore
        access = try session.redis(clientName: "tallymill-\(name)")
    }

    /// Runs `body` while nobody consumes, under the cluster's lock. The first signal ends it between two steps, a
    /// second one at once; either way it can be resumed.
    ///
    /// - Parameter isLocked: the caller has the lock.
    func withConsumersStopped(
        _ reason: String, isLocked: Bool = false, _ body: @escaping @Sendable (Rebalance) throws(Failure) -> Void
    ) throws(Failure) {
        try access.requireReachable()
        let lock = isLocked ? nil : try session.folder.lockForChange()
        let hold = try ConsumerHold.take(
            dataFolder: session.folder.path, reason: reason, waitingMilliseconds: Self.holdMilliseconds)
        if hold != nil { progress.tell(.done("the consumers of `up` have stopped")) }
        let stopRequest = StopRequest()
        let rebalance = Rebalance(
            session.folder, access, logger: session.log.logger("rebalance"), stopRequest: stopRequest,
            pauseBefore: pauseBefore, tell: { [progress] in progress.tell($0) })
        let work = BackgroundWork { () throws(Failure) in try body(rebalance) }
        while !work.isDone {
            guard let event = try signals.wait(timeoutMilliseconds: 20), event.kind != .hangup else { continue }
            stopRequest.set()
            if event.stopRequests > 1 { exit(ServiceKit.ExitCode.failure.rawValue) }
        }
        progress.clear()
        try withExtendedLifetime(lock) { () throws(Failure) in try work.end() }
        if let hold {
            let answer = try hold.release(waitingMilliseconds: Self.holdMilliseconds)
            Output.remark("`up`: \(answer)")
        }
    }
}

/// Work on a thread of its own, while the main thread looks at signals.
final class BackgroundWork: Sendable {
    private final class State: Sendable {
        let isDone = Atomic<Bool>(false)
        let failure = Mutex<Failure?>(nil)
    }

    private let state = State()
    private let thread: ServiceThread

    init(_ body: @escaping @Sendable () throws(Failure) -> Void) {
        let state = state
        thread = ServiceThread(name: "work") {
            do throws(Failure) {
                try body()
            } catch {
                state.failure.withLock { $0 = error }
            }
            state.isDone.store(true, ordering: .releasing)
        }
    }

    var isDone: Bool { state.isDone.load(ordering: .acquiring) }

    /// Waits for the end; once.
    ///
    /// - Throws: what the work threw.
    func end() throws(Failure) {
        thread.join()
        if let failure = state.failure.withLock({ $0 }) { throw failure }
    }
}

/// Shows what long work tells: what is done as lines on stdout, what is under way as a progress line. From any thread.
final class ChangeProgress: Sendable {
    private struct Line {
        var line: ProgressLine?
        var label = ""
        var total: Int?
    }

    // @unchecked below: a progress line belongs to one thread at a time, which the lock makes sure of.
    private struct Shown: @unchecked Sendable {
        var line = Line()
    }

    private let shown = Mutex(Shown())

    func tell(_ note: ChangeNote) {
        shown.withLock { shown in
            switch note {
            case .phase(let label, let total):
                if shown.line.label == label, shown.line.total == total { return }
                shown.line.line?.clear()
                shown.line = Line(line: ProgressLine(label, total: total), label: label, total: total)
            case .progress(let done): shown.line.line?.update(done: done)
            case .done(let text):
                shown.line.line?.clear()
                Output.remark(text)
            }
        }
    }

    func clear() {
        shown.withLock { $0.line.line?.clear() }
    }
}
