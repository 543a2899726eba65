// One thread of the load: an event loop over its connections, with one request at most under way on each.
//
//   opening   all connections are opened, some at a time; the schedule has not started, so that requests are not late
//             because of us
//   running   a due request goes to the connection that has been idle longest; if none is idle it is overdue, and goes
//             to the next that comes to be. Lost connections are opened again, with a pause that grows
//   ending    nothing is due any more; answers are waited for, no longer than the plan's patience
//
// What is still without an answer then has an unknown fate. A connection is lost with its request: it is not sent
// again, because that would not be exact.

import Glibc
import ServiceKit

/// The connections of one thread, and their requests. Owned by that thread.
final class LoadLoop {
    /// How many connections may be under way to be open at a time: less than a listener's queue.
    static let connectingMax = 64
    /// How long connections are waited for before the schedule starts without some of them.
    static let openingNanoseconds: UInt64 = 10_000_000_000
    private static let reopenMin: UInt64 = 10_000_000
    private static let reopenMax: UInt64 = 1_000_000_000
    /// The longest wait for events: how late a wish of the conductor is heard.
    private static let waitMax: UInt64 = 20_000_000
    private static let receiveBytes = 64 << 10

    let address: ServerAddress
    let batch: Int
    let patienceNanoseconds: UInt64
    let progress: LoadProgress
    let poller: Poller
    var schedule: Schedule
    var writer: RequestWriter
    var tally: Tally
    var connections: [LoadConnection]
    /// The increments under way, `batch` places a connection.
    let pending: UnsafeMutableBufferPointer<PendingIncrement>
    let receiveBuffer: UnsafeMutableRawBufferPointer
    var request: [UInt8] = []
    /// Connections without a request, the longest idle first. One that was lost since is skipped.
    var idle: IndexRing
    /// Connections that are to be opened.
    private var closed: IndexRing
    private var connecting = 0
    private var open = 0
    var busy = 0
    private var reopenNanoseconds = LoadLoop.reopenMin
    private var nextOpening: UInt64 = 0
    private var lastFailure: Int32 = 0
    private var startNanoseconds: UInt64 = 0
    /// When the conductor asked for the end.
    private var finishNanoseconds: UInt64?

    /// - Throws: 1 if the system has no descriptor left.
    init(
        _ plan: LoadPlan, _ schedule: Schedule, address: ServerAddress, connections: Int, stream: Int,
        progress: LoadProgress
    ) throws(Failure) {
        self.address = address
        self.schedule = schedule
        self.progress = progress
        // Once: each connection sends a single increment, whatever the load beside it does.
        var plan = plan
        if case .once = schedule.kind { plan.batch = 1 }
        batch = plan.batch
        patienceNanoseconds = UInt64(plan.patienceMilliseconds) * 1_000_000
        poller = try Poller()
        writer = RequestWriter(plan, stream: stream)
        tally = Tally(keys: plan.keys)
        self.connections = Array(repeating: LoadConnection(), count: connections)
        pending = .allocate(capacity: connections * plan.batch)
        pending.initialize(repeating: PendingIncrement(key: 0, delta: 0))
        idle = IndexRing(capacity: connections)
        closed = IndexRing(capacity: connections)
        receiveBuffer = .allocate(byteCount: Self.receiveBytes, alignment: 16)
        for index in 0..<connections { closed.append(index) }
    }

    deinit {
        pending.deallocate()
        receiveBuffer.deallocate()
    }

    /// Runs the schedule to its end.
    ///
    /// - Throws: 69 if no connection could be opened at all, 1 if the system refuses to go on.
    func run() throws(Failure) -> Tally {
        startNanoseconds = MonotonicClock.nanoseconds()
        while try !isDone(MonotonicClock.nanoseconds()) {
            try openClosed(MonotonicClock.nanoseconds())
            try poller.wait(nanoseconds: patience(MonotonicClock.nanoseconds())) { event throws(Failure) in
                handle(event)
            }
            sendDue()
            progress.publish(ended: tally.requests, open: open)
        }
        for index in connections.indices where connections[index].state != .closed { close(index) }
        tally.unsent = schedule.count.map { $0 - schedule.sent } ?? 0
        progress.publish(ended: tally.requests, open: 0)
        return tally
    }

    // MARK: Phases

    private func isDone(_ now: UInt64) throws(Failure) -> Bool {
        let asked = progress.asked
        if asked == .giveUp { return true }
        if asked == .finish && finishNanoseconds == nil {
            finishNanoseconds = now
            schedule.stop()
        }
        guard let end = schedule.endNanoseconds else {
            if asked == .goOn { try startIfOpen(now) }
            return asked == .finish
        }
        if isOnce { return asked == .finish }
        if now > min(end, finishNanoseconds ?? end) + patienceNanoseconds { return true }
        return schedule.isOver(now: now) && busy == 0
    }

    private func startIfOpen(_ now: UInt64) throws(Failure) {
        let isLate = now > startNanoseconds + Self.openingNanoseconds
        // Parked connections are not in time for anything: the first that is open begins.
        let needed = isOnce ? 1 : connections.count
        guard open >= needed || isLate || (open == 0 && lastFailure != 0) else { return }
        guard open > 0 else {
            throw Failure(
                cannot: "connect to the server", errno: lastFailure == 0 ? ETIMEDOUT : lastFailure, code: .unavailable,
                advice: "`tallymill up` or `tallymill web` serves; --url says where.")
        }
        startNanoseconds = now
        schedule.start(now: now)
    }

    /// How long to wait for events, in nanoseconds.
    private func patience(_ now: UInt64) -> UInt64 {
        var wait = Self.waitMax
        if !closed.isEmpty && connecting < Self.connectingMax {
            wait = min(wait, nextOpening > now ? nextOpening - now : 0)
        }
        if !idle.isEmpty, let due = schedule.nextDue(now: now) { wait = min(wait, due > now ? due - now : 0) }
        return wait
    }

    /// Whether this is about the connections, which stay open.
    var isOnce: Bool {
        if case .once = schedule.kind { true } else { false }
    }

    // MARK: Connections

    /// Opens some of the connections that have no socket.
    private func openClosed(_ now: UInt64) throws(Failure) {
        while now >= nextOpening, connecting < Self.connectingMax, let index = closed.first {
            closed.removeFirst()
            switch ClientSocket.open(address) {
            case .opened(let socket):
                connections[index].connects(socket)
                connecting += 1
                try poller.watch(socket, token: UInt64(connections[index].generation) << 32 | UInt64(index))
            case .failed(let number):
                closed.append(index)
                failedToOpen(number, now)
            }
        }
    }

    private func failedToOpen(_ number: Int32, _ now: UInt64) {
        lastFailure = number
        tally.failedConnections += 1
        nextOpening = now + reopenNanoseconds
        reopenNanoseconds = min(Self.reopenMax, reopenNanoseconds * 2)
    }

    private func isOpen(_ index: Int) {
        connecting -= 1
        open += 1
        reopenNanoseconds = Self.reopenMin
        connections[index].isOpen()
        enqueue(index)
    }

    func enqueue(_ index: Int) {
        if connections[index].isQueued { return }
        connections[index].isQueued = true
        idle.append(index)
    }

    /// Gives up a connection; the fate of its request, if any, is unknown.
    func close(_ index: Int) {
        switch connections[index].state {
        case .closed: preconditionFailure("a connection is closed once")
        case .connecting: connecting -= 1
        case .idle: open -= 1
        case .busy:
            open -= 1
            busy -= 1
            tally.lost(increments(of: index))
        }
        ClientSocket.close(connections[index].closes())
        // One that was to send one increment has done so.
        if isOnce && connections[index].wasAnswered { return }
        closed.append(index)
    }

    /// The other side has ended the connection.
    func lose(_ index: Int) {
        tally.lostConnections += 1
        close(index)
    }

    func increments(of index: Int) -> UnsafeMutableBufferPointer<PendingIncrement> {
        UnsafeMutableBufferPointer(rebasing: pending[index * batch..<(index + 1) * batch])
    }

    // MARK: Events

    private func handle(_ event: Poller.Event) {
        let index = Int(event.token & 0xFFFF_FFFF)
        guard connections[index].generation == UInt32(event.token >> 32) else { return }
        switch connections[index].state {
        case .closed: return
        case .connecting:
            guard event.isWritable || event.isClosed else { return }
            let number = ClientSocket.attemptError(connections[index].socket)
            if number == 0 { return isOpen(index) }
            failedToOpen(number, MonotonicClock.nanoseconds())
            close(index)
        case .idle, .busy:
            if event.isWritable { flush(index) }
            if event.isReadable || event.isClosed { receive(index, isClosed: event.isClosed) }
        }
    }

    /// Records how long the run took so far.
    func noteAnswer(_ now: UInt64) { tally.elapsedNanoseconds = now - startNanoseconds }
}
