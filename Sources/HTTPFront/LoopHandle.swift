// An event loop of the server as its service sees it.

public import ServiceKit

/// One event loop of a server: where its service runs, and how its requests are answered.
///
/// `loop.execute` may be used from any thread; everything else belongs to the loop itself.
// @unchecked: `front` is set once on the loop and only read there, which is asserted, until `detach`, which comes after
// the end of the loop's thread.
public final class LoopHandle: @unchecked Sendable {
    /// From 0, in the order of the server's loops.
    public let index: Int
    public let loop: EventLoop
    private var front: LoopFront?

    init(index: Int, loop: EventLoop) {
        self.index = index
        self.loop = loop
    }

    /// Answers the pending request of `ticket`. Nothing happens when its connection has gone.
    public func complete(_ ticket: AnswerTicket, _ outcome: Outcome) {
        loop.assertInLoop()
        switch outcome {
        case .reached(let level): front?.complete(ticket, .reached(level))
        case .refused(let refusal): front?.complete(ticket, .problem(Problem(refusal)))
        }
    }

    /// Connections of this loop.
    public var connectionCount: Int {
        loop.assertInLoop()
        return front?.connectionCount ?? 0
    }

    /// What the loop's connections have seen since the start.
    public var statistics: FrontStatistics {
        loop.assertInLoop()
        return front?.statistics ?? FrontStatistics()
    }

    /// Once, when the service has been made.
    func attach(_ front: LoopFront) {
        loop.assertInLoop()
        precondition(self.front == nil, "a loop has one service")
        self.front = front
    }

    /// Lets go of the service, which holds this in turn. When the loop's thread has been joined.
    func detach() {
        front = nil
    }

    /// Where the loop's connections live. Only on the loop.
    var attachedFront: LoopFront {
        loop.assertInLoop()
        guard let front else { preconditionFailure("a loop is used before its service was made") }
        return front
    }
}
