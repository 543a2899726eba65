// One event loop's share of the node: its producer, and the requests that wait for it.
//
// Everything here happens on the loop. A request is admitted into the producer and keeps its answer ticket; when the
// delivery is free, the producer's next flight goes to it; what comes back acknowledges the requests. A flight leaves
// when the loop has nothing else to do, or after two milliseconds: a batch then holds what came together, a busy node
// pushes less often and more at once, and an idle one pushes at once.

import HTTPFront
import Logging
import ServiceKit
import TallyCore

/// The counting side of one event loop.
// @unchecked: after the initializer all fields are touched on `loop` alone: every method that others call asserts that,
// and the private ones are called by these, by the delivery and by the loop's own work.
final class NodeLoop: IncrementService, @unchecked Sendable {
    /// A request whose level is awaited.
    private struct Waiting {
        let ticket: Ticket
        let answer: AnswerTicket
        /// Monotonic milliseconds.
        let deadline: UInt64
    }

    private let loop: LoopHandle
    /// How many loops the node has.
    private let loops: Int
    private let delivery: Delivery
    private let logger: Logger
    private var producer: Producer
    private let refuser: Refuser
    /// A client's next connection may go to any loop.
    private let refusals: LoopRefusals
    /// When this loop tells the others again, in monotonic milliseconds.
    private var tellsAt: UInt64 = 0
    private let rollbacks: RollbackEvents
    /// Those of the producer that have been told.
    private var toldRollbacks: UInt64 = 0
    /// By ticket slot.
    private var waiting: [Waiting?] = []
    /// No deadline in `waiting` is earlier.
    private var earliestDeadline = UInt64.max
    private var acknowledged: [Acknowledgement] = []
    private var statistics = LoopStatistics()
    private var isFlying = false
    /// Monotonic nanoseconds, of the flight under way.
    private var flightBegan: UInt64 = 0
    private var isPumpScheduled = false
    /// What the log has been told about admission.
    private var admission = AdmissionLog()
    private var reportedPartitions = ClosedPartitions()
    private var whenAdmitting: (@Sendable () -> Void)?
    private var startedAt: UInt64 = 0
    private var whenDelivered: (@Sendable () -> Void)?
    /// Whether a stop wants another connection than the one over which a flight is under way.
    private var isRenewalDue = false
    /// Until when a stop waits for the shards, in monotonic milliseconds; nil before Redis has everything.
    private var storeDeadline: UInt64?
    private var whenConflicting: (@Sendable (StreamID) -> Void)?
    /// Nothing is sent or answered any more.
    private var isHalted = false
    private var ticking: RepeatedWork?

    /// How often deadlines, heartbeats and back-offs are looked at.
    private static let tickMilliseconds: UInt64 = 10

    /// How often the other loops are told whether this one takes requests.
    private static let tellMilliseconds: UInt64 = 50

    /// How long a busy loop goes on reading before it pushes what it has.
    private static let gatherMilliseconds: UInt64 = 2

    init(
        loop: LoopHandle, of loops: Int, producer: Producer, refuser: Refuser, refusals: LoopRefusals,
        delivery: Delivery, rollbacks: RollbackEvents, logger: Logger
    ) {
        self.loop = loop
        self.loops = loops
        self.producer = producer
        self.refuser = refuser
        self.refusals = refusals
        self.delivery = delivery
        self.rollbacks = rollbacks
        self.logger = logger
    }

    /// Connects and begins to tick. On the loop.
    ///
    /// - Parameters:
    ///   - admitting: called once, when the first topology has been read.
    ///   - conflicting: called once if another process uses this producer's identity.
    func start(
        admitting: @escaping @Sendable () -> Void, conflicting: @escaping @Sendable (StreamID) -> Void
    ) {
        loop.loop.assertInLoop()
        whenAdmitting = admitting
        whenConflicting = conflicting
        startedAt = loop.loop.now
        // Both hold this object until `stop`; a weak reference would make every other one slower.
        delivery.start { self.received($0) }
        ticking = loop.loop.every(milliseconds: Self.tickMilliseconds) { self.tick() }
    }

    /// The loop's share of the outbox takes one batch at least.
    func setBounds(outboxBytes: Int, queueBytes: Int) {
        loop.loop.assertInLoop()
        producer.configuration.outboxBytes = max(producer.configuration.batchBytes, outboxBytes)
        producer.configuration.queueBytes = queueBytes
    }

    // MARK: Requests

    func submit(
        _ increments: inout IncrementBuffer, _ request: IncrementRequest, _ answer: AnswerTicket
    ) -> Submission {
        loop.loop.assertInLoop()
        let now = loop.loop.now
        let admitted: Ticket?
        do throws(TallyCore.Refusal) {
            admitted = try producer.admit(
                increments, level: request.level, idempotencyKey: request.idempotencyKey, now: now)
        } catch {
            statistics.refused[RefusalReason(error), default: 0] += 1
            return .refused(HTTPFront.Refusal(error, of: refuser))
        }
        statistics.accepted[Int(request.level.rawValue)] += 1
        schedulePump()
        guard let ticket = admitted else { return .answered(.memory) }
        let slot = Int(ticket.slot)
        if slot >= waiting.count { waiting.append(contentsOf: repeatElement(nil, count: slot - waiting.count + 1)) }
        let deadline = now + request.waitMilliseconds
        waiting[slot] = Waiting(ticket: ticket, answer: answer, deadline: deadline)
        earliestDeadline = min(earliestDeadline, deadline)
        return .pending
    }

    func readiness() -> Readiness {
        loop.loop.assertInLoop()
        return Readiness(
            refusal: refusal() ?? refusals.first, epoch: producer.topology?.epoch, closed: closed,
            outboxBytes: producer.outboxBytes)
    }

    private var closed: [ClosedReport] {
        producer.closedPartitions.map { ClosedReport($0, of: refuser) }
    }

    /// Why no request is admitted, whatever it touches; nil if some are.
    private func refusal() -> String? {
        if let refusal = producer.closedReason(now: loop.loop.now) { return refuser.sentence(refusal) }
        return producer.isEveryPartitionClosed ? closed.allClosed : nil
    }

    func document(_ page: Page) -> [UInt8]? {
        loop.loop.assertInLoop()
        guard page == .ledger else { return nil }
        return Array(producer.ledger(loop: loop.index, of: loops).json.utf8)
    }

    /// Redis may know of every batch that was ever made.
    var pageVersion: UInt64 { producer.statistics.batches &+ UInt64(producer.topology?.epoch ?? 0) << 40 }

    /// Everything that can be told of this loop.
    func report() -> LoopReport {
        loop.loop.assertInLoop()
        return LoopReport(
            statistics: statistics, producer: producer.statistics, front: loop.statistics,
            connections: loop.connectionCount, waiting: producer.awaitedTickets,
            outboxBytes: producer.outboxBytes, isConnected: producer.isConnected, topology: producer.topology,
            refusal: refusal(), refusalReason: producer.closedReason(now: loop.loop.now).map { RefusalReason($0) },
            closed: closed)
    }

    // MARK: Flights

    private func schedulePump() {
        if isPumpScheduled || isFlying { return }
        isPumpScheduled = true
        loop.loop.whenIdle(withinMilliseconds: Self.gatherMilliseconds) {
            self.isPumpScheduled = false
            self.pump()
        }
    }

    /// Sends the next flight, if none is under way.
    private func pump() {
        if isFlying || isHalted || !producer.isConnected { return }
        let commands = producer.nextFlight(now: loop.loop.now)
        if commands.isEmpty { return }
        isFlying = true
        flightBegan = MonotonicClock.nanoseconds()
        delivery.send(commands)
    }

    private func received(_ report: Delivery.Report) {
        loop.loop.assertInLoop()
        let now = loop.loop.now
        switch report {
        case .connected:
            producer.connection(isUp: true, now: now)
        case .disconnected(let reason):
            producer.connection(isUp: false, now: now)
            statistics.disconnections += 1
            if admission.isNews(disconnection: reason) {
                logger.warning("Redis is unreachable", metadata: ["reason": "\(reason)"])
            }
        case .unfit(let reason):
            producer.connection(isUp: false, unfit: reason, now: now)
            statistics.disconnections += 1
        case .landed(let commands, let answers):
            isFlying = false
            if commands.contains(where: \.isPush) {
                statistics.pushes.record(nanoseconds: MonotonicClock.nanoseconds() - flightBegan)
            }
            // First, also if this process stood still: after the longest wait nobody is told `stored` because of a
            // loss that was accepted meanwhile.
            if now >= earliestDeadline { expire(now) }
            for (command, answer) in zip(commands, answers) {
                producer.received(answer, to: command, now: now)
            }
            producer.flightEnded()
            if isRenewalDue { renew(now) }
            if let conflict = producer.conflict {
                let tell = whenConflicting
                halt()
                tell?(conflict)
                return
            }
            reportAdmission(now)
            acknowledge()
            reportRollback(now)
            reportPartitions(now)
        }
        schedulePump()
        reportAdmission(now)
        finishDraining(now)
    }

    private func acknowledge() {
        producer.takeAcknowledged(into: &acknowledged)
        for reached in acknowledged {
            let slot = Int(reached.ticket.slot)
            guard slot < waiting.count, let asked = waiting[slot], asked.ticket == reached.ticket else { continue }
            waiting[slot] = nil
            loop.complete(asked.answer, .reached(reached.level))
        }
        forgetAnswered()
    }

    /// What many requests needed that waited together is not kept for ever.
    private func forgetAnswered() {
        if acknowledged.count > Limits.abandonedTicketsMax { acknowledged = [] }
        if producer.awaitedTickets == 0, waiting.count > Limits.abandonedTicketsMax { waiting = [] }
    }

    private func tick() {
        delivery.tick()
        let now = loop.loop.now
        if now >= earliestDeadline { expire(now) }
        pump()
        reportAdmission(now)
        if !reportedPartitions.isEmpty { reportPartitions(now) }
        finishDraining(now)
        if now >= tellsAt {
            tellsAt = now + Self.tellMilliseconds
            refusals.set(refusal(), of: loop.index)
        }
    }

    /// Answers the requests whose wait has run out with the level that they have reached.
    private func expire(_ now: UInt64) {
        // Whoever waits then is not told anything: nobody knows what became of it.
        if isHalted { return }
        earliestDeadline = .max
        for (slot, request) in waiting.enumerated() {
            guard let request else { continue }
            if request.deadline > now {
                earliestDeadline = min(earliestDeadline, request.deadline)
                continue
            }
            waiting[slot] = nil
            guard let level = producer.abandon(request.ticket) else { continue }
            statistics.expired += 1
            loop.complete(request.answer, .reached(level))
        }
        forgetAnswered()
    }

    /// One line when admission closes, one when it is open again and Redis has answered real work.
    private func reportAdmission(_ now: UInt64) {
        let refusal = producer.closedReason(now: now)
        if refusal == nil, let whenAdmitting {
            self.whenAdmitting = nil
            whenAdmitting()
        }
        // A start is no outage: the first topology takes a moment to arrive.
        let isStarting = whenAdmitting != nil && now < startedAt + Limits.stallMilliseconds
        guard !producer.isDraining, !isStarting else { return }
        switch admission.saw(refusal, hasWorked: delivery.hasWorked) {
        case .closed(let refusal):
            logger.warning("requests are refused", metadata: ["reason": "\(refuser.sentence(refusal))"])
        case .opened: logger.info("requests are admitted", metadata: ["epoch": "\(producer.topology?.epoch ?? 0)"])
        case nil: break
        }
    }

    /// One line for each rollback of Redis, whichever loop meets it first.
    private func reportRollback(_ now: UInt64) {
        guard producer.statistics.rollbacks > toldRollbacks else { return }
        toldRollbacks = producer.statistics.rollbacks
        guard rollbacks.isNews(from: loop.index, at: now) else { return }
        statistics.rollbacks += 1
        logger.warning(
            "Redis has gone back in time",
            metadata: [
                "advice": """
                What it lacks of what this node holds is sent again and counts once; where the keys of the cluster \
                are gone, after `tallymill repair`. Find out why Redis lost what it had fsynced.
                """
            ])
    }

    /// One line when a partition closes, one when it is open again.
    private func reportPartitions(_ now: UInt64) {
        for change in reportedPartitions.changes(producer.closedPartitions, now: now) {
            switch change {
            case .closed(let partition):
                logger.warning(
                    "requests for a partition are refused",
                    metadata: [
                        "partition": "\(partition.number)",
                        "reason": "\(refuser.sentence(partition.refusal))",
                    ])
            case .opened(let number):
                logger.info("requests for a partition are admitted", metadata: ["partition": "\(number)"])
            }
        }
    }

    // MARK: Stopping

    /// Admits nothing from now on, and calls `done` once when the shards have everything admitted and Redis knows what
    /// was released, or has had some time for it. Redis is what the address leads to now: whom the present connection
    /// reaches may have been replaced, and what it has confirmed goes with it.
    func drain(_ done: @escaping @Sendable () -> Void) {
        loop.loop.assertInLoop()
        producer.drain()
        whenDelivered = done
        let now = loop.loop.now
        if producer.heldBytes > 0 {
            if isFlying { isRenewalDue = true } else { renew(now) }
        }
        finishDraining(now)
    }

    private func renew(_ now: UInt64) {
        isRenewalDue = false
        guard producer.isConnected else { return }
        producer.connection(isUp: false, now: now)
        delivery.renew()
    }

    /// What no shard has confirmed.
    var leftover: Leftover {
        loop.loop.assertInLoop()
        return Leftover(producer.delivery, bytes: producer.heldBytes, isQueued: producer.isFlushed)
    }

    private func finishDraining(_ now: UInt64) {
        guard let whenDelivered, producer.isFlushed, !isRenewalDue, !isFlying, !isHalted else { return }
        if producer.heldBytes > 0 || producer.isConnected && !producer.areFloorsTold {
            let deadline = storeDeadline ?? now + Limits.stopStoredMilliseconds
            storeDeadline = deadline
            if now < deadline { return }
        }
        self.whenDelivered = nil
        // Who still waits for `stored` is told what has been reached: the shard's part needs no node.
        expire(.max)
        whenDelivered()
    }

    /// Sends nothing from now on.
    func stop() {
        loop.loop.assertInLoop()
        ticking?.cancel()
        delivery.close()
        // They hold the node, which holds this.
        (whenAdmitting, whenDelivered, whenConflicting) = (nil, nil, nil)
    }

    /// As `stop`; also admits and acknowledges nothing from now on.
    func halt() {
        stop()
        isHalted = true
        producer.drain()
    }
}
