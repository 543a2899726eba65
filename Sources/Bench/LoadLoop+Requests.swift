// Sending and receiving: the hot path of the load.

import ServiceKit

extension LoadLoop {
    /// Sends what is due, as long as a connection is idle.
    func sendDue() {
        var now = MonotonicClock.nanoseconds()
        while let index = firstIdle() {
            guard let intended = schedule.take(now: now) else { return }
            idle.removeFirst()
            connections[index].isQueued = false
            send(index, intended)
            if schedule.nextDue(now: now).map({ $0 > now }) ?? true { now = MonotonicClock.nanoseconds() }
        }
    }

    /// The connection that has been idle longest.
    private func firstIdle() -> Int? {
        while let index = idle.first {
            let isParked = connections[index].wasAnswered && isOnce
            if connections[index].state == .idle && !isParked { return index }
            idle.removeFirst()  // it was lost while it stood here, or has done its part
            connections[index].isQueued = false
        }
        return nil
    }

    private func send(_ index: Int, _ intended: UInt64) {
        connections[index].sends(intendedNanoseconds: intended)
        busy += 1
        request.removeAll(keepingCapacity: true)
        writer.append(filling: increments(of: index), to: &request)
        tally.bytesSent += request.count
        switch request.withUnsafeBytes({ ClientSocket.send($0, to: connections[index].socket) }) {
        case .bytes(request.count): return
        case .bytes(let count): connections[index].unsentBytes = request[count...]
        case .later: connections[index].unsentBytes = request[...]
        case .closed, .failed: lose(index)
        }
    }

    /// Sends what the socket did not take before.
    func flush(_ index: Int) {
        while !connections[index].unsentBytes.isEmpty {
            let socket = connections[index].socket
            switch connections[index].unsentBytes.withUnsafeBytes({ ClientSocket.send($0, to: socket) }) {
            case .bytes(let count): connections[index].unsentBytes.removeFirst(count)
            case .later: return
            case .closed, .failed: return lose(index)
            }
        }
    }

    /// Reads what has arrived.
    ///
    /// - Parameter isClosed: whether the end of the connection has arrived too: then it is read until there.
    func receive(_ index: Int, isClosed: Bool) {
        while connections[index].state == .idle || connections[index].state == .busy {
            switch ClientSocket.receive(from: connections[index].socket, into: receiveBuffer) {
            case .bytes(let count):
                tally.bytesReceived += count
                take(UnsafeRawBufferPointer(rebasing: receiveBuffer[..<count]), index)
                // Fewer bytes than there was room for: what comes later is an event of its own.
                if count < receiveBuffer.count && !isClosed { return }
            case .later: return
            case .closed, .failed: return lose(index)
            }
        }
    }

    private func take(_ bytes: UnsafeRawBufferPointer, _ index: Int) {
        guard connections[index].state == .busy else { return lose(index) }  // an answer to nothing
        switch connections[index].scanner.scan(bytes) {
        case .incomplete: return
        case .unreadable: lose(index)
        case .answer(let status, let closes, let consumed):
            let now = MonotonicClock.nanoseconds()
            let intended = connections[index].intendedNanoseconds
            tally.answered(status, increments(of: index), latencyNanoseconds: now > intended ? now - intended : 0)
            noteAnswer(now)
            busy -= 1
            connections[index].isAnswered()
            if closes || consumed < bytes.count || !connections[index].unsentBytes.isEmpty { return lose(index) }
            enqueue(index)
        }
    }
}
