// How far a producer's batches have come, for a shell that waits until all of them are stored and wants to say what
// they wait for if they never are.

extension Producer {
    /// What is under way in the current epoch. A move starts the counts anew.
    public struct Delivery: Hashable, Sendable {
        /// Batches frozen, confirmed by Redis at least once, and confirmed by a shard.
        public internal(set) var frozen: UInt64 = 0
        public internal(set) var queued: UInt64 = 0
        public internal(set) var stored: UInt64 = 0
        /// Partitions with increments that no shard has confirmed.
        public internal(set) var waiting: [PartitionID] = []
        /// Those among them that Redis takes nothing for, and why.
        public internal(set) var obstacles: [Refusal] = []
    }

    public var delivery: Delivery {
        var delivery = Delivery()
        for channel in channels {
            delivery.frozen += channel.nextSequence - 1
            delivery.queued += channel.resolvedThrough
            delivery.stored += channel.floor
            guard channel.heldBytes > 0 else { continue }
            delivery.waiting.append(channel.stream.partition)
            if let refusal = channel.refusal { delivery.obstacles.append(refusal) }
        }
        return delivery
    }
}
