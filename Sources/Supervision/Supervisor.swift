// Keeps processes alive, and does nothing else: one thread, one poll(2) over the signals, the ends of the children,
// what they print, and what other commands ask at the control socket. It never sleeps and never asks in a loop.
//
// The thread is the process's main thread, because the children ask the system to kill them when the thread that
// started them ends. That is also why nothing here is handed to another thread or task.

import Glibc
import Logging
import ServiceKit

/// The processes of one `up`. Owned by the main thread.
final class Supervisor {
    private let signals: SignalWaiter
    private let logger: Logger
    private let respectsHangup: Bool
    private var children: [RunningRole] = []
    /// How often somebody asked for the end.
    private(set) var stopRequests = 0
    /// The first role that could not be kept alive.
    private(set) var lost: LostRole?
    /// Whether everything has worked: what is started later ends nobody else.
    var isEstablished = false
    /// Looked at in every turn, beside the children.
    weak var desk: ControlDesk?
    /// Called before something is written to stderr, so that a progress line can be taken off the screen.
    var beforeOutput: () -> Void = {}

    /// - Parameters:
    ///   - signals: made before any other thread.
    ///   - logger: gets starts, ends and restarts.
    ///   - respectsHangup: false under nohup(1), see `isHangupIgnored`.
    init(signals: SignalWaiter, logger: Logger, respectsHangup: Bool = true) {
        self.signals = signals
        self.logger = logger
        self.respectsHangup = respectsHangup
    }

    /// Whether SIGHUP is ignored, as nohup(1) leaves it: a blocked signal arrives even so.
    static var isHangupIgnored: Bool {
        var action = sigaction()
        guard sigaction(SIGHUP, nil, &action) == 0 else { return false }
        // SIG_IGN is the address 1, which Swift imports as a function.
        return unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) == 1
    }

    /// Starts a role and keeps it alive from now on.
    ///
    /// - Throws: as `ChildProcess.spawn`.
    func start(_ role: Role) throws(Failure) {
        let child = RunningRole(
            role, isLate: isEstablished, logger: logger, beforeOutput: { [weak self] in self?.beforeOutput() })
        try child.start(now: MonotonicClock.milliseconds())
        children.append(child)
    }

    /// Keeps everything alive until a condition holds.
    ///
    /// - Parameters:
    ///   - deadline: milliseconds of the monotonic clock; nil for none.
    ///   - isDone: asked after everything that happens.
    /// - Returns: false if the deadline came first.
    /// - Throws: only if the system refuses to wait or to signal.
    @discardableResult
    func wait(until deadline: UInt64? = nil, for isDone: () -> Bool) throws(Failure) -> Bool {
        while !isDone() {
            if let deadline, MonotonicClock.milliseconds() >= deadline { return false }
            try step(until: deadline)
        }
        return true
    }

    /// The names of those that are not ready now, and may become it by themselves.
    var unready: [String] { children.filter { !$0.isSettled }.map(\.role.name) }

    /// Those that do not work before somebody has mended something.
    var refusals: [LostRole] { children.compactMap(\.refusal) }

    /// What the first role of that kind says it is ready for.
    func readyText(of kind: Role.Kind) -> String? {
        children.first { $0.role.kind == kind }?.readyText
    }

    /// Whether all of those kinds have ended for good.
    func hasEnded(_ kinds: Set<Role.Kind>) -> Bool {
        children.allSatisfy { !kinds.contains($0.role.kind) || $0.hasEnded }
    }

    /// Asks all of those kinds to end, and restarts them no more.
    func stop(_ kinds: Set<Role.Kind>, with signal: Int32 = SIGTERM) throws(Failure) {
        for child in children where kinds.contains(child.role.kind) { try child.stop(signal) }
    }

    /// Asks all of those kinds to end, restarts them no more, and minds no way in which they do: whoever wants them
    /// gone has them gone.
    func dismiss(_ kinds: Set<Role.Kind>) throws(Failure) {
        for child in children where kinds.contains(child.role.kind) { try child.dismiss() }
    }

    /// Knows nothing any more of those of these kinds that have ended for good.
    func forget(_ kinds: Set<Role.Kind>) {
        children.removeAll { kinds.contains($0.role.kind) && $0.hasEnded }
    }

    /// Whether all of those kinds are ready, or wait for somebody to mend something.
    func areSettled(_ kinds: Set<Role.Kind>) -> Bool {
        children.allSatisfy { !kinds.contains($0.role.kind) || $0.isSettled }
    }

    /// How often each was started again.
    var restarts: [UpState.Restarts] {
        children.map { UpState.Restarts(role: $0.role.name, count: $0.restarts) }
    }

    /// Those that were asked to end and did it badly, as "web was killed by signal 9".
    var badEndings: [String] {
        children.compactMap { child in child.badEnding.map { "\(child.role.name) \($0)" } }
    }

    private func step(until deadline: UInt64?) throws(Failure) {
        var entries = [pollfd(fd: signals.descriptor, events: Int16(POLLIN), revents: 0)]
        for child in children {
            entries += child.descriptors.map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        }
        entries += (desk?.descriptors ?? []).map { pollfd(fd: $0, events: Int16(POLLIN), revents: 0) }
        let nextLook = (children.map(\.nextLook) + [deadline, desk?.nextLook]).compactMap { $0 }.min()
        guard poll(&entries, nfds_t(entries.count), Self.timeout(until: nextLook)) >= 0 || errno == EINTR else {
            throw Failure(cannot: "wait for events", errno: errno, code: .failure)
        }
        if entries[0].revents != 0 { try readSignals() }
        for child in children {
            guard let found = try child.look(now: MonotonicClock.milliseconds()) else { continue }
            lost = lost ?? found
        }
        try desk?.look(now: MonotonicClock.milliseconds())
    }

    private static func timeout(until time: UInt64?) -> Int32 {
        guard let time else { return -1 }
        let now = MonotonicClock.milliseconds()
        return time <= now ? 0 : Int32(clamping: time - now)
    }

    private func readSignals() throws(Failure) {
        while let event = try signals.wait(timeoutMilliseconds: 0) {
            // A terminal that closes sends several hang-ups; they are no sign of impatience.
            if event.kind == .hangup, !respectsHangup || stopRequests > 0 { continue }
            stopRequests += 1
        }
    }
}
