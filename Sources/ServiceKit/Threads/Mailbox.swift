// How messages reach a thread that blocks: an unbounded queue with a semaphore. Who sends bounds how much is under way.

import Dispatch
import Synchronization

/// Messages from any thread to one.
public final class Mailbox<Message: Sendable>: Sendable {
    private let messages = Mutex<[Message]>([])
    private let available = DispatchSemaphore(value: 0)

    public init() {}

    /// Never blocks for longer than another caller's append.
    public func send(_ message: Message) {
        messages.withLock { $0.append(message) }
        available.signal()
    }

    /// The oldest message, waited for.
    public func receive() -> Message {
        available.wait()
        return messages.withLock { $0.removeFirst() }
    }

    /// The oldest message, or nil if none comes within `milliseconds`.
    public func receive(waitingMilliseconds milliseconds: UInt64) -> Message? {
        guard available.wait(timeout: .now() + .milliseconds(Int(milliseconds))) == .success else { return nil }
        return messages.withLock { $0.removeFirst() }
    }
}
