// What a node that stops leaves behind, for its last words.

import TallyCore

/// Increments that were admitted and that no shard has confirmed.
public struct Leftover: Hashable, Sendable {
    /// Batches in which they lie, those that are not frozen yet not counted.
    public private(set) var batches: UInt64 = 0
    public private(set) var bytes = 0
    public private(set) var partitions: Set<UInt32> = []
    /// Whether the Redis that is there now has confirmed all of them.
    public private(set) var isQueued = true

    init() {}

    init(_ delivery: Producer.Delivery, bytes: Int, isQueued: Bool) {
        batches = delivery.frozen - delivery.stored
        self.bytes = bytes
        partitions = Set(delivery.waiting.map(\.number))
        self.isQueued = isQueued
    }

    public var isEmpty: Bool { bytes == 0 }

    static func += (left: inout Leftover, right: Leftover) {
        left.batches += right.batches
        left.bytes += right.bytes
        left.partitions.formUnion(right.partitions)
        left.isQueued = left.isQueued && right.isQueued
    }
}
