// The published copy of what the cluster file says, for nodes: which epoch is current and how many partitions it has.

/// Cluster, epoch and K.
public struct Topology: Hashable, Sendable {
    public let cluster: ClusterID
    /// From 1; never lowered.
    public let epoch: UInt32
    /// K, 1...`Limits.partitionsMax`.
    public let partitions: Int

    public init(cluster: ClusterID, epoch: UInt32, partitions: Int) {
        precondition(epoch >= 1 && (1...Limits.partitionsMax).contains(partitions))
        self.cluster = cluster
        self.epoch = epoch
        self.partitions = partitions
    }

    public var partitioner: Partitioner { Partitioner(partitions: partitions) }

    /// All partitions of the epoch, in order.
    public var partitionIDs: [PartitionID] {
        (0..<UInt32(partitions)).map { PartitionID(epoch: epoch, number: $0) }
    }
}
