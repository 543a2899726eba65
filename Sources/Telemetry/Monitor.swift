// The thread that watches a role: once a second it looks, puts what it saw on the board, tells systemd, and feeds
// systemd's watchdog if the work itself has moved on. A role whose work hangs is not fed and is started again.

import HTTPFront
public import Logging
public import ServiceKit
import Synchronization

/// What was seen last, for the admin listener.
public final class StatusBoard: Sendable {
    private let latest = Mutex<(any Look)?>(nil)

    public init() {}

    /// nil before the first look has ended.
    public var look: (any Look)? { latest.withLock { $0 } }

    func put(_ look: any Look) {
        latest.withLock { $0 = look }
    }
}

/// Watches a role until `stop`.
public final class Monitor: Sendable {
    private static let intervalMilliseconds: UInt64 = 1_000

    private enum Order: Sendable { case stop }

    private let mailbox: Mailbox<Order>
    private let thread: ServiceThread

    /// - Parameter makeObserver: called on the monitor's thread, which alone uses the observer.
    public init(
        board: StatusBoard, notify: Notify, logger: Logger, _ makeObserver: @escaping @Sendable () -> any Observer
    ) {
        let mailbox = Mailbox<Order>()
        self.mailbox = mailbox
        thread = ServiceThread(name: "monitor") {
            let observer = makeObserver()
            var reporter = Reporter(notify: notify, logger: logger)
            repeat {
                let look = observer.look()
                reporter.report(look)
                board.put(look)
            } while mailbox.receive(waitingMilliseconds: Self.intervalMilliseconds) == nil
        }
    }

    /// Ends the thread and waits for it; once, and before what it observes is ended.
    public func stop() {
        mailbox.send(.stop)
        thread.join()
    }
}

/// Tells the supervisor what was seen.
private struct Reporter {
    let notify: Notify
    let logger: Logger
    private var toldLine: String?
    private var hasFailed = false

    init(notify: Notify, logger: Logger) {
        self.notify = notify
        self.logger = logger
    }

    mutating func report(_ look: any Look) {
        do throws(Failure) {
            if look.line != toldLine { try notify.status(look.line) }
            toldLine = look.line
            if look.hasProgressed { try notify.watchdog() }
            hasFailed = false
        } catch {
            // Once an outage: the work goes on without its supervisor knowing.
            if !hasFailed { logger.warning("systemd is not told", metadata: error.metadata) }
            hasFailed = true
        }
    }
}
