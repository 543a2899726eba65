// One role while it is kept alive. Three states:
//
//   running(child)      until the child ends
//   waiting(until)      until the time has come to start it again
//   ended               never started, or stopped, or given up
//
// One that is refused what it needs is tried again and again, and says the same each time: that is shown once a minute,
// and when it ends with another code or works again.
//
// When a child ends, what it left behind in its process group is killed before its number is given back: a Redis that
// died may leave a process that rewrites its append-only file, and that one would hold the lock on the folder.

import Glibc
import Logging
import ServiceKit

final class RunningRole {
    private enum State {
        case running(ChildProcess, since: UInt64)
        case waiting(until: UInt64)
        case ended
    }

    /// So often it is said again why one does not work.
    static let refusalNoticeMilliseconds: UInt64 = 60_000

    let role: Role
    /// What this run is ready for; nil while it is not.
    private(set) var readyText: String?
    /// Whether it was asked to end and did so in another way than with code 0 or by that signal.
    private(set) var badEnding: ChildProcess.Ending?
    private var state = State.ended
    private var plan: ChildProcess.Plan
    private var rules: RestartRules
    private var lastWords = LastWords()
    private var wasEverReady = false
    private var isStopping = false
    private var isDismissed = false
    /// Why it does not work, and will not before somebody has mended something; nil if it does, or is being started.
    private(set) var refusal: LostRole?
    /// What it says while it is tried again: not shown yet.
    private var withheld = LastWords()
    private var refusalShownAt: UInt64 = 0
    /// How often it was started again.
    private(set) var restarts = 0
    private var lastProbe: UInt64 = 0
    private let logger: Logger
    private let beforeOutput: () -> Void

    /// - Parameter isLate: whether the cluster worked before.
    init(_ role: Role, isLate: Bool, logger: Logger, beforeOutput: @escaping () -> Void) {
        self.role = role
        self.plan = role.plan
        rules = RestartRules(canWait: role.kind == .consumer, isLate: isLate)
        self.logger = logger
        self.beforeOutput = beforeOutput
    }

    var hasEnded: Bool {
        if case .ended = state { true } else { false }
    }

    var isReady: Bool { readyText != nil }

    /// Whether nothing is gained by waiting for it.
    var isSettled: Bool { isReady || refusal != nil }

    /// What `poll` watches.
    var descriptors: [Int32] {
        guard case .running(let child, _) = state else { return [] }
        let readers = [child.output, child.errorOutput].compactMap { $0 }.filter { !$0.isAtEnd }
        return readers.map(\.descriptor) + (child.descriptor >= 0 ? [child.descriptor] : [])
    }

    /// When it wants to be looked at without an event.
    var nextLook: UInt64? {
        switch state {
        case .ended: return nil
        case .waiting(let until): return until
        case .running(let child, _):
            if case .probe = role.readiness, readyText == nil { return lastProbe + Role.probeMilliseconds }
            // Before Linux 5.3 an end makes nothing readable.
            return child.descriptor >= 0 ? nil : MonotonicClock.milliseconds() + 50
        }
    }

    func start(now: UInt64) throws(Failure) {
        readyText = nil
        let child = try ChildProcess.spawn(plan)
        state = .running(child, since: now)
        logger.debug("started", metadata: ["role": "\(role.name)", "pid": "\(child.pid)"])
    }

    /// Does what is due.
    ///
    /// - Returns: why it cannot be kept alive, if so.
    func look(now: UInt64) throws(Failure) -> LostRole? {
        switch state {
        case .ended: return nil
        case .waiting(let until): return until <= now ? restart(now: now) : nil
        case .running(let child, let since):
            // A process that ends has written all it will: look for the end first, read afterwards.
            let hasEnded = try Self.hasEnded(child)
            try read(child, untilEmpty: hasEnded)
            if hasEnded { return try bury(child, since: since, now: now) }
            probe(now: now)
            return nil
        }
    }

    /// Asks it to end; does not wait. Asked twice, it is told twice.
    func stop(_ signal: Int32) throws(Failure) {
        isStopping = true
        switch state {
        case .ended: break
        case .waiting: state = .ended
        case .running(let child, _): try child.send(signal)
        }
    }

    /// Asks it to end, and minds no way in which it does.
    func dismiss() throws(Failure) {
        isDismissed = true
        try stop(SIGTERM)
    }

    private func restart(now: UInt64) -> LostRole? {
        restarts += 1
        do throws(Failure) {
            try start(now: now)
            return nil
        } catch {
            lastWords.append(error.sentence)
            return decide(code: nil, what: "cannot be started", since: now, now: now)
        }
    }

    private static func hasEnded(_ child: ChildProcess) throws(Failure) -> Bool {
        guard child.descriptor >= 0 else { return try child.poll() != nil }
        var entry = pollfd(fd: child.descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&entry, 1, 0) > 0
    }

    /// - Parameter untilEmpty: reads all that is in the pipes, which hold 64 KiB; a grandchild may keep them open.
    private func read(_ child: ChildProcess, untilEmpty: Bool) throws(Failure) {
        for _ in 0..<(untilEmpty ? 2 : 1) {
            for line in try child.output?.readAvailable() ?? [] {
                if case .line = role.readiness, readyText == nil, line.hasPrefix(Role.readyPrefix) {
                    becameReady(String(line.dropFirst(Role.readyPrefix.count)))
                } else {
                    forward(line)
                }
            }
            for line in try child.errorOutput?.readAvailable() ?? [] { forward(line) }
        }
    }

    private func forward(_ line: String) {
        lastWords.append(line)
        if refusal == nil { return show(line) }
        withheld.append(line)
    }

    private func show(_ line: String) {
        if role.log === LineSink.standardError { beforeOutput() }
        role.log.write(line)
    }

    private func showWithheld() {
        for line in withheld.lines { show(line) }
        withheld = LastWords()
    }

    private func probe(now: UInt64) {
        guard readyText == nil, case .probe(let isReady) = role.readiness else { return }
        guard now >= lastProbe + Role.probeMilliseconds else { return }
        lastProbe = now
        if isReady() { becameReady("") }
    }

    private func becameReady(_ text: String) {
        let isNews = wasEverReady || refusal != nil
        readyText = text
        refusal = nil
        showWithheld()
        plan = role.replan(plan, text)
        log(isNews ? .notice : .debug, isNews ? "works again" : "works")
        wasEverReady = true
    }

    private func bury(_ child: ChildProcess, since: UInt64, now: UInt64) throws(Failure) -> LostRole? {
        try child.send(SIGKILL)
        guard let ending = try child.wait() else { preconditionFailure("a wait without a limit returns an ending") }
        if isStopping, refusal == nil, ending != .code(0), ending != .signal(SIGTERM) {
            if isDismissed { log(.warning, "\(ending) while it was stopped") } else { badEnding = ending }
        }
        return decide(code: ending.exitCode, what: "\(ending)", since: since, now: now)
    }

    private func decide(code: ExitCode?, what: String, since: UInt64, now: UInt64) -> LostRole? {
        readyText = nil
        state = .ended
        if isDismissed { return nil }
        switch rules.ended(
            code: code, started: since, now: now, isStopping: isStopping, wasEverReady: wasEverReady)
        {
        case .stay:
            log(.debug, what)
            return nil
        case .restart(let delay):
            state = .waiting(until: now + delay)
            log(.warning, delay == 0 ? "\(what), is started again" : "\(what), is started again in \(delay) ms")
            return nil
        case .refused(let delay):
            state = .waiting(until: now + delay)
            refuse(lost(code, what), what, now: now)
            return nil
        case .giveUp: return lost(code, what)
        }
    }

    private func lost(_ code: ExitCode?, _ what: String) -> LostRole {
        LostRole(
            code: code == .ok ? .failure : code ?? .failure, sentence: "\(role.name) \(what)",
            lastWords: lastWords.lines, isTold: role.log === LineSink.standardError)
    }

    private func refuse(_ found: LostRole, _ what: String, now: UInt64) {
        let isKnown = refusal?.code == found.code && now < refusalShownAt + Self.refusalNoticeMilliseconds
        refusal = found
        if isKnown { return withheld = LastWords() }
        refusalShownAt = now
        showWithheld()
        let seconds = RestartRules.refusalMilliseconds / 1_000
        log(.error, "\(what), and is tried again every \(seconds) s; all others go on")
    }

    private func log(_ level: Logger.Level, _ what: String) {
        if !isStopping { beforeOutput() }
        logger.log(level: level, "\(role.name) \(what)")
    }
}
