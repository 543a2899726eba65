// Signals as values. Handlers may run at any instruction and may do almost nothing; instead the signals are
// blocked in every thread and read from a descriptor by the one thread that decides about stopping.
//
// `SignalWaiter` must be created before any other thread: threads inherit the mask of the one that starts them.

import CPlatform
import Glibc

/// A signal that arrived.
public struct SignalEvent: Hashable, Sendable {
    public enum Kind: Hashable, Sendable {
        /// SIGTERM: a supervisor asks for an end.
        case terminate
        /// SIGINT: Ctrl-C.
        case interrupt
        /// SIGHUP: read the configuration again, or the terminal is gone.
        case hangup
        /// SIGWINCH: the terminal has another size. Only for who asked for it.
        case resize
    }

    public let kind: Kind
    /// How many SIGTERM and SIGINT have been read so far, this one included: 1 asks for an orderly end, 2 and more
    /// for an immediate one. Two that arrive before the first is read may count as one: the system keeps one of
    /// each kind.
    public let stopRequests: Int
}

/// Blocks SIGINT, SIGTERM and SIGHUP, ignores SIGPIPE, and hands the former out one by one.
///
/// Owned by one thread, for as long as the process lives.
public final class SignalWaiter {
    /// Readable while a signal waits; for `poll` together with other descriptors.
    public let descriptor: Int32
    private var stopRequests = 0

    /// Keeps the signals that a waiter hands out until there is one, in this thread and those that it starts.
    public static func block() {
        var set = handled
        let masked = pthread_sigmask(SIG_BLOCK, &set, nil)
        precondition(masked == 0, "pthread_sigmask fails only for a wrong request")
    }

    /// - Parameter watchesSize: hand out SIGWINCH, too.
    /// - Throws: exit code 1 if the system has no descriptor left.
    public init(watchesSize: Bool = false) throws(Failure) {
        var set = Self.handled
        if watchesSize { sigaddset(&set, SIGWINCH) }
        let masked = pthread_sigmask(SIG_BLOCK, &set, nil)
        precondition(masked == 0, "pthread_sigmask fails only for a wrong request")
        signal(SIGPIPE, SIG_IGN)
        descriptor = tm_signalfd(&set)
        guard descriptor >= 0 else { throw Failure(cannot: "wait for signals", errno: errno, code: .failure) }
    }

    deinit { SystemCall.close(descriptor) }

    /// The next signal.
    ///
    /// - Parameter timeoutMilliseconds: nil waits for ever, 0 only looks.
    /// - Returns: nil when none came in time.
    public func wait(timeoutMilliseconds: Int? = nil) throws(Failure) -> SignalEvent? {
        switch SystemCall.waitReadable(descriptor, timeoutMilliseconds: timeoutMilliseconds) {
        case .done(false): return nil
        case .done(true): break
        case .failed(let number): throw Failure(cannot: "wait for signals", errno: number, code: .failure)
        }
        let number = tm_signalfd_read(descriptor)
        guard number >= 0 else { throw Failure(cannot: "read a signal", errno: errno, code: .failure) }
        if number == SIGWINCH { return SignalEvent(kind: .resize, stopRequests: stopRequests) }
        guard let kind = Self.kinds[number] else { return nil }
        if kind != .hangup { stopRequests += 1 }
        return SignalEvent(kind: kind, stopRequests: stopRequests)
    }

    private static let kinds: [Int32: SignalEvent.Kind] = [
        SIGTERM: .terminate, SIGINT: .interrupt, SIGHUP: .hangup,
    ]

    /// SIGINT, SIGTERM and SIGHUP.
    static var handled: sigset_t {
        var set = sigset_t()
        sigemptyset(&set)
        for number in kinds.keys { sigaddset(&set, number) }
        return set
    }
}
