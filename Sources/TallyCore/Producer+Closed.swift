// Which partitions a producer takes nothing for, while it goes on with the others.

/// A partition that is closed to new increments.
public struct ClosedPartition: Hashable, Sendable {
    public let number: UInt32
    /// Why requests that touch it are turned away.
    public let refusal: Refusal

    public init(number: UInt32, refusal: Refusal) {
        self.number = number
        self.refusal = refusal
    }
}

extension Producer {
    /// In their order. What closes all partitions alike is told by `closedReason`.
    public var closedPartitions: [ClosedPartition] {
        var closed: [ClosedPartition] = []
        // In place, because it is asked after each flight: a copy of a channel holds on to all of its parts.
        for index in channels.indices where channels[index].gate != .open {
            guard let refusal = channels[index].refusal else { continue }
            closed.append(ClosedPartition(number: channels[index].stream.partition.number, refusal: refusal))
        }
        return closed
    }

    /// Whether no partition takes anything.
    public var isEveryPartitionClosed: Bool {
        !channels.isEmpty && closedPartitions.count == channels.count
    }
}
