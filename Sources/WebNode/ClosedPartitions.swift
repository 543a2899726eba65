// What the log is told about partitions that take nothing: one line when one closes, one when it is open again.
//
// A full list opens for a moment whenever its consumer has taken a batch. So a partition counts as open again when it
// has stayed open for a while, and a reason is told once, however its numbers change.

import TallyCore

/// The partitions of one producer that the log knows to be closed.
struct ClosedPartitions {
    /// Something for the log.
    enum Change: Hashable {
        case closed(ClosedPartition)
        case opened(UInt32)
    }

    private struct Told {
        var reason: RefusalReason
        /// Since when it is open, in monotonic milliseconds; nil while it is closed.
        var openSince: UInt64?
    }

    static let openMilliseconds: UInt64 = 1_000
    private var told: [UInt32: Told] = [:]

    var isEmpty: Bool { told.isEmpty }

    /// What is new, in the order of the partitions.
    ///
    /// - Parameters:
    ///   - closed: those that are closed now.
    ///   - now: monotonic milliseconds.
    mutating func changes(_ closed: [ClosedPartition], now: UInt64) -> [Change] {
        if closed.isEmpty, told.isEmpty { return [] }
        var changes: [Change] = []
        var stillClosed: Set<UInt32> = []
        for partition in closed {
            stillClosed.insert(partition.number)
            let reason = RefusalReason(partition.refusal)
            if told[partition.number]?.reason != reason { changes.append(.closed(partition)) }
            told[partition.number] = Told(reason: reason)
        }
        for (number, state) in told.sorted(by: { $0.key < $1.key }) where !stillClosed.contains(number) {
            let since = state.openSince ?? now
            told[number]?.openSince = since
            guard now >= since + Self.openMilliseconds else { continue }
            told[number] = nil
            changes.append(.opened(number))
        }
        return changes
    }
}
