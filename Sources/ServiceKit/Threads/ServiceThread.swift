// A thread for blocking calls. Redis and SQLite block; an event loop and Swift's own thread pool must not, so each
// connection and each shard gets a thread of its own, with a name that `top -H` and a debugger show.

import CPlatform
import Glibc
import Synchronization

/// A started thread. Who needs its end joins it; one that is let go of without goes on, and what the system keeps of it
/// is given back when it ends.
public final class ServiceThread: Sendable {
    // A pthread_t is a plain number on Linux; it is written once, before anybody can see it.
    private let handle: pthread_t
    private let isJoined = Atomic<Bool>(false)

    /// Starts `body` on a new thread.
    ///
    /// - Parameter name: shown by the system; its first 15 bytes count.
    public init(name: String, _ body: @escaping @Sendable () -> Void) {
        let box = Unmanaged.passRetained(Body(name: name, run: body))
        var thread = pthread_t()
        let code = pthread_create(
            &thread, nil,
            { pointer in
                guard let pointer else { return nil }
                let body = Unmanaged<Body>.fromOpaque(pointer).takeRetainedValue()
                _ = tm_name_thread(body.name)  // a name that cannot be set is no reason to stop
                body.run()
                return nil
            }, box.toOpaque())
        precondition(code == 0, "the system has no room for another thread: \(code)")
        handle = thread
    }

    deinit {
        if !isJoined.load(ordering: .relaxed) { pthread_detach(handle) }
    }

    /// Waits for the end of the thread; once.
    public func join() {
        let wasJoined = isJoined.exchange(true, ordering: .relaxed)
        precondition(!wasJoined, "a thread can be joined once")
        let code = pthread_join(handle, nil)
        precondition(code == 0, "a thread cannot be joined by itself: \(code)")
    }

    private final class Body: Sendable {
        let name: String
        let run: @Sendable () -> Void

        init(name: String, run: @escaping @Sendable () -> Void) {
            self.name = name
            self.run = run
        }
    }
}
