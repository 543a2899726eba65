// Makes connections to Redis on a thread of its own, because resolving a name, connecting and asking whether this Redis
// is fit for the promises block. Failed attempts are repeated with jittered back-off until one succeeds; told are the
// first of them, and those that find something else wrong with a Redis than the one before. A connection that comes
// about does not end the back-off: one that has worked does (ReconnectPace).

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

    /// The connection before.
    struct Ended: Sendable {
        /// What ended it.
        var failure: RedisError?
        /// Whether it had answered real work.
        var hasWorked = false
    }

    private enum Order: Sendable {
        case connect(after: Ended, @Sendable (Outcome) -> Void)
        case stop
    }

    private let mailbox: Mailbox<Order>
    private let thread: ServiceThread

    init(_ link: RedisLink) {
        let mailbox = Mailbox<Order>()
        self.mailbox = mailbox
        thread = ServiceThread(name: "redis-connect") {
            var pace = ReconnectPace()
            while case .connect(let ended, let tell) = mailbox.receive() {
                guard Self.connect(link, mailbox, after: ended, &pace, tell) else { return }
            }
        }
    }

    /// Tells `tell`, on the connector's thread, what comes of it. One at a time.
    func connect(after ended: Ended, _ tell: @escaping @Sendable (Outcome) -> Void) {
        mailbox.send(.connect(after: ended, tell))
    }

    /// Ends the thread and waits for it; once.
    func stop() {
        mailbox.send(.stop)
        thread.join()
    }

    /// False when told to stop.
    private static func connect(
        _ link: RedisLink, _ mailbox: Mailbox<Order>, after ended: Ended, _ pace: inout ReconnectPace,
        _ tell: (Outcome) -> Void
    ) -> Bool {
        var told: RedisError?
        var random = SystemRandomNumberGenerator()
        var wasOff = ended.failure?.problems?.contains(.notAppendOnly) ?? false
        var milliseconds = pace.begin(afterWork: ended.hasWorked, using: &random)
        while true {
            // Meanwhile nobody asks for another connection: whatever comes is the order to stop.
            if milliseconds > 0, mailbox.receive(waitingMilliseconds: milliseconds) != nil { return false }
            do throws(RedisError) {
                tell(.connected(Handover(connection: try RedisConnection(toFit: link, wasOff: wasOff))))
                return true
            } catch {
                if error.problems?.contains(.notAppendOnly) ?? false { wasOff = true }
                if told == nil || told?.problems != error.problems {
                    tell(.failed(error))
                    told = error
                }
            }
            milliseconds = pace.next(using: &random)
        }
    }
}
