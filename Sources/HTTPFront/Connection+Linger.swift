// The end of a connection. The peer may still be sending when it has its last answer: a body that was refused, or
// requests that came too late. Closing with bytes unread, or when bytes come afterwards, sends a reset, which overtakes
// the answer on a slow link and which many clients meet while they write. So our side of the socket is shut down, and
// what comes is read and dropped until the peer ends, too: as long as bytes come, and within bounds (`HTTPLimits`).

import Glibc
import ServiceKit

extension Connection {
    /// The socket has the last answer.
    func endOutput() {
        if inputEnded { return close() }
        guard front.canLinger, shutdown(descriptor, Int32(SHUT_WR)) == 0 else { return close() }
        mode = .lingering
        wait = .nothing
        forgetInput()
        lingerEnd = front.beginLingering()
        front.setDeadline(index, front.lingerSilence, notAfter: lingerEnd)
        updateReading()
    }

    /// Bytes that came while lingering.
    func drop(_ count: Int) {
        lingeredBytes += count
        if lingeredBytes > front.limits.lingerBytes { return close() }
        front.setDeadline(index, front.lingerSilence, notAfter: lingerEnd)
    }

    func close() {
        guard mode != .closed else { return }
        if mode == .lingering { front.endLingering() }
        mode = .closed
        forgetInput()
        output = []
        noteMemory()
        if let watch { front.loop.unwatch(watch) }
        watch = nil
        Glibc.close(descriptor)
        front.sockets?.closed(peer)
        front.unregister(index)
    }

    /// Ends the connection as soon as everything that was begun is answered.
    func drain() {
        if mode == .lingering {
            lingerEnd = min(lingerEnd, front.lingerEnd)
            front.setDeadline(index, front.lingerSilence, notAfter: lingerEnd)
        }
        guard mode == .open else { return }
        if answers.isEmpty, saved.isEmpty, isWritable { return close() }
        if answers.isEmpty, !isWritable {
            mode = .ending
            return
        }
        // Requests that were not begun are not answered: the last answer says that it is the last.
        if !answers.isEmpty, saved.isEmpty || !isReading {
            answers.closeAfterLast()
            mode = .ending
        }
    }
}
