// Which epoch is current and how many partitions it has: the copy that Redis publishes for nodes.
//
// Text: {"cluster":"<32 hex digits>","epoch":1,"partitions":4}

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

    public var json: String {
        #"{"cluster":"\#(cluster)","epoch":\#(epoch),"partitions":\#(partitions)}"#
    }

    /// - Throws: `ClusterFileError` that says what is wrong with the text.
    public init(json: [UInt8]) throws(ClusterFileError) {
        let fields = try ClusterFields(json)
        guard let cluster = fields.cluster else { throw .missing("cluster") }
        guard let epoch = fields.epoch else { throw .missing("epoch") }
        guard let partitions = fields.partitions else { throw .missing("partitions") }
        self.init(cluster: cluster, epoch: epoch, partitions: partitions)
    }
}
