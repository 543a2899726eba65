// What a thread of the load and the conductor tell one another while it runs: numbers that need no order among them.

import Synchronization

/// Shared by a load thread, which writes the figures, and the conductor, which asks for the end.
final class LoadProgress: Sendable {
    enum Request: Int {
        case goOn
        /// Send nothing more, wait for answers.
        case finish
        /// Wait for nothing.
        case giveUp
    }

    private let request = Atomic<Int>(Request.goOn.rawValue)
    private let ended = Atomic<Int>(0)
    private let openConnections = Atomic<Int>(0)
    private let isRunning = Atomic<Bool>(true)

    /// What the conductor asks for; it never takes back.
    var asked: Request { Request(rawValue: request.load(ordering: .relaxed)) ?? .giveUp }

    func ask(_ what: Request) {
        _ = request.max(what.rawValue, ordering: .relaxed)  // what it was before does not matter
    }

    /// Requests that have been answered or lost.
    var endedRequests: Int { ended.load(ordering: .relaxed) }

    var open: Int { openConnections.load(ordering: .relaxed) }

    /// False when the thread has left its loop.
    var runs: Bool { isRunning.load(ordering: .acquiring) }

    func publish(ended: Int, open: Int) {
        self.ended.store(ended, ordering: .relaxed)
        openConnections.store(open, ordering: .relaxed)
    }

    func finished() { isRunning.store(false, ordering: .releasing) }
}
