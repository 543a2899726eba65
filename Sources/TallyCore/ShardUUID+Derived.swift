// The identity of a shard that a change of epoch makes: known from the cluster file alone, before the file exists, so
// that its key group can be created first, by whoever begins the change and by whoever resumes it.
//
// Two XXH64 over the same 24 bytes, or 40, with the seeds 1 (high half) and 2 (low half):
//
//     offset  size
//          0    16  cluster id
//         16     4  epoch, little-endian
//         20     4  number of the partition, little-endian
//         24    16  id of the change, unless an earlier release began it
//
// It is in files and in Redis, so the rule never changes. Shards of the first epoch have random identities. A copy has
// its original's identity either way; the lease's token and the file's watermarks tell them apart.

extension ShardUUID {
    /// The identity of the shard of `partition` that a change of epoch makes in `cluster`.
    ///
    /// - Parameter change: the id of the change; nil if an earlier release began it.
    public init(derivedFor partition: PartitionID, of cluster: ClusterID, change: Bytes16? = nil) {
        var bytes = cluster.bytes.array
        bytes.append(littleEndian: partition.epoch)
        bytes.append(littleEndian: partition.number)
        if let change { bytes.append(contentsOf: change.array) }
        self.init(Bytes16(high: XXH64.hash(bytes, seed: 1), low: XXH64.hash(bytes, seed: 2)))
    }
}
