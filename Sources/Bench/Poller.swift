// Which connections can go on, and when the next request is due: epoll(7) with nanoseconds, edge-triggered, so a
// connection is registered once and never again, and whoever is told must read until nothing is left.
//
// Not ServiceKit's `EventLoop`: that one waits in whole milliseconds, and at 9,000 requests a second nine are due in
// one.

import CPlatform
import Glibc
import ServiceKit

/// Waits for many descriptors. Owned by one thread.
final class Poller {
    struct Event {
        let token: UInt64
        private let bits: UInt32

        fileprivate init(_ event: tm_event) {
            token = event.name
            bits = event.events
        }

        var isReadable: Bool { bits & UInt32(TM_READABLE) != 0 }
        var isWritable: Bool { bits & UInt32(TM_WRITABLE) != 0 }
        /// The other side has closed, or the connection failed. Something may be left to read.
        var isClosed: Bool { bits & UInt32(TM_PEER_CLOSED | TM_FAILED | TM_HUNG_UP) != 0 }
    }

    private static let wanted = UInt32(TM_READABLE | TM_WRITABLE | TM_PEER_CLOSED) | TM_EDGE_TRIGGERED

    private let descriptor: Int32
    private let events = UnsafeMutablePointer<tm_event>.allocate(capacity: TM_EVENTS_MAX)

    /// - Throws: 1 if the system has no descriptor left.
    init() throws(Failure) {
        descriptor = tm_poller()
        guard descriptor >= 0 else { throw Failure(cannot: "make an epoll", errno: errno, code: .failure) }
    }

    deinit {
        events.deallocate()
        if descriptor >= 0 { _ = close(descriptor) }  // it holds nothing unwritten
    }

    /// Reports what happens to `socket`, until it is closed.
    func watch(_ socket: Int32, token: UInt64) throws(Failure) {
        guard tm_poller_add(descriptor, socket, Self.wanted, token) == 0 else {
            throw Failure(cannot: "watch a connection", errno: errno, code: .failure)
        }
    }

    /// Waits at most so long, and calls `body` with each event.
    func wait(nanoseconds: UInt64, _ body: (Event) throws(Failure) -> Void) throws(Failure) {
        let found = tm_poller_wait_ns(descriptor, events, Int64(clamping: nanoseconds))
        guard found >= 0 || errno == EINTR else {
            throw Failure(cannot: "wait for answers", errno: errno, code: .failure)
        }
        for index in 0..<max(0, Int(found)) { try body(Event(events[index])) }
    }
}
