// What would be missing if a backup were put in place: a backup against the queues of Redis.
//
// A queue remembers how far each producer's batches were committed before they were taken from it (`applied`). What
// lies above a backup's watermark was committed and removed after the backup: no queue and no node holds it any more,
// so it is lost if the backup takes the place of the file that has it. Nothing is changed here, in Redis or elsewhere.

import RedisQueue
public import ServiceKit
import ShardConsumer
import ShardStore
public import TallyCore

/// A backup seen from Redis.
public struct RestoreComparison: Hashable, Sendable {
    /// Batches that would be lost.
    public struct Missing: Hashable, Sendable, CustomStringConvertible {
        public let partition: PartitionID
        public let range: Consumer.MissingRange

        public var batches: UInt64 { range.sequences.upperBound - range.sequences.lowerBound + 1 }

        public var description: String {
            let (first, last) = (range.sequences.lowerBound, range.sequences.upperBound)
            return "partition \(partition.number): \(Humanized.count(batches)) "
                + (batches == 1 ? "batch" : "batches") + " of producer \(range.producer), "
                + (first == last ? "sequence \(first)" : "sequences \(first)-\(last)")
        }
    }

    /// By partition and producer; empty if nothing would be lost.
    public let missing: [Missing]
    /// Partitions that have no keys in this Redis: `repair` is due once the backup is in place.
    public let partitionsWithoutKeys: Int
    /// Consumers that hold a lease, such as "partition 3: host:123".
    public let holders: [String]

    /// Looks at all partitions of the backup.
    ///
    /// - Throws: 69 if Redis is unreachable; 78 if it belongs to another cluster, has a newer epoch, or knows another
    ///   file for a partition; 65; 74.
    public init(_ backup: BackupFolder, _ access: RedisAccess) throws(Failure) {
        let connection = try access.connect(waitingMilliseconds: 0, needsLibrary: false)
        let hasLibrary = try onRedis { () throws(RedisError) in
            try FunctionLibrary.loadedRevision(in: connection) != nil
        }
        let keys = ClusterKeys(connection: connection, names: access.names)
        let topology = backup.manifest.topology
        try Self.compare(topology, with: try onRedis { () throws(RedisError) in try keys.readTopology() }, access)
        var missing: [Missing] = []
        var without = 0
        var holders: [String] = []
        for (number, partition) in topology.partitionIDs.enumerated() {
            // A Redis without our functions has no keys of ours, or none that can be read safely.
            let reply =
                hasLibrary
                ? try onRedis { () throws(RedisError) in try keys.inspect(partition) } : InspectReply.noTopology
            guard case .group(let group) = reply else {
                without += 1
                continue
            }
            let shard = backup.manifest.shards[number]
            guard group.shard == shard.uuid else {
                throw Failure(
                    .configuration,
                    "partition \(partition.number) in Redis belongs to shard \(group.shard), the backup has "
                        + "\(shard.uuid)",
                    at: backup.path(of: shard), advice: "Use a backup of this cluster, or the Redis that it belongs to."
                )
            }
            if let lease = group.lease, lease.millisecondsLeft > 0 {
                holders.append("partition \(partition.number): \(lease.owner)")
            }
            let applied = try onRedis { () throws(RedisError) in try keys.watermarks(of: partition) }
            missing += try Self.missing(applied, in: backup, number)
        }
        self.missing = missing
        partitionsWithoutKeys = without
        self.holders = holders
    }

    private static func compare(_ topology: Topology, with published: Topology?, _ access: RedisAccess) throws(Failure)
    {
        guard let published, published != topology else { return }
        if published.cluster != topology.cluster {
            throw Failure(
                .configuration, "this Redis belongs to cluster \(published.cluster), the backup to \(topology.cluster)",
                at: "\(access.link.url)",
                advice: "Name the Redis of the backup's cluster, an empty one, or another --namespace.")
        }
        throw Failure(
            .configuration,
            "Redis publishes epoch \(published.epoch) with \(published.partitions) partitions, the backup has epoch "
                + "\(topology.epoch) with \(topology.partitions)", at: "\(access.link.url)",
            advice:
                "Use a backup that was made after the rebalance: nodes have moved on, and an epoch never comes back.")
    }

    private static func missing(
        _ applied: [ProducerID: UInt64], in backup: BackupFolder, _ number: Int
    ) throws(Failure) -> [Missing] {
        let path = backup.path(of: backup.manifest.shards[number])
        let expected = backup.expectation(number)
        return try onStore { () throws(StoreError) in
            let records = try ShardReader(copyAt: path, expecting: expected).records(of: expected.partition)
            return Consumer.MissingRange.between(applied, and: records.mapValues(\.watermark)).map {
                Missing(partition: expected.partition, range: $0)
            }
        }
    }
}
