// How consumers are told to stop: a flag that is looked at between two steps, and that a pause wakes up for.

import Dispatch
import Synchronization

/// Set once, from any thread.
public final class StopRequest: Sendable {
    private let flag = Atomic<Bool>(false)
    private let wake = DispatchSemaphore(value: 0)

    public init() {}

    public var isSet: Bool { flag.load(ordering: .acquiring) }

    public func set() {
        flag.store(true, ordering: .releasing)
        wake.signal()
    }

    /// Waits so long, or until `set`.
    func wait(milliseconds: UInt64) {
        if isSet { return }
        if wake.wait(timeout: .now() + .milliseconds(Int(milliseconds))) == .success { wake.signal() }
    }
}
