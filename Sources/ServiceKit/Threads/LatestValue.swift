// A value that one thread makes again and again and another shows: only the newest counts, and the one who shows it
// waits for many things at once, so there is a descriptor to wait for.

import CPlatform
import Glibc
import Synchronization

/// The newest of a series of values, from any thread to one.
public final class LatestValue<Value: Sendable>: Sendable {
    /// Readable while a value waits, for `poll`.
    public let descriptor: Int32
    private let newest = Mutex<Value?>(nil)

    /// - Throws: exit code 1 if the system has no descriptor left.
    public init() throws(Failure) {
        descriptor = tm_waker()
        guard descriptor >= 0 else { throw Failure(cannot: "make a waker", errno: errno, code: .failure) }
    }

    deinit { SystemCall.close(descriptor) }

    /// Replaces a value that was not taken.
    public func send(_ value: Value) {
        newest.withLock { $0 = value }
        let woken = tm_wake(descriptor)
        precondition(woken == 0, "an open waker can be woken")
    }

    /// The newest value, once.
    public func take() -> Value? {
        _ = tm_wake_clear(descriptor)  // fails where nothing was waiting
        return newest.withLock { value in
            defer { value = nil }
            return value
        }
    }
}
