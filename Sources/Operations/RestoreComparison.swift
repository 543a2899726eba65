// What would be missing if a backup were put in place: a backup against the queues of Redis, and against the files that
// it would replace.
//
// A queue remembers how far each producer's batches were committed before they were taken from it (`applied`), a file
// holds them. What lies above a backup's watermark and is in no list was committed and removed after the backup: no
// node holds it any more, so it is lost if the backup takes the place of the file that has it. The files tell what a
// Redis that lost its keys cannot, and how much it is. Nothing is changed here, in Redis or elsewhere.

import RedisQueue
public import ServiceKit
import ShardConsumer
import ShardStore
public import TallyCore

/// A backup seen from Redis and from the files that are here.
public struct RestoreComparison: Hashable, Sendable {
    /// By partition and producer; empty if nothing would be lost.
    public private(set) var missing: [MissingBatches] = []
    /// What has to be written down as lost if the backup is put in place all the same.
    public private(set) var losses: [StreamLoss] = []
    /// What is missing behind batches that wait in a list: those have to be counted first.
    public var unwritten: [MissingBatches] { missing.filter { !$0.isNext } }
    /// Whether clients may still be waiting for some of it: see ClientWait.
    public var mayBeAwaited: Bool { missing.mayBeAwaited }
    /// Partitions that have no keys in this Redis: `repair` is due once the backup is in place.
    public private(set) var partitionsWithoutKeys = 0
    /// Consumers that hold a lease, such as "partition 3: host:123"; without those of this machine that have ended, if
    /// it was one of the files that would be replaced.
    public private(set) var holders: [String] = []
    /// Files that would be replaced and cannot be read, each with the reason.
    public private(set) var unread: [String] = []

    /// Looks at the partitions of the backup.
    ///
    /// - Parameters:
    ///   - access: nil if there is no Redis.
    ///   - folder: whose files would be replaced, or were put aside by a restore that was interrupted then.
    ///   - partitions: that are restored; nil for all of them.
    /// - Throws: 69 if Redis is unreachable; 78 if it belongs to another cluster, has a newer epoch, or knows another
    ///   file for a partition; 65; 74.
    public init(
        _ backup: BackupFolder, _ access: RedisAccess?, replacing folder: DataFolder? = nil,
        partitions: [UInt32]? = nil
    ) throws(Failure) {
        let keys = try access.map { access throws(Failure) in try Self.keys(access, backup) } ?? nil
        for (number, partition) in backup.manifest.topology.partitionIDs.enumerated()
        where partitions?.contains(partition.number) ?? true {
            var look = QueueReading.none
            // A Redis without our functions has no keys of ours, or none that can be read safely.
            if let keys, let found = try self.look(at: partition, backup, number, keys, folder) {
                look = found
            } else {
                partitionsWithoutKeys += 1
            }
            let partitions = backup.manifest.topology.partitions
            let replaced = try folder.map { folder throws(Failure) in try folder.holder(of: partition, of: partitions) }
            try compare(backup, number, look, replacing: replaced.flatMap { records(in: $0, backup, number) })
        }
    }

    private static func keys(_ access: RedisAccess, _ backup: BackupFolder) throws(Failure) -> ClusterKeys? {
        let connection = try access.connect(waitingMilliseconds: 0, needsLibrary: false)
        let hasLibrary = try onRedis { () throws(RedisError) in
            try FunctionLibrary.loadedRevision(in: connection) != nil
        }
        let keys = ClusterKeys(connection: connection, names: access.names)
        let published = try onRedis { () throws(RedisError) in try keys.readTopology() }
        try compare(backup.manifest.topology, with: published, access)
        return hasLibrary ? keys : nil
    }

    /// nil if the partition has no keys.
    private mutating func look(
        at partition: PartitionID, _ backup: BackupFolder, _ number: Int, _ keys: ClusterKeys, _ folder: DataFolder?
    ) throws(Failure) -> QueueReading? {
        guard case .group(let group) = try onRedis({ () throws(RedisError) in try keys.inspect(partition) }) else {
            return nil
        }
        let shard = backup.manifest.shards[number]
        guard group.shard == shard.uuid else {
            throw Failure(
                .configuration,
                "partition \(partition.number) in Redis belongs to shard \(group.shard), the backup has "
                    + "\(shard.uuid)",
                at: backup.path(of: shard), advice: "Use a backup of this cluster, or the Redis that it belongs to.")
        }
        let lock = folder.map { $0.shardPath(partition, of: backup.manifest.topology.partitions) + ".lock" }
        if let lease = group.lease, lease.isLive, !(lock.map { lease.isLeftBehind(lock: $0) } ?? false) {
            holders.append("partition \(partition.number): \(lease.owner)")
        }
        return try QueueReading(partition, keys, isWhole: false)
    }

    /// What the file of a folder holds; nil if there is none, or it cannot be read.
    private mutating func records(
        in folder: DataFolder, _ backup: BackupFolder, _ number: Int
    ) -> [ProducerID: StreamSum]? {
        let expected = backup.expectation(number)
        let path = folder.shardPath(expected.partition, of: expected.partitions)
        guard Folder.exists(path) else { return nil }
        do throws(Failure) {
            return try onStore { () throws(StoreError) in
                try StreamSum.all(in: ShardReader(at: path, expecting: expected), of: expected.partition)
            }
        } catch {
            unread.append(error.sentence)
            return nil
        }
    }

    private mutating func compare(
        _ backup: BackupFolder, _ number: Int, _ look: QueueReading, replacing replaced: [ProducerID: StreamSum]?
    ) throws(Failure) {
        let expected = backup.expectation(number)
        let path = backup.path(of: backup.manifest.shards[number])
        let own = try onStore { () throws(StoreError) in
            try StreamSum.all(in: ShardReader(copyAt: path, expecting: expected), of: expected.partition)
        }
        let found = MissingBatches.find(
            look, watermarks: own.mapValues(\.watermark), replacing: (replaced ?? [:]).mapValues(\.watermark),
            in: expected.partition)
        missing += found
        losses += found.filter(\.isNext).map { range in
            let producer = range.stream.producer
            var amount: Amount?
            if let there = replaced?[producer], there.watermark == range.sequences.upperBound,
                let through = there.through
            {
                amount = own[producer].map { own in own.through.map { through - $0 } } ?? through
            }
            return StreamLoss(stream: range.stream, sequences: range.sequences, amount: amount)
        }
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
}

/// How far a file has a stream, and what that adds up to.
private struct StreamSum {
    let watermark: UInt64
    /// nil if something was lost of which nobody knows yet how much it was.
    let through: Amount?

    static func all(
        in reader: ShardReader, of partition: PartitionID
    ) throws(StoreError) -> [ProducerID: StreamSum] {
        let losses = try reader.losses().byProducer(of: partition)
        var sums: [ProducerID: StreamSum] = [:]
        for (producer, record) in try reader.records(of: partition) {
            let isKnown = losses[producer]?.unknownBatches ?? 0 == 0
            sums[producer] = StreamSum(watermark: record.watermark, through: isKnown ? record.through : nil)
        }
        return sums
    }
}
