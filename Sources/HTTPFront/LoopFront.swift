// What the connections of one event loop share: the service, the storage in which requests are read, the answers
// that are ready made, and one sweep instead of a timer per connection.
//
// Everything here and in `Connection` runs on the one loop; nothing is locked. A connection is known by its place
// in `entries` and the generation of that place, so a ticket for a connection that has gone finds nobody.

import NIOCore
import TallyCore

/// The HTTP side of one event loop.
final class LoopFront {
    private struct Entry {
        var connection: Connection?
        var generation: UInt32 = 0
        /// The sweep at which the connection's time is up.
        var deadline = UInt64.max
    }

    let eventLoop: any EventLoop
    let limits: HTTPLimits
    let service: any IncrementService
    /// This loop's share of `limits.connections`.
    let connectionsMax: Int
    var reader: IncrementReader
    var increments = IncrementBuffer()
    var writer = AnswerWriter()
    private(set) var isDraining = false
    private(set) var connectionCount = 0

    private var entries: [Entry] = []
    private var freeEntries: [UInt32] = []
    /// Connections with answers that were completed outside a read; they are flushed together.
    private var unflushed: [Connection] = []
    private var sweeps: UInt64 = 0
    private var sweeping: RepeatedTask?
    private var whenEmpty: [EventLoopPromise<Void>] = []

    init(eventLoop: any EventLoop, limits: HTTPLimits, connectionsMax: Int, service: any IncrementService) {
        self.eventLoop = eventLoop
        self.limits = limits
        self.connectionsMax = connectionsMax
        self.service = service
        reader = IncrementReader(limits: limits)
    }

    // MARK: Connections

    /// A place for `connection`, or nil when there are too many.
    func register(_ connection: Connection) -> (index: UInt32, generation: UInt32)? {
        eventLoop.assertInEventLoop()
        if connectionCount == connectionsMax || isDraining { return nil }
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

    // MARK: Answers

    /// Answers the request of `ticket`; nothing happens when it is gone.
    func complete(_ ticket: AnswerTicket, _ answer: AnswerQueue.Answer) {
        eventLoop.assertInEventLoop()
        let index = Int(ticket.connection)
        guard index < entries.count, entries[index].generation == ticket.generation,
            let connection = entries[index].connection, connection.complete(ticket.sequence, answer)
        else { return }
        if unflushed.isEmpty {
            // One flush after everything that completes in this tick: pipelined answers leave in one write.
            eventLoop.assumeIsolated().execute { self.flushCompleted() }
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

    // MARK: Deadlines

    func startSweeping() {
        let interval = TimeAmount.milliseconds(Int64(limits.sweepMilliseconds))
        let front = NIOLoopBound(self, eventLoop: eventLoop)
        sweeping = eventLoop.scheduleRepeatedTask(initialDelay: interval, delay: interval) { _ in
            front.value.sweep()
        }
    }

    /// Sets when `Connection.timeIsUp` is called, unless it is set anew before.
    func setDeadline(_ index: UInt32, milliseconds: UInt64) {
        let rounded = (milliseconds + limits.sweepMilliseconds - 1) / limits.sweepMilliseconds
        entries[Int(index)].deadline = sweeps + rounded + 1
    }

    func clearDeadline(_ index: UInt32) {
        entries[Int(index)].deadline = .max
    }

    private func sweep() {
        sweeps += 1
        writer.updateDate()
        for index in entries.indices where entries[index].deadline <= sweeps {
            entries[index].deadline = .max
            entries[index].connection?.timeIsUp()
        }
    }

    // MARK: The end

    /// Answers what is pending and closes; `promise` succeeds when no connection is left.
    func drain(_ promise: EventLoopPromise<Void>) {
        eventLoop.assertInEventLoop()
        isDraining = true
        whenEmpty.append(promise)
        for index in entries.indices { entries[index].connection?.drain() }
        if connectionCount == 0 { announceEmpty() }
    }

    func closeAll() {
        eventLoop.assertInEventLoop()
        isDraining = true
        sweeping?.cancel()
        for index in entries.indices { entries[index].connection?.close() }
    }

    private func announceEmpty() {
        if !isDraining { return }
        for promise in whenEmpty { promise.succeed(()) }
        whenEmpty = []
    }
}
