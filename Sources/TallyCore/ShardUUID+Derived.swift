// The identity of a shard that a change of epoch makes: known from the cluster file alone, before the file exists, so
// that its key group can be created first, by whoever begins the change and by whoever resumes it.
//
// Two XXH64 over the same 24 bytes, with the seeds 1 (high half) and 2 (low half):
//
//     offset  size
//          0    16  cluster id
//         16     4  epoch, little-endian
//         20     4  number of the partition, little-endian
//
// It is in files and in Redis, so the rule never changes. Shards of the first epoch have random identities. A copy has
// its original's identity either way; the lease's token and the file's watermarks tell them apart.

extension ShardUUID {
    /// The identity of the shard of `partition` that a change of epoch makes in `cluster`.
    public init(derivedFor partition: PartitionID, of cluster: ClusterID) {
        var bytes = cluster.bytes.array
        bytes.append(littleEndian: partition.epoch)
        bytes.append(littleEndian: partition.number)
        self.init(Bytes16(high: XXH64.hash(bytes, seed: 1), low: XXH64.hash(bytes, seed: 2)))
    }
}
