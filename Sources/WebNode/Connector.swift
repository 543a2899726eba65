// Makes connections to Redis on a thread of its own, because resolving a name, connecting and asking whether this Redis
// is fit for the promises block. Failed attempts are repeated with jittered back-off until one succeeds; told are the
// first of them, and those that find something else wrong with a Redis than the one before. A connection that comes
// about and breaks within a second does not end the back-off.

import RedisQueue
import ServiceKit
import TallyCore

/// Connects for one producer. From any thread.
final class Connector: Sendable {
    enum Outcome: Sendable {
        case connected(Handover)
        /// An attempt failed; more follow.
        case failed(RedisError)
    }

    /// A connection on its way to the loop that will own it.
    // @unchecked: the thread that made the connection does nothing more with it.
    struct Handover: @unchecked Sendable {
        let connection: RedisConnection
    }

    private enum Order: Sendable {
        case connect(after: RedisError?, @Sendable (Outcome) -> Void)
        case stop
    }

    private let mailbox: Mailbox<Order>
    private let thread: ServiceThread

    init(_ link: RedisLink) {
        let mailbox = Mailbox<Order>()
        self.mailbox = mailbox
        thread = ServiceThread(name: "redis-connect") {
            var pace = Pace()
            while case .connect(let failure, let tell) = mailbox.receive() {
                guard Self.connect(link, mailbox, after: failure, &pace, tell) else { return }
            }
        }
    }

    /// Tells `tell`, on the connector's thread, what comes of it. One at a time.
    ///
    /// - Parameter failure: what ended the connection before.
    func connect(after failure: RedisError?, _ tell: @escaping @Sendable (Outcome) -> Void) {
        mailbox.send(.connect(after: failure, tell))
    }

    /// Ends the thread and waits for it; once.
    func stop() {
        mailbox.send(.stop)
        thread.join()
    }

    /// How long to wait before the next attempt.
    private struct Pace {
        private var backoff = JitteredBackoff()
        private var random = SystemRandomNumberGenerator()
        /// When the last connection came about, in monotonic milliseconds.
        private var connectedAt: UInt64?

        mutating func connected() { connectedAt = MonotonicClock.milliseconds() }

        /// Before the first attempt for an order: 0, unless the last connection has just been made.
        mutating func begin() -> UInt64 {
            guard let connectedAt, MonotonicClock.milliseconds() < connectedAt + Limits.retryMillisecondsMax else {
                backoff.reset()
                return 0
            }
            return next()
        }

        mutating func next() -> UInt64 { backoff.next(using: &random) }
    }

    /// False when told to stop.
    private static func connect(
        _ link: RedisLink, _ mailbox: Mailbox<Order>, after failure: RedisError?, _ pace: inout Pace,
        _ tell: (Outcome) -> Void
    ) -> Bool {
        var told: RedisError?
        var wasOff = failure?.problems?.contains(.notAppendOnly) ?? false
        var milliseconds = pace.begin()
        while true {
            // Meanwhile nobody asks for another connection: whatever comes is the order to stop.
            if milliseconds > 0, mailbox.receive(waitingMilliseconds: milliseconds) != nil { return false }
            do throws(RedisError) {
                tell(.connected(Handover(connection: try RedisConnection(toFit: link, wasOff: wasOff))))
                pace.connected()
                return true
            } catch {
                if error.problems?.contains(.notAppendOnly) ?? false { wasOff = true }
                if told == nil || told?.problems != error.problems {
                    tell(.failed(error))
                    told = error
                }
            }
            milliseconds = pace.next()
        }
    }
}
