// Makes connections to Redis on a thread of its own, because resolving a name, connecting and asking whether this Redis
// is fit for the promises block. Failed attempts are repeated with jittered back-off until one succeeds; told are the
// first of them, and those that find something else wrong with a Redis than the one before.

import RedisQueue
import ServiceKit

/// Connects for one producer. From any thread.
final class Connector: Sendable {
    enum Outcome: Sendable {
        case connected(Handover)
        /// An attempt failed; more follow.
        case failed(RedisError)
    }

    /// A connection on its way to the loop that will own it.
    // @unchecked: the thread that made the connection keeps no reference to it.
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
            while case .connect(let failure, let tell) = mailbox.receive() {
                guard Self.connect(link, mailbox, after: failure, tell) else { return }
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

    /// False when told to stop.
    private static func connect(
        _ link: RedisLink, _ mailbox: Mailbox<Order>, after failure: RedisError?, _ tell: (Outcome) -> Void
    ) -> Bool {
        var backoff = JitteredBackoff()
        var random = SystemRandomNumberGenerator()
        var told: RedisError?
        var wasOff = failure?.problems?.contains(.notAppendOnly) ?? false
        while true {
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
            // Meanwhile nobody asks for another connection: whatever comes is the order to stop.
            if mailbox.receive(waitingMilliseconds: backoff.next(using: &random)) != nil { return false }
        }
    }
}
