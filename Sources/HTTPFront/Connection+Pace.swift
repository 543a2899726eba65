// When a connection reads, and how long it may take: backpressure and deadlines.

import ServiceKit

extension Connection {
    /// Reads on when there is room again.
    func resume() {
        if mode == .open, !isReading, hasRoom, !saved.isEmpty { processSaved() }
    }

    private var hasRoom: Bool { isWritable && answers.count < front.limits.unansweredRequests }

    /// Tells the loop what to report, when that has changed.
    func updateReading() {
        isReading = mode == .lingering || hasRoom
        var next: IOEvents = isReading && !inputEnded ? .readable : []
        if !isWritable { next.insert(.writable) }
        if next == wanted { return }
        wanted = next
        if let watch { front.loop.change(watch, next) }
    }

    /// Sets the deadline of what the connection waits for now, once when that begins.
    func updateWait() {
        if mode == .lingering { return }
        let next: Wait
        if !isWritable {
            next = .peerToRead
        } else if !isReading || mode != .open {
            next = .nothing
        } else if parser.isInBody {
            next = .body
        } else if !saved.isEmpty {
            next = .head
        } else {
            next = answers.isEmpty ? .request : .nothing
        }
        if next == wait, !isNewWait { return }
        isNewWait = false
        wait = next
        switch next {
        case .nothing: front.clearDeadline(index)
        case .request, .peerToRead: front.setDeadline(index, front.idlePatience)
        case .head: front.setDeadline(index, front.headPatience)
        case .body: front.setDeadline(index, front.bodyPatience)
        }
    }

    /// The deadline has passed.
    func timeIsUp() {
        guard mode == .open, wait == .head || wait == .body else { return close() }
        let part = wait == .head ? "head" : "body"
        answer(Problem(.requestTimeout, "the \(part) of the request did not arrive in time"), .closes, isHead: false)
        flush()
    }
}
