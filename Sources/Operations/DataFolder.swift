// The data folder: where the cluster file and the shards lie.
//
//   <data>/topology.json                                   the cluster file, the authority
//   <data>/topology.lock                                   held by init, rebalance and repair
//   <data>/epoch-0001/shard-0000-of-0004.sqlite            one shard
//   <data>/epoch-0001/shard-0000-of-0004.sqlite.lock       held by its consumer
//   <data>/epoch-0001.staging/                             shards that are being made
//   <data>/rebalance.journal                               what a change of epoch does that has not ended
//   <data>/restore.staging/                                shards that `restore` is copying
//   <data>/replaced-20261121T091658Z/                      what `restore --replace` has put aside
//   <data>/up/                                             what a running `up` needs: its lock, its sockets
//   <data>/redis/                                          the files of its private Redis

public import ServiceKit
public import ShardConsumer
import ShardStore
public import TallyCore

/// Paths below one folder, and the cluster file in it.
public struct DataFolder: Sendable {
    public let path: String

    public init(_ path: String) {
        self.path = path
    }

    static let clusterFileName = "topology.json"
    public var clusterFilePath: String { "\(path)/\(Self.clusterFileName)" }
    public var clusterLockPath: String { "\(path)/topology.lock" }
    public var upPath: String { "\(path)/up" }
    /// The files of the Redis that an `up` has for itself.
    var privateRedisPath: String { "\(path)/redis" }

    public var journalPath: String { "\(path)/rebalance.journal" }

    public func epochPath(_ epoch: UInt32) -> String { "\(path)/epoch-\(Self.padded(Int(epoch)))" }

    var restorePath: String { "\(path)/restore.staging" }

    private static let asidePrefix = "replaced-"

    /// Where what is put aside now goes: nothing has that name, also if something was put aside in the same second.
    func newAsidePath(milliseconds: Int64 = WallClock.milliseconds()) -> String {
        let first = "\(path)/\(Self.asidePrefix)\(FileTime.text(milliseconds: milliseconds))"
        var (free, number) = (first, 1)
        while Folder.exists(free) {
            number += 1
            free = "\(first)-\(number)"
        }
        return free
    }

    /// Where a shard is: here, or else, because a restore was interrupted when it had put it aside, in the newest
    /// folder that has it.
    ///
    /// - Parameter partitions: K of the partition's epoch.
    /// - Throws: 74.
    func holder(of partition: PartitionID, of partitions: Int) throws(Failure) -> DataFolder {
        if Folder.exists(shardPath(partition, of: partitions)) { return self }
        let names = try (Folder.names(in: path) ?? []).filter { $0.hasPrefix(Self.asidePrefix) }
        // Their names sort by time.
        let folders = names.sorted(by: >).map { DataFolder("\(path)/\($0)") }
        return folders.first { Folder.exists($0.shardPath(partition, of: partitions)) } ?? self
    }

    public func stagingPath(_ epoch: UInt32) -> String { "\(epochPath(epoch)).staging" }

    /// - Parameter partitions: K of the partition's epoch.
    public func shardPath(_ partition: PartitionID, of partitions: Int) -> String {
        "\(epochPath(partition.epoch))/\(Self.shardName(partition, of: partitions))"
    }

    /// The shard of a partition that belongs to `cluster`.
    ///
    /// - Parameter partitions: K of the partition's epoch.
    func shard(_ partition: PartitionID, of partitions: Int, in cluster: ClusterID) -> ShardLocation {
        ShardLocation(
            path: shardPath(partition, of: partitions),
            expected: ShardExpectation(cluster: cluster, partition: partition, partitions: partitions))
    }

    /// The shard of one partition of the current epoch.
    public func shard(_ number: UInt32, of topology: Topology) -> ShardLocation {
        shard(
            PartitionID(epoch: topology.epoch, number: number), of: topology.partitions, in: topology.cluster)
    }

    static func shardName(_ partition: PartitionID, of partitions: Int) -> String {
        "shard-\(padded(Int(partition.number)))-of-\(padded(partitions)).sqlite"
    }

    /// The cluster file, nil if there is none.
    ///
    /// - Throws: 78 if it is damaged or of a newer release, 74 if it cannot be read.
    public func readClusterFile() throws(Failure) -> ClusterFile? {
        guard let bytes = try FileContent.readIfPresent(clusterFilePath, maximumBytes: 1 << 20) else { return nil }
        do throws(ClusterFileError) {
            return try ClusterFile(json: bytes)
        } catch {
            throw Failure(
                .configuration, "this is no cluster file: \(error)", at: clusterFilePath,
                advice: "Put back the copy that belongs to the shards; it is copied to every host that consumes.")
        }
    }

    /// The right to change the cluster, of one tool at a time.
    ///
    /// - Throws: 75 if another tool has it, 74.
    public func lockForChange() throws(Failure) -> FileLock {
        switch try FileLock.attempt(clusterLockPath) {
        case .acquired(let lock): return lock
        case .held(let pid):
            throw Failure(
                .locked, "\(pid.map { "process \($0)" } ?? "another process") is changing this cluster",
                at: clusterLockPath,
                advice: "`tallymill rebalance status` shows what is under way; wait for it to end, then run this again."
            )
        }
    }

    /// The cluster file, in whatever state.
    ///
    /// - Throws: 78 also if there is none.
    public func clusterFile() throws(Failure) -> ClusterFile {
        if let file = try readClusterFile() { return file }
        throw Failure(
            .configuration, "there is no cluster in \(path)",
            advice: "--data-dir names another folder; `tallymill init --partitions 4` makes a cluster in this one.",
            mayBeMisplaced: true)
    }

    /// The cluster file of an initialised cluster.
    ///
    /// - Throws: 78 also if there is none, or it is still being made.
    public func readyClusterFile() throws(Failure) -> ClusterFile {
        let file = try clusterFile()
        guard file.state == .ready else {
            throw Failure(
                .configuration, "epoch \(file.topology.epoch) of the cluster is still being built",
                at: clusterFilePath,
                advice: file.earlier.isEmpty
                    ? "`tallymill init` completes it." : "`tallymill rebalance resume` goes on with it.")
        }
        return file
    }

    /// The epoch whose shards hold what has been counted: while a change of epoch is under way, the one before.
    ///
    /// - Throws: 78 if there is no cluster, or `init` has not ended.
    public func countedTopology() throws(Failure) -> Topology {
        if let file = try readClusterFile(), file.isUnfinished, let old = file.earlier.last {
            return Topology(cluster: file.topology.cluster, epoch: old.epoch, partitions: old.partitions)
        }
        return try readyClusterFile().topology
    }

    private static func padded(_ number: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, 4 - digits.count)) + digits
    }
}
