// How long idempotency keys are kept: the one setting of a consumer that may change while it runs.

import Synchronization

/// Shared by the consumers of a process and who configures them.
public final class IdempotencyRetention: Sendable {
    private static let forever = UInt64.max
    private let value: Atomic<UInt64>

    /// - Parameter milliseconds: nil keeps them for ever.
    public init(milliseconds: UInt64?) {
        value = Atomic(milliseconds ?? Self.forever)
    }

    /// nil: for ever.
    public var milliseconds: UInt64? {
        get {
            let milliseconds = value.load(ordering: .relaxed)
            return milliseconds == Self.forever ? nil : milliseconds
        }
        set { value.store(newValue ?? Self.forever, ordering: .relaxed) }
    }
}
