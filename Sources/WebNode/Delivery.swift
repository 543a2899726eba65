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

    private let producer: ProducerID
    private let link: RedisLink
    private let logger: Logger
    private let mailbox = Mailbox<Order>()
    private let isStopping = Atomic<Bool>(false)
    private let thread = Mutex<ServiceThread?>(nil)

    init(producer: ProducerID, link: RedisLink, logger: Logger) {
        self.producer = producer
        self.link = link
        self.logger = logger
    }

    /// Connects, and reports to `report`, which is called on this thread.
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
        isStopping.store(true, ordering: .releasing)
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
}
