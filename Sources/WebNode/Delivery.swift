// One producer's Redis connection, on the producer's event loop.
//
// It does what the loop says and nothing else: one flight at a time, sent as one pipeline. It runs on the loop, because
// handing each flight to a thread and back cost more than the flight. When the connection breaks it reports what is
// known and has a new one made (that blocks, so a thread of its own does it); until then no flight comes.

import RedisQueue
import ServiceKit
import TallyCore

/// One producer's connection. Belongs to its loop.
// @unchecked: `loop`, `link`, `names` and `connector` never change, and are safe to share; everything else is touched
// on the loop alone, which is asserted where others call. The connector's thread passes this object on to the loop, and
// `join` uses `connector`, nothing else.
final class Delivery: DescriptorHandler, @unchecked Sendable {
    enum Report {
        case connected
        case disconnected(String)
        /// Redis would not keep what it confirms: it is not used until that is mended.
        case unfit(String)
        /// The answers are those of the commands, one by one.
        case landed([QueueCommand], [QueueAnswer])
    }

    private let loop: EventLoop
    private let link: RedisLink
    private let names: KeyNames
    private let connector: Connector
    private var report: (Report) -> Void = { _ in }
    private var queue: ProducerQueue?
    private var watch: Watch?
    /// What the loop reports about the socket.
    private var wanted: IOEvents = .readable
    private var isClosed = false
    /// When Redis has been silent for too long, during a flight.
    private var deadline = UInt64.max
    private var connectedAt: UInt64 = 0
    /// Whether the present connection, or the last one, has answered real work: only then did an outage end.
    private(set) var hasWorked = false

    init(loop: EventLoop, link: RedisLink, names: KeyNames) {
        self.loop = loop
        self.link = link
        self.names = names
        connector = Connector(link)
    }

    /// Connects, and reports to `report` on the loop.
    func start(_ report: @escaping (Report) -> Void) {
        loop.assertInLoop()
        self.report = report
        connect(Connector.Ended())
    }

    /// Sends `commands`; `.landed` follows. Not before the last flight has landed.
    func send(_ commands: [QueueCommand]) {
        loop.assertInLoop()
        guard let queue else { preconditionFailure("a flight without a connection") }
        deadline = loop.now + link.commandMilliseconds
        handle(queue.send(commands, isChecked: commands.readsTopology))
    }

    /// Has a new connection made in place of the one that is there: behind the same address may be another Redis by
    /// now. `.connected` follows. Not while a flight is under way.
    func renew() {
        loop.assertInLoop()
        precondition(deadline == .max, "a connection is renewed under a flight")
        // Without one, another is being made already.
        if queue == nil { return }
        disconnect()
        connect(Connector.Ended(hasWorked: hasWorked))
    }

    func isReady(_ events: IOEvents) {
        loop.assertInLoop()
        guard let queue else { return }
        // Something moves: only silence counts, however long a large flight takes.
        if deadline != .max { deadline = loop.now + link.commandMilliseconds }
        if events.contains(.writable), queue.isWriting { handle(queue.write()) }
        if self.queue === queue, events != .writable { handle(queue.read()) }
    }

    /// To be called now and then: ends a flight that Redis does not answer.
    func tick() {
        loop.assertInLoop()
        guard let queue, loop.now >= deadline else { return }
        handle(queue.giveUp(afterMilliseconds: link.commandMilliseconds))
    }

    /// Closes the connection: nothing is reported any more.
    func close() {
        loop.assertInLoop()
        report = { _ in }
        isClosed = true
        disconnect()
    }

    /// Waits for the end of the thread that connects. From any thread but the loop's.
    func join() {
        connector.stop()
    }

    private func connect(_ ended: Connector.Ended) {
        connector.connect(after: ended) { outcome in self.loop.execute { self.connected(outcome) } }
    }

    private func connected(_ outcome: Connector.Outcome) {
        loop.assertInLoop()
        switch outcome {
        case .failed(let error): report(Report(error))
        case .connected(let handover):
            if isClosed { return }
            do {
                let queue = try ProducerQueue(connection: handover.connection, names: names)
                wanted = .readable
                watch = try loop.watch(queue.descriptor, wanted, self)
                self.queue = queue
                connectedAt = loop.now
                hasWorked = false
                report(.connected)
            } catch {
                report(.disconnected("\(error)"))
                connect(Connector.Ended())
            }
        }
    }

    private func handle(_ landed: ProducerQueue.Landed?) {
        guard let landed else { return watchWriting() }
        deadline = .max
        let isConnected = queue?.isConnected ?? false
        if isConnected { noteWork(landed) }
        if !isConnected {
            disconnect()
            report(landed.failure.map { Report($0) } ?? .disconnected("unknown"))
        }
        if !landed.commands.isEmpty { report(.landed(landed.commands, landed.answers)) }
        if !isConnected { connect(Connector.Ended(failure: landed.failure, hasWorked: hasWorked)) }
    }

    /// A topology that is read as soon as the connection is there is no work yet; one that is read over it later is.
    private func noteWork(_ landed: ProducerQueue.Landed) {
        if hasWorked { return }
        hasWorked = landed.commands.haveWork || loop.now >= connectedAt + Limits.topologyMilliseconds
    }

    private func watchWriting() {
        guard let watch, let queue else { return }
        let next: IOEvents = queue.isWriting ? [.readable, .writable] : .readable
        if next == wanted { return }
        wanted = next
        loop.change(watch, next)
    }

    private func disconnect() {
        if let watch { loop.unwatch(watch) }
        watch = nil
        queue = nil
        deadline = .max
    }
}

extension Delivery.Report {
    fileprivate init(_ error: RedisError) {
        self = error.problems == nil ? .disconnected(error.description) : .unfit(error.description)
    }
}
