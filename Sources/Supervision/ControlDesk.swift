// Where the control socket meets the processes: takes the lines that other commands send, lets `HoldRules` decide, and
// does what they say. It is looked at in every turn of the supervisor's poll, and never waits.
//
// The consumers are always those of the cluster file as it is when they are started. While it says that its epoch is
// being built there are none, and the file is read again every second: whoever finishes the epoch need not have asked
// this `up` for a hold, for it may have been started in between.

import Glibc
import Logging
import ServiceKit

/// The consumers of one `up`, and who keeps them from running. Owned by the supervisor's thread.
final class ControlDesk {
    static let fileMilliseconds: UInt64 = 1_000

    private let socket: ControlSocket
    private let supervisor: Supervisor
    private let hooks: ClusterHooks
    private let logger: Logger
    private var rules = HoldRules()
    /// Whether the epoch was being built when the consumers should have been started.
    private var isBuilding = false
    /// When the cluster file is read again, if so.
    private var readAgain: UInt64 = 0
    /// Why the consumers cannot be started again: the cluster has to stop.
    private(set) var failure: Failure?

    init(_ socket: ControlSocket, supervisor: Supervisor, hooks: ClusterHooks, logger: Logger) {
        self.socket = socket
        self.supervisor = supervisor
        self.hooks = hooks
        self.logger = logger
    }

    /// What `poll` watches.
    var descriptors: [Int32] { socket.descriptors }

    /// When it wants to be looked at without an event.
    var nextLook: UInt64? {
        [socket.nextLook, isWaitingForEpoch ? readAgain : nil].compactMap(\.self).min()
    }

    /// Starts the consumers of the cluster file as it is now; none if its epoch is being built.
    @discardableResult
    func startConsumers() throws(Failure) -> ClusterState {
        let state = try hooks.state()
        isBuilding = state.isBuilding
        readAgain = MonotonicClock.milliseconds() + Self.fileMilliseconds
        guard !isBuilding else { return state }
        for role in try hooks.consumers(state) { try supervisor.start(role) }
        return state
    }

    /// `up` is ready: from now on the consumers can be held.
    func open() throws(Failure) { try perform(rules.started()) }

    /// `up` ends: from now on nothing is started.
    ///
    /// - Returns: why no consumer empties the queues; nil if all do.
    func close() throws(Failure) -> String? {
        let hold = rules.hold
        let areMissing = isWaitingForEpoch || rules.state.areConsumersGone
        try perform(rules.end())
        if let hold { return "the consumers are held (\(hold.reason))" }
        if areMissing { return "no consumer runs" }
        return supervisor.refusals.first.map { "\($0.sentence) and does not work" }
    }

    /// Does what is due.
    func look(now: UInt64) throws(Failure) {
        for event in socket.look(now: now) {
            switch event {
            case .line(let line, let connection): try take(line, from: connection)
            case .closed(let connection): try perform(rules.closed(connection))
            }
        }
        let consumers: Set<Role.Kind> = [.consumer]
        let haveEnded = supervisor.hasEnded(consumers)
        let refused = supervisor.refusals.first?.sentence
        try perform(rules.saw(haveEnded: haveEnded, areReady: supervisor.areSettled(consumers), refused: refused))
        if isWaitingForEpoch, now >= readAgain { try startIfReady() }
    }

    private func take(_ line: String, from connection: Int) throws(Failure) {
        let words = line.split(separator: " ")
        switch words.first {
        case "hold" where words.count > 1:
            let reason = words.dropFirst().joined(separator: " ")
            try perform(rules.asked(HoldRules.Hold(connection: connection, reason: reason)))
        case "hold": socket.send("error hold needs a reason: hold REASON", to: connection)
        case "release" where words.count == 1: try perform(rules.released(by: connection))
        case "state" where words.count == 1: socket.send(state().json, to: connection)
        default: socket.send("error this is not understood; it can be hold REASON, release, or state", to: connection)
        }
    }

    private func perform(_ actions: [HoldRules.Action]) throws(Failure) {
        for action in actions {
            switch action {
            case .answer(let line, let connection): socket.send(line, to: connection)
            case .end: try supervisor.dismiss([.consumer])
            case .revive: try revive()
            case .tellHeld(let hold):
                let who = socket.process(of: hold.connection).map { " by process \($0)" } ?? ""
                tell("the consumers are held\(who): \(hold.reason)")
            case .tellReleased(let partitions):
                tell("the consumers work again: \(partitions == 1 ? "1 partition" : "\(partitions) partitions")")
            }
        }
    }

    private func revive() throws(Failure) {
        supervisor.forget([.consumer])
        do throws(Failure) {
            let state = try startConsumers()
            if state.isBuilding { tell("no consumer is started: \(hooks.unfinishedText(state))") }
            try perform(rules.revived(partitions: state.isBuilding ? nil : state.partitions))
        } catch {
            failure = failure ?? error
            try perform(rules.end(because: error.sentence))
        }
    }

    private func tell(_ text: String) {
        supervisor.beforeOutput()
        logger.notice("\(text)")
    }
}

// An epoch that is being built.
extension ControlDesk {
    /// Whether there are no consumers, though nobody holds them.
    private var isWaitingForEpoch: Bool { rules.state == .running && isBuilding }

    private func startIfReady() throws(Failure) {
        readAgain = MonotonicClock.milliseconds() + Self.fileMilliseconds
        let state: ClusterState
        do throws(Failure) {
            state = try hooks.state()
        } catch {
            logger.debug("cannot read the cluster file", metadata: error.metadata)
            return
        }
        if !state.isBuilding { try perform(rules.epochIsReady()) }
    }
}

// What is told about it.
extension ControlDesk {
    private func state() -> UpState {
        var state = UpState()
        state.pid = getpid()
        state.web = supervisor.readyText(of: .web)
        do throws(Failure) {
            let cluster = try hooks.state()
            state.epoch = cluster.epoch
            state.partitions = cluster.partitions
            state.isBuilding = cluster.isBuilding
        } catch {
            // Before `initialise` there may be none.
            logger.debug("cannot read the cluster file", metadata: error.metadata)
        }
        state.consumers = isWaitingForEpoch ? .none : rules.state.consumers
        state.heldFor = rules.hold?.reason
        state.restarts = supervisor.restarts
        return state
    }
}

extension HoldRules.State {
    /// Whether consumers were asked to end and no others have been started.
    fileprivate var areConsumersGone: Bool {
        switch self {
        case .ending, .held, .yielding: true
        case .starting, .running, .reviving, .over: false
        }
    }

    fileprivate var consumers: UpState.Consumers {
        switch self {
        case .starting, .running, .reviving: .running
        case .ending, .yielding: .ending
        case .held: .held
        case .over: .over
        }
    }
}
