// When a connection reads, and how long it may take: backpressure and deadlines.

import ServiceKit

extension Connection {
    /// Reads on when there is room again.
    func resume() {
        guard mode == .open, isHeldBack, isWritable, hasRoom else { return }
        isHeldBack = false
        processSaved()
    }

    /// Whether one more answer may be owed.
    var hasRoom: Bool {
        answers.count < front.limits.unansweredRequests
            && output.count + answers.writtenBytes < front.limits.unsentBytes
    }

    /// Whether requests wait in `saved` for nothing but their turn.
    var canGoOn: Bool { mode == .open && isHeldBack && isWritable && hasRoom }

    /// Tells the loop what to report, when that has changed.
    func updateReading() {
        noteMemory()
        isReading = mode == .lingering || isWritable && !isHeldBack && hasRoom && !mustStarve()
        var next: IOEvents = isReading && !inputEnded ? .readable : []
        if !isWritable { next.insert(.writable) }
        if next == wanted { return }
        wanted = next
        if let watch { front.loop.change(watch, next) }
    }

    // MARK: Room for others

    /// It does what the server is there for.
    func prove() {
        isProven = true
        provenAt = front.sweeps
    }

    /// Whether it may be closed for another one: nothing of a request is there whose fate its client would not know.
    /// Who has counted here before is trusted with a pause.
    var isSpare: Bool {
        guard mode == .open, answers.isEmpty else { return false }
        if !isProven { return wait == .request || wait == .head || wait == .peerToRead }
        return wait == .request && saved.isEmpty && front.sweeps >= provenAt + front.sparePatience.sweeps
    }

    // MARK: Memory

    /// Bytes of requests that have not arrived in full, and of those that wait for their turn.
    var heldInput: Int { saved.capacity + parser.decoded.capacity }

    /// Lets go of the request that is being read, and of what came after it.
    func forgetInput() {
        saved = []
        parser = RequestParser()
        isHeldBack = false
    }

    /// Tells the loop what the connection holds, when that has changed.
    func noteMemory() {
        let bytes = mode == .closed ? 0 : heldInput + output.capacity + answers.writtenBytes
        if bytes == notedBytes { return }
        let change = bytes - notedBytes
        notedBytes = bytes
        front.memoryChanged(by: change)
    }

    /// Whether the rest of a request may not be read now, because all connections together hold too much.
    private func mustStarve() -> Bool {
        guard front.memory.isTight, mode == .open, heldInput > 0, notedBytes > front.limits.ownBytes else {
            isStarving = false
            return false
        }
        if !isStarving {
            isStarving = true
            front.starve(self)
        }
        return true
    }

    /// There is no memory for the rest of the request.
    func refuseForMemory() {
        isStarving = false
        forgetInput()
        answer(.noMemory, .closes, isHead: false)
    }

    /// Sets the deadline of what the connection waits for now, once when that begins.
    func updateWait() {
        if mode == .lingering { return }
        let next: Wait
        if !isWritable {
            next = .peerToRead
        } else if !isReading && !isStarving || mode != .open {
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
