// An event loop as the rest of the program sees it: nobody else imports NIO.

import NIOCore

/// One event loop of a server: where its service runs, and how its requests are answered.
///
/// `execute` and `isInLoop` may be used from any thread; everything else belongs to the loop itself.
/// Sendable by hand because of `front`: it is set once on the loop and only read there, which is asserted.
public final class LoopHandle: @unchecked Sendable {
    /// From 0, in the order of the server's loops.
    public let index: Int
    let eventLoop: any EventLoop
    private var front: LoopFront?

    init(index: Int, eventLoop: any EventLoop) {
        self.index = index
        self.eventLoop = eventLoop
    }

    /// Answers the pending request of `ticket`. Nothing happens when its connection has gone.
    public func complete(_ ticket: AnswerTicket, _ outcome: Outcome) {
        assertInLoop()
        switch outcome {
        case .reached(let level): front?.complete(ticket, .reached(level))
        case .refused(let refusal): front?.complete(ticket, .problem(Problem(refusal)))
        }
    }

    /// Runs `work` on the loop, soon. After the server was shut down it may never run.
    public func execute(_ work: @escaping @Sendable () -> Void) {
        eventLoop.execute(work)
    }

    /// Runs `work` on the loop every so many milliseconds, first after one period.
    public func scheduleRepeated(milliseconds: UInt64, _ work: @escaping () -> Void) -> RepeatedWork {
        assertInLoop()
        let period = TimeAmount.milliseconds(Int64(milliseconds))
        let work = NIOLoopBound(work, eventLoop: eventLoop)
        return RepeatedWork(
            task: eventLoop.scheduleRepeatedTask(initialDelay: period, delay: period) { _ in work.value() })
    }

    public var isInLoop: Bool { eventLoop.inEventLoop }

    /// In debug builds: traps outside the loop.
    public func assertInLoop() {
        eventLoop.assertInEventLoop()
    }

    /// Connections of this loop.
    public var connectionCount: Int {
        assertInLoop()
        return front?.connectionCount ?? 0
    }

    /// Once, when the service has been made.
    func attach(_ front: LoopFront) {
        assertInLoop()
        self.front = front
    }

    /// Where the loop's connections live. Only on the loop.
    var attachedFront: LoopFront {
        assertInLoop()
        guard let front else { preconditionFailure("a loop is used before its service was made") }
        return front
    }
}

/// Work that a loop repeats until it is cancelled or the server is shut down.
public struct RepeatedWork: Sendable {
    let task: RepeatedTask

    public func cancel() {
        task.cancel()
    }
}
