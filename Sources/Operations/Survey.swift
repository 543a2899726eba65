// What Redis shows, compared with the cluster file: which of it `repair` mends, and which it must not touch.
//
// It only looks, with commands that every Redis has, so that it can be made before anything is loaded or asked. The
// cluster file is the authority: what it says and Redis does not have is due. What Redis has and the file cannot
// explain (a higher epoch, another cluster) means that this folder is the wrong one, and stops every tool.

import RedisQueue
public import ServiceKit
import ShardConsumer
import ShardStore
public import TallyCore

/// One look at a cluster file and its Redis.
public struct Survey: Sendable {
    /// Something that `repair` does.
    public enum Due: Hashable, Sendable, CustomStringConvertible {
        /// nil: not loaded.
        case library(revision: Int?)
        /// nil: none is published.
        case topology(published: Topology?, wanted: Topology)
        case groups([PartitionID])
        /// A change of epoch was interrupted.
        case building(Topology)
        /// Batches of an earlier epoch that no shard may have.
        case oldList(PartitionID, batches: Int, bytes: Int)
        /// Key groups of an earlier epoch that still take batches.
        case unsealed([PartitionID])
    }

    public let file: ClusterFile
    public private(set) var due: [Due] = []
    /// Key groups of earlier epochs that are sealed and empty.
    public private(set) var collectable: [PartitionID] = []
    /// What no repair mends; the first of them stops it.
    public private(set) var obstacles: [Failure] = []

    /// Whether Redis shows nothing of the cluster: it has lost all of it, or it is another one.
    var isNothingThere: Bool {
        var missing = 0
        for case .groups(let partitions) in due { missing += partitions.count }
        return file.state == .ready && missing == file.topology.partitions
            && due.contains { if case .topology(nil, _) = $0 { true } else { false } }
    }

    /// Whether Redis has the functions of this release.
    var canAsk: Bool {
        !due.contains { if case .library = $0 { true } else { false } }
    }

    /// - Throws: 69 if Redis is unreachable.
    init(_ folder: DataFolder, _ file: ClusterFile, _ connection: RedisConnection, _ names: KeyNames) throws(Failure) {
        self.file = file
        let keys = ClusterKeys(connection: connection, names: names)
        try lookAtLibrary(connection)
        try lookAtTopology(keys, folder, names)
        try lookAtGroups(keys, folder, names)
        if file.state == .building { due.append(.building(file.topology)) }
        try lookAtEarlierEpochs(keys)
    }

    private mutating func lookAtLibrary(_ connection: RedisConnection) throws(Failure) {
        let revision = try onRedis { () throws(RedisError) in try FunctionLibrary.loadedRevision(in: connection) }
        if revision ?? 0 < FunctionLibrary.revision { due.append(.library(revision: revision)) }
    }

    private mutating func lookAtTopology(
        _ keys: ClusterKeys, _ folder: DataFolder, _ names: KeyNames
    ) throws(Failure) {
        let wanted = file.topology
        let published: Topology?
        do throws(RedisError) {
            published = try keys.readTopology()
        } catch .protocolViolation(let text) {
            obstacles.append(
                Failure(
                    .configuration, text, at: names.topology,
                    advice: "Unless a newer release wrote it: delete this key with redis-cli, then run this again."))
            return
        } catch {
            throw Failure(error)
        }
        guard let published else { return due.append(.topology(published: nil, wanted: wanted)) }
        if published.cluster != wanted.cluster {
            obstacles.append(.foreignRedis(published.cluster, at: names.topology, own: wanted.cluster))
        } else if published.epoch > wanted.epoch {
            obstacles.append(.olderFolder(published, wanted, folder))
        } else if published.epoch < wanted.epoch {
            due.append(.topology(published: published, wanted: wanted))
        } else if published.partitions != wanted.partitions {
            obstacles.append(
                Failure(
                    .configuration,
                    "epoch \(wanted.epoch) has \(published.partitions) partitions in Redis, \(wanted.partitions) in"
                        + " the cluster file",
                    at: folder.clusterFilePath,
                    advice: "Put back the copy of the data folder that belongs to this Redis."))
        }
    }

    private mutating func lookAtGroups(
        _ keys: ClusterKeys, _ folder: DataFolder, _ names: KeyNames
    ) throws(Failure) {
        var missing: [PartitionID] = []
        for partition in file.topology.partitionIDs {
            let glance = try onRedis { () throws(RedisError) in try keys.glance(partition) }
            guard let group = glance.group else {
                if glance.hasRest { obstacles.append(.restOfAGroup(names.group(of: partition).meta)) }
                missing.append(partition)
                continue
            }
            if group.sealed { obstacles.append(.sealedAhead(partition, folder)) }
            let uuid = folder.shardUUIDIfHere(partition, of: file)
            if let uuid, let found = group.shard, uuid != found {
                obstacles.append(.otherShard(partition, found: found, expected: uuid, folder, file))
            }
        }
        if !missing.isEmpty { due.append(.groups(missing)) }
    }

    private mutating func lookAtEarlierEpochs(_ keys: ClusterKeys) throws(Failure) {
        var unsealed: [PartitionID] = []
        for partition in file.earlier.flatMap(\.partitionIDs) {
            let glance = try onRedis { () throws(RedisError) in try keys.glance(partition) }
            guard let group = glance.group else { continue }
            if glance.length > 0 {
                due.append(.oldList(partition, batches: glance.length, bytes: group.bytes))
            } else if group.sealed {
                collectable.append(partition)
            } else {
                unsealed.append(partition)
            }
        }
        if !unsealed.isEmpty { due.append(.unsealed(unsealed)) }
    }
}

extension Survey.Due {
    /// What is wrong, as a sentence without a full stop.
    public var description: String {
        switch self {
        case .library(nil): "the functions are not loaded in Redis"
        case .library(let revision?):
            "the functions in Redis have revision \(revision), this release brings \(FunctionLibrary.revision)"
        case .topology(nil, let wanted): "Redis publishes no topology, the cluster file says epoch \(wanted.epoch)"
        case .topology(let published?, let wanted):
            "Redis publishes epoch \(published.epoch), the cluster file says \(wanted.epoch)"
        case .groups(let partitions): "\(Self.names(partitions)) no keys in Redis"
        case .building(let topology):
            "epoch \(topology.epoch) with \(Humanized.count(topology.partitions, "partition")) is being built"
        case .oldList(let partition, let batches, let bytes):
            "\(Humanized.batches(batches)) (\(Humanized.bytes(bytes))) of "
                + "epoch \(partition.epoch) \(batches == 1 ? "lies" : "lie") in the old list of partition "
                + "\(partition.number)"
        case .unsealed(let partitions):
            "the old lists of \(partitions.map { "\($0)" }.joined(separator: ", ")) still take batches"
        }
    }

    private static func names(_ partitions: [PartitionID]) -> String {
        let numbers = PartitionList.text(partitions.map(\.number))
        let epoch = partitions.first.map { " of epoch \($0.epoch)" } ?? ""
        return partitions.count == 1 ? "partition \(numbers)\(epoch) has" : "partitions \(numbers)\(epoch) have"
    }
}

extension DataFolder {
    /// The identity of a partition's shard of the file's epoch, as far as this host knows it: the shards of a first
    /// epoch have random ones, and may lie on another host.
    func shardUUIDIfHere(_ partition: PartitionID, of file: ClusterFile) -> ShardUUID? {
        let location = shard(partition.number, of: file.topology)
        // A file that cannot be read is the consumer's business.
        if let reader = try? ShardReader(at: location.path, expecting: location.expected) {
            return reader.identity.uuid
        }
        return file.earlier.isEmpty ? nil : file.derivedShard(of: partition)
    }

    /// What a new key group has to know of the partition's file, so that no older copy of it passes the check of a
    /// consumer; empty if the file is not here, or not made yet.
    ///
    /// - Throws: what is wrong with a file that is here: without its watermarks the group must not be made.
    func watermarksIfHere(_ partition: PartitionID, of file: ClusterFile) throws(Failure) -> [ProducerID: UInt64] {
        let location = shard(partition.number, of: file.topology)
        guard Folder.exists(location.path) else { return [:] }
        return try onStore { () throws(StoreError) in
            try ShardReader(at: location.path, expecting: location.expected).records(of: partition)
                .mapValues(\.watermark)
        }
    }
}

extension Failure {
    static func olderFolder(_ published: Topology, _ wanted: Topology, _ folder: DataFolder) -> Failure {
        Failure(
            .configuration, "Redis publishes epoch \(published.epoch), the cluster file says \(wanted.epoch)",
            at: folder.clusterFilePath,
            advice: "This copy of the data folder is older than a rebalance: use the newest one.")
    }

    fileprivate static func restOfAGroup(_ meta: String) -> Failure {
        Failure(
            .configuration, "keys of the group are there without this one", at: meta,
            advice: "Keys of a partition come and go together: bring this Redis back from its own files. Deleting the"
                + " rest loses the batches in its list, unless the nodes that sent them still run.")
    }

    fileprivate static func sealedAhead(_ partition: PartitionID, _ folder: DataFolder) -> Failure {
        Failure(
            .configuration,
            "partition \(partition.number) of epoch \(partition.epoch) is sealed in Redis: a rebalance"
                + " has closed the epoch that the cluster file calls current",
            at: folder.clusterFilePath,
            advice: "This copy of the data folder is older than a rebalance: use the newest one.")
    }

    static func otherShard(
        _ partition: PartitionID, found: ShardUUID, expected: ShardUUID, _ folder: DataFolder, _ file: ClusterFile
    ) -> Failure {
        Failure(
            .configuration, "partition \(partition.number) in Redis belongs to shard \(found), not \(expected)",
            at: folder.shardPath(partition, of: file.topology.partitions),
            advice: "The file is not the one that this Redis knows: put the newest copy back.")
    }
}
