// What the connections of one event loop share: the service, the storage in which requests are read, the answers
// that are ready made, and one sweep instead of a timer per connection.
//
// Everything here and in `Connection` runs on the one loop; nothing is locked. A connection is known by its place
// in `entries` and the generation of that place, so a ticket for a connection that has gone finds nobody.

import ServiceKit
import TallyCore
import Tokens

/// The HTTP side of one event loop. Its hot properties are exempt from the run-time check for overlapping access, which
/// costs a lookup each: they are touched on the loop only. `reader`, `heads`, `increments`, `writer` and `spareOutput`
/// are lent to one call of one connection at a time, which gives them back before another connection has its turn; the
/// service that gets `increments` reads them and answers later. Of `entries` values are taken out before they are used.
final class LoopFront {
    private static let inputBytes = 1 << 16
    /// Larger output storage is not kept.
    static let spareBytesMax = 1 << 16

    private struct Entry {
        var connection: Connection?
        var generation: UInt32 = 0
        /// The sweep at which the connection's time is up.
        var deadline = UInt64.max
    }

    let loop: EventLoop
    let limits: HTTPLimits
    let service: any HTTPService
    /// The service, if it counts.
    let counting: (any IncrementService)?
    @exclusivity(unchecked) var statistics = FrontStatistics()
    /// This loop's share of `limits.connections`, and of `limits.lingeringConnections`.
    private let connectionsMax: Int
    private let lingeringMax: Int
    /// nil: everybody may do everything.
    @exclusivity(unchecked) var gate: Gate?
    /// Whom a listener without a gate takes for this machine; nil: everybody.
    @exclusivity(unchecked) var hosts: HostRules?
    /// The sockets of all loops; nil without a network.
    let sockets: OpenSockets?
    /// The limits in milliseconds as numbers of sweeps.
    let idlePatience: Patience
    let headPatience: Patience
    let bodyPatience: Patience
    let lingerSilence: Patience
    private let lingerPatience: Patience
    private let lingerDrainPatience: Patience
    @exclusivity(unchecked) var reader: IncrementReader
    @exclusivity(unchecked) var heads = HeadCache()
    @exclusivity(unchecked) var increments = IncrementBuffer()
    @exclusivity(unchecked) var writer = AnswerWriter()
    /// What one read of one connection brings; used within a call alone.
    let input = UnsafeMutableRawBufferPointer.allocate(byteCount: LoopFront.inputBytes, alignment: 16)
    /// Storage for the output of whichever connection is writing, so that others need none.
    @exclusivity(unchecked) var spareOutput: [UInt8] = []
    private(set) var isDraining = false
    private(set) var connectionCount = 0
    /// Of these, the ones that have their last answer.
    private var lingeringCount = 0

    @exclusivity(unchecked) private var entries: [Entry] = []
    private var freeEntries: [UInt32] = []
    private var pages = PageCache()
    /// What the connections hold.
    @exclusivity(unchecked) private(set) var memory: RequestMemory
    /// Connections that are not read for want of memory, each with the sweep at which its patience ends.
    private var starving: [(connection: Connection, end: UInt64)] = []
    private let starvingPatience: Patience
    /// Whether `feed` follows in this turn.
    private var isFeeding = false
    /// Connections that go on with what they have read in the next turn.
    private var held: [Connection] = []
    /// Connections with answers that were completed outside a read; they are flushed together.
    private var unflushed: [Connection] = []
    private(set) var sweeps: UInt64 = 0
    private var lastNumber: UInt64 = 0
    private var spares = SpareConnections()
    let sparePatience: Patience
    private var sweeping: RepeatedWork?
    private var whenEmpty: [() -> Void] = []

    /// - Parameter loops: how many share the limits.
    init(
        loop: EventLoop, of loops: Int, limits: HTTPLimits, access: Access?, hosts: HostRules? = nil,
        sockets: OpenSockets? = nil, service: any HTTPService
    ) {
        self.loop = loop
        self.limits = limits
        connectionsMax = (limits.connections + loops - 1) / loops
        lingeringMax = (limits.lingeringConnections + loops - 1) / loops
        gate = access.map { Gate($0) }
        self.hosts = hosts
        self.sockets = sockets
        self.service = service
        counting = service as? any IncrementService
        idlePatience = Patience(limits.idleMilliseconds, limits)
        headPatience = Patience(limits.headMilliseconds, limits)
        bodyPatience = Patience(limits.bodyMilliseconds, limits)
        lingerSilence = Patience(limits.lingerSilenceMilliseconds, limits)
        lingerPatience = Patience(limits.lingerMilliseconds, limits)
        lingerDrainPatience = Patience(limits.lingerDrainMilliseconds, limits)
        reader = IncrementReader(limits: limits)
        memory = RequestMemory(limits, loops: loops)
        starvingPatience = Patience(limits.starvingMilliseconds, limits)
        sparePatience = Patience(limits.spareMilliseconds, limits)
    }

    deinit { input.deallocate() }

    // MARK: Connections

    /// Serves a socket that was accepted, and owns it from now on.
    ///
    /// - Parameters:
    ///   - peer: who is at its other end, if that is counted.
    ///   - refusal: why it is not to be served.
    func adopt(_ descriptor: Int32, peer: PeerAddress? = nil, refusal: Problem? = nil) {
        loop.assertInLoop()
        Connection(front: self, descriptor: descriptor, peer: peer).open(refusal: refusal)
    }

    /// Why no connection can be served now, when there is none that can be closed for it.
    func obstacle() -> Problem? {
        if isDraining { return .draining }
        if connectionCount - lingeringCount < connectionsMax { return nil }
        guard let spare = spares.next(sweep: sweeps, of: { entries.compactMap(\.connection) }) else {
            return .tooManyConnections
        }
        spare.close()
        statistics.countClosedForOther()
        return nil
    }

    /// The number of one more connection.
    func nextNumber() -> UInt64 {
        lastNumber += 1
        return lastNumber
    }

    /// A place for `connection`.
    func register(_ connection: Connection) -> (index: UInt32, generation: UInt32) {
        loop.assertInLoop()
        connectionCount += 1
        let index: UInt32
        if let free = freeEntries.popLast() {
            index = free
        } else {
            index = UInt32(entries.count)
            entries.append(Entry())
        }
        entries[Int(index)].connection = connection
        return (index, entries[Int(index)].generation)
    }

    func unregister(_ index: UInt32) {
        entries[Int(index)].connection = nil
        entries[Int(index)].deadline = .max
        entries[Int(index)].generation &+= 1
        freeEntries.append(index)
        connectionCount -= 1
        if connectionCount == 0 { announceEmpty() }
    }

    // MARK: Lingering

    /// Whether one more connection may be read after its last answer.
    var canLinger: Bool { lingeringCount < lingeringMax }

    /// - Returns: the sweep at which it ends.
    func beginLingering() -> UInt64 {
        lingeringCount += 1
        return lingerEnd
    }

    func endLingering() {
        lingeringCount -= 1
    }

    /// At which sweep lingering that begins now ends.
    var lingerEnd: UInt64 { sweeps + (isDraining ? lingerDrainPatience : lingerPatience).sweeps }

    // MARK: Memory

    func memoryChanged(by bytes: Int) {
        memory.change(by: bytes)
        if starving.isEmpty || memory.isTight || isFeeding { return }
        isFeeding = true
        loop.whenIdle(withinMilliseconds: 0) {
            self.isFeeding = false
            self.feed()
        }
    }

    /// The connection reads on when there is memory, or is refused when its patience ends.
    func starve(_ connection: Connection) {
        starving.append((connection, sweeps + starvingPatience.sweeps))
    }

    /// Lets those that starve read on, as long as there is memory; ends the wait of the others whose time is up.
    private func feed() {
        var waiting: [(connection: Connection, end: UInt64)] = []
        swap(&waiting, &starving)
        for (connection, end) in waiting where connection.isStarving && connection.mode == .open {
            if memory.isTight, end <= sweeps { connection.refuseForMemory() }
            if memory.isTight, end > sweeps {
                starving.append((connection, end))
            } else {
                connection.flush()
            }
        }
    }

    // MARK: Answers

    /// Answers the request of `ticket`; nothing happens when it is gone.
    func complete(_ ticket: AnswerTicket, _ answer: AnswerQueue.Answer) {
        loop.assertInLoop()
        let index = Int(ticket.connection)
        guard index < entries.count, entries[index].generation == ticket.generation,
            let connection = entries[index].connection, connection.complete(ticket.sequence, answer)
        else { return }
        if unflushed.isEmpty {
            // One flush after everything that completes in this tick: pipelined answers leave in one write.
            loop.atEndOfTurn { self.flushCompleted() }
        }
        unflushed.append(connection)
    }

    private func flushCompleted() {
        var connections: [Connection] = []
        swap(&connections, &unflushed)
        for connection in connections { connection.settleCompleted() }
        if unflushed.isEmpty {
            connections.removeAll(keepingCapacity: connections.capacity <= 4_096)
            swap(&connections, &unflushed)
        }
    }

    /// Calls `goOn` of the connection in the next turn.
    func goOnLater(_ connection: Connection) {
        if held.isEmpty { loop.whenIdle(withinMilliseconds: 0) { self.goOn() } }
        held.append(connection)
    }

    private func goOn() {
        var connections: [Connection] = []
        swap(&connections, &held)
        for connection in connections { connection.goOn() }
    }

    // MARK: Pages

    /// What stands on a page now, or did in this turn; nil if this server has no such page.
    func document(_ page: Page) -> [UInt8]? {
        pages.document(page, turn: loop.turns, version: service.pageVersion) { service.document(page) }
    }

    func readiness() -> (json: [UInt8], isReady: Bool) {
        if isDraining { return (Array(#"{"status":"draining"}"#.utf8), false) }
        return pages.readiness(turn: loop.turns) { service.readiness() }
    }

    // MARK: Deadlines

    /// Until `closeAll`.
    func startSweeping() {
        sweeping = loop.every(milliseconds: limits.sweepMilliseconds) { self.sweep() }
    }

    /// Sets when `Connection.timeIsUp` is called, unless it is set anew before.
    func setDeadline(_ index: UInt32, _ patience: Patience) {
        entries[Int(index)].deadline = sweeps + patience.sweeps
    }

    /// The same, but at the sweep `latest` at the latest.
    func setDeadline(_ index: UInt32, _ patience: Patience, notAfter latest: UInt64) {
        entries[Int(index)].deadline = min(sweeps + patience.sweeps, latest)
    }

    func clearDeadline(_ index: UInt32) {
        entries[Int(index)].deadline = .max
    }

    private func sweep() {
        sweeps += 1
        writer.updateDate()
        if !starving.isEmpty { feed() }
        for index in entries.indices where entries[index].deadline <= sweeps {
            entries[index].deadline = .max
            entries[index].connection?.timeIsUp()
        }
    }

    // MARK: The end

    /// Answers what is pending and closes; calls `done` when no connection is left.
    func drain(_ done: @escaping () -> Void) {
        loop.assertInLoop()
        isDraining = true
        whenEmpty.append(done)
        for index in entries.indices { entries[index].connection?.drain() }
        if connectionCount == 0 { announceEmpty() }
    }

    func closeAll() {
        loop.assertInLoop()
        isDraining = true
        sweeping?.cancel()
        for index in entries.indices { entries[index].connection?.close() }
    }

    private func announceEmpty() {
        if !isDraining { return }
        let waiting = whenEmpty
        whenEmpty = []
        for done in waiting { done() }
    }
}

/// A time in sweeps: never shorter than asked for, longer by less than two of them.
struct Patience {
    let sweeps: UInt64

    init(_ milliseconds: UInt64, _ limits: HTTPLimits) {
        sweeps = (milliseconds + limits.sweepMilliseconds - 1) / limits.sweepMilliseconds + 1
    }
}
