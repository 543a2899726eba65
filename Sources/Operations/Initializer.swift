// `init`: makes a cluster, or completes one that was interrupted. May be run again at any time.
//
// A rebalance that was interrupted (`building`, with earlier epochs) is not completed here: it is published, for nodes
// to go on, or refused.
//
//   1  cluster file {epoch 1, K, building}
//   2  shards in a staging folder, deleted and made anew if there is one; renamed into place
//   3  cluster file {epoch 1, K, ready}: from here on the cluster exists
//   4  Redis: functions, key groups (create-if-absent) with the shards' uuids, topology (never lowered)
//
// A shard that is missing later is never replaced by an empty one: that would count its past again.

import Glibc
import RedisQueue
public import ServiceKit
import ShardConsumer
import ShardStore
public import TallyCore

/// Makes and publishes a cluster.
public struct Initializer {
    /// What `run` found and did.
    public struct Outcome: Hashable, Sendable, CustomStringConvertible {
        public let topology: Topology
        public let isNew: Bool
        /// Whether the epoch is still being made by a rebalance that has to be resumed.
        public let isUnfinished: Bool
        /// Partitions whose keys were missing in Redis.
        public let createdGroups: Int
        let folder: String

        init(_ file: ClusterFile, isNew: Bool, createdGroups: Int, folder: String) {
            topology = file.topology
            self.isNew = isNew
            isUnfinished = file.isUnfinished
            self.createdGroups = createdGroups
            self.folder = folder
        }

        public var description: String {
            let state = isNew ? "created" : createdGroups > 0 ? "completed" : "is complete"
            return "cluster \(topology.cluster) \(state): epoch \(topology.epoch), "
                + "\(Humanized.count(topology.partitions, "partition")), data in \(folder)"
        }

        /// For programs.
        public var json: String {
            var object = JSONObject()
            object.add("cluster", topology.cluster.description)
            object.add("epoch", topology.epoch)
            object.add("partitions", topology.partitions)
            object.add("state", isNew ? "created" : createdGroups > 0 ? "completed" : "complete")
            object.add("created_groups", createdGroups)
            object.add("data_dir", folder)
            return object.text
        }
    }

    private let folder: DataFolder
    private let access: RedisAccess

    public init(folder: DataFolder, access: RedisAccess) {
        self.folder = folder
        self.access = access
    }

    /// - Parameters:
    ///   - partitions: K as asked for, nil if whatever exists will do.
    ///   - otherwise: K of a new cluster if it was not asked for.
    ///   - takesWhatIsThere: whether an epoch that a rebalance has not finished will do, and shards that cannot be read
    ///     or are not those of their queues: consumers, `repair` and `restore` say what is wrong with them. The keys of
    ///     an unfinished epoch are published, unless the rebalance is at work just now: then that does it.
    /// - Throws: 78 for another K, an unfinished epoch that will not do, or a Redis that belongs to another cluster; 75
    ///   if another tool is at work; 69; 74.
    public func run(partitions: Int?, otherwise: Int, takesWhatIsThere: Bool = false) throws(Failure) -> Outcome {
        try Folder.make(folder.path)
        let lock: FileLock
        do throws(Failure) {
            lock = try folder.lockForChange()
        } catch {
            guard error.code == .locked, takesWhatIsThere, let file = try folder.readClusterFile(), file.isUnfinished
            else { throw error }
            try check(partitions, of: file)
            return Outcome(file, isNew: false, createdGroups: 0, folder: folder.path)
        }
        defer { withExtendedLifetime(lock) {} }
        // Before anything is written: a Redis that is not fit leaves no half-made cluster behind.
        let connection = try access.connect(waitingMilliseconds: RedisAccess.startMilliseconds, needsLibrary: false)
        try checkVacancy(over: connection)
        if let existing = try folder.readClusterFile(), existing.isUnfinished {
            // Also if that is refused below: whoever resumes the change needs the functions of this release.
            _ = try onRedis { () throws(RedisError) in try FunctionLibrary.load(into: connection) }  // or was there
        }
        let (file, isNew) = try clusterFile(partitions, otherwise, takesWhatIsThere)
        let created = try publish(file, over: connection, takesWhatIsThere)
        return Outcome(file, isNew: isNew, createdGroups: created, folder: folder.path)
    }

    private func check(_ asked: Int?, of file: ClusterFile) throws(Failure) {
        let partitions = file.topology.partitions
        guard let asked, asked != partitions else { return }
        throw Failure(
            .configuration, "this cluster has \(Humanized.count(partitions, "partition")), not \(asked)",
            at: folder.clusterFilePath,
            advice: "`tallymill rebalance run --to \(asked)` changes the number of partitions; leave --partitions out "
                + "to keep it.")
    }

    /// A second cluster in a namespace would be refused when it is published; a service that is started on a host whose
    /// disk is not mounted, or that consumes for the first time, must not leave empty shards behind either.
    private func checkVacancy(over connection: RedisConnection) throws(Failure) {
        guard try folder.readClusterFile() == nil else { return }
        let keys = ClusterKeys(connection: connection, names: access.names)
        guard let topology = try onRedis({ () throws(RedisError) in try keys.readTopology() }) else { return }
        throw Failure(
            .configuration, "this Redis belongs to cluster \(topology.cluster), whose cluster file is not here",
            at: folder.clusterFilePath,
            advice:
                "Put its cluster file and its shards into \(folder.path), or name another --namespace for a new one.",
            mayBeMisplaced: true)
    }

    private func clusterFile(
        _ asked: Int?, _ otherwise: Int, _ takesWhatIsThere: Bool
    ) throws(Failure) -> (ClusterFile, isNew: Bool) {
        var file: ClusterFile
        if let existing = try folder.readClusterFile() {
            try check(asked, of: existing)
            if existing.isUnfinished, !takesWhatIsThere {
                throw Failure(
                    .configuration,
                    "a rebalance to \(Humanized.count(existing.topology.partitions, "partition")) is unfinished",
                    at: folder.clusterFilePath,
                    advice: "`tallymill rebalance resume` goes on with it.")
            }
            if existing.state == .ready || existing.isUnfinished { return (existing, false) }
            file = existing
        } else {
            var random = SystemRandomNumberGenerator()
            let topology = Topology(cluster: .random(using: &random), epoch: 1, partitions: asked ?? otherwise)
            file = ClusterFile(topology: topology, state: .building, earlier: [])
            try write(file)
        }
        try makeShards(file.topology)
        file.state = .ready
        try write(file)
        return (file, true)
    }

    private func write(_ file: ClusterFile) throws(Failure) {
        try AtomicFile.write(Array(file.json.utf8), to: folder.clusterFilePath)
    }

    private func makeShards(_ topology: Topology) throws(Failure) {
        let final = folder.epochPath(topology.epoch)
        // Renamed by a run that was interrupted before the cluster file was ready: complete, and in use by nobody.
        if Glibc.access(final, F_OK) == 0 { return }
        let staging = folder.stagingPath(topology.epoch)
        try Folder.removeFiles(staging)
        try Folder.make(staging)
        var random = SystemRandomNumberGenerator()
        for partition in topology.partitionIDs {
            let identity = ShardIdentity(
                cluster: topology.cluster, partition: partition, partitions: topology.partitions,
                uuid: .random(using: &random))
            try onStore { () throws(StoreError) in
                try ShardFile.create(
                    at: "\(staging)/\(DataFolder.shardName(partition, of: topology.partitions))", identity: identity,
                    timeMilliseconds: UInt64(WallClock.milliseconds()))
            }
        }
        try AtomicFile.syncFolder(staging)
        guard rename(staging, final) == 0 else { throw Failure(cannot: "rename", errno: errno, at: staging) }
        try AtomicFile.syncFolder(folder.path)
    }

    /// Returns how many key groups were missing.
    private func publish(
        _ file: ClusterFile, over connection: RedisConnection, _ takesWhatIsThere: Bool
    ) throws(Failure) -> Int {
        let topology = file.topology
        let keys = ClusterKeys(connection: connection, names: access.names)
        // The topology first: it refuses a namespace that belongs to another cluster.
        let published = try onRedis { () throws(RedisError) in
            _ = try FunctionLibrary.load(into: connection)  // whether it was there already does not matter
            return try keys.publish(topology)
        }
        if case .newer(let newer) = published { throw .olderFolder(newer, topology, folder) }
        var created = 0
        for partition in topology.partitionIDs {
            do throws(Failure) {
                if try create(partition, of: file, keys) { created += 1 }
            } catch  where takesWhatIsThere && error.code.needsMending {
                continue  // whoever consumes it says the same
            }
        }
        return created
    }

    /// Makes the key group of a shard; false if there is one.
    private func create(_ partition: PartitionID, of file: ClusterFile, _ keys: ClusterKeys) throws(Failure) -> Bool {
        let topology = file.topology
        let location = folder.shard(partition.number, of: topology)
        // A shard that a rebalance has not made yet will have this identity.
        let uuid =
            file.isUnfinished
            ? file.derivedShard(of: partition)
            : try onStore { () throws(StoreError) in
                try ShardReader(at: location.path, expecting: location.expected).identity.uuid
            }
        let watermarks = try folder.watermarksIfHere(partition, of: file)
        let reply = try onRedis { () throws(RedisError) in
            try keys.create(partition, shard: uuid, topology: topology, applied: watermarks)
        }
        switch reply {
        case .created: return true
        case .existing(let other, _) where other != uuid:
            throw .otherShard(partition, found: other, expected: uuid, folder, file)
        case .existing: return false
        }
    }
}
