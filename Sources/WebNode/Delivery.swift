// The thread that owns one producer's Redis connection.
//
// It does what the loop says and nothing else: one flight at a time, sent as one pipeline. When the connection breaks
// it reports what is known, connects again with jittered back-off, and says so; until then no flight comes.

import Logging
import RedisQueue
import ServiceKit
import Synchronization
import TallyCore

/// One producer's connection, on a thread of its own.
final class Delivery: Sendable {
    enum Report: Sendable {
        case connected
        case disconnected(String)
        /// The answers are those of the commands, one by one.
        case landed([QueueCommand], [QueueAnswer])
    }

    private enum Order: Sendable {
        case fly([QueueCommand])
        case stop
    }

    private let link: RedisLink
    private let names: KeyNames
    private let mailbox = Mailbox<Order>()
    private let thread = Mutex<ServiceThread?>(nil)

    init(link: RedisLink, names: KeyNames) {
        self.link = link
        self.names = names
    }

    /// Connects, and reports to `report`, which is called on the delivery's thread.
    func start(_ report: @escaping @Sendable (Report) -> Void) {
        thread.withLock { thread in
            thread = ServiceThread(name: "delivery") { self.run(report) }
        }
    }

    /// Sends `commands`; `.landed` follows. Not before the last flight has landed.
    func send(_ commands: [QueueCommand]) {
        mailbox.send(.fly(commands))
    }

    /// Ends the thread after the flight under way and waits for it.
    func stop() {
        mailbox.send(.stop)
        let ended = thread.withLock { thread in
            defer { thread = nil }
            return thread
        }
        ended?.join()
    }

    private func run(_ report: (Report) -> Void) {
        while let queue = connect(report) {
            report(.connected)
            guard fly(over: queue, report) else { return }
        }
    }

    /// A connection, or nil when told to stop.
    private func connect(_ report: (Report) -> Void) -> ProducerQueue? {
        var backoff = JitteredBackoff()
        var random = SystemRandomNumberGenerator()
        var isReported = false
        while true {
            do throws(RedisError) {
                return ProducerQueue(connection: try RedisConnection(link), names: names)
            } catch {
                if !isReported { report(.disconnected(error.description)) }
                isReported = true
            }
            // While disconnected the loop sends no flight: whatever comes is the order to stop.
            if mailbox.receive(waitingMilliseconds: backoff.next(using: &random)) != nil { return nil }
        }
    }

    /// Flies until the connection breaks; false when told to stop.
    private func fly(over queue: ProducerQueue, _ report: (Report) -> Void) -> Bool {
        while case .fly(let commands) = mailbox.receive() {
            let landed = queue.deliver(commands)
            if !queue.isConnected { report(.disconnected(landed.failure?.description ?? "unknown")) }
            report(.landed(commands, landed.answers))
            if !queue.isConnected { return true }
        }
        return false
    }
}
