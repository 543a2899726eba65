// `backup`: a copy of every shard of the current epoch, made while consumers run.
//
//   1  DIR.partial, locked; what an interrupted backup left in it is removed
//   2  on two threads, each shard: one snapshot, copied and fsynced, its hash taken from what is on the disk
//   3  the cluster file, if it is still the one that was read first and no shard is retired: no rebalance in between
//   4  the manifest, last; fsync; DIR.partial renamed to DIR
//
// Interrupted at any line there is no DIR. Each shard is one snapshot, and there is none over all of them. None is
// needed: a shard's watermarks say what exactly it holds, so each is complete by itself.

import Glibc
public import ServiceKit
import ShardConsumer
import ShardStore
import Synchronization
import TallyCore

/// A backup that is to be made.
public struct Backup: Sendable {
    private let folder: DataFolder
    private let target: String
    private let release: String
    private let file: ClusterFile
    /// Of the files as they are now, with their logs.
    public let bytes: Int

    private var partial: String { target + ".partial" }

    /// - Parameters:
    ///   - target: the folder of the backup, which must not be there or be empty.
    ///   - release: of the product, for the manifest.
    /// - Throws: 78 if there is no cluster, a shard is missing, or the target is in use; 65; 74, also for a disk that
    ///   is too full.
    public init(_ folder: DataFolder, to target: String, release: String) throws(Failure) {
        self.folder = folder
        self.target = Folder.trimmed(target)
        self.release = release
        file = try folder.readyClusterFile()
        var bytes = 0
        for partition in file.topology.partitionIDs {
            let location = folder.shard(partition.number, of: file.topology)
            bytes += try onStore { () throws(StoreError) in
                try ShardReader(at: location.path, expecting: location.expected).statistics().fileBytes
            }
        }
        self.bytes = bytes
        if let names = try Folder.names(in: self.target), !names.isEmpty {
            throw Failure(
                .configuration, "the folder is not empty", at: self.target,
                advice: "A backup goes to a folder of its own."
            )
        }
        try Folder.requireSpace(bytes, at: Folder.of(self.target))
    }

    /// Makes it.
    ///
    /// - Parameter tick: gets the bytes copied so far, on this thread.
    /// - Throws: 75 if another backup goes to the same folder; 78 if the cluster has changed meanwhile; 65; 74.
    public func run(tick: (Int) -> Void = { _ in }) throws(Failure) -> BackupManifest {
        let lock = try lockPartial()
        defer { Glibc.close(lock) }
        for name in try Folder.names(in: partial) ?? [] {
            guard unlink("\(partial)/\(name)") == 0 else {
                throw Failure(cannot: "remove", errno: errno, at: "\(partial)/\(name)")
            }
        }
        let shards = try copyShards(tick)
        guard try folder.readClusterFile() == file else {
            throw Failure(
                .configuration, "the cluster was changed during the backup", at: folder.clusterFilePath,
                advice: "Run it again when the rebalance or import has ended.")
        }
        let manifest = BackupManifest(
            topology: file.topology, milliseconds: WallClock.milliseconds(), release: release, shards: shards)
        try AtomicFile.write(Array(file.json.utf8), to: "\(partial)/\(DataFolder.clusterFileName)")
        try AtomicFile.write(Array(manifest.json.utf8), to: "\(partial)/\(BackupManifest.fileName)")
        try AtomicFile.syncFolder(partial)
        // An empty folder may be replaced, a filled one not.
        guard rename(partial, target) == 0 else { throw Failure(cannot: "rename", errno: errno, at: partial) }
        try AtomicFile.syncFolder(Folder.of(target))
        return manifest
    }

    /// Makes the folder and locks it: the descriptor that holds the lock.
    private func lockPartial() throws(Failure) -> Int32 {
        try Folder.make(partial)
        let descriptor = open(partial, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Failure(cannot: "open the folder", errno: errno, at: partial) }
        var own = stat()
        var named = stat()
        // Another backup may have locked the folder, or ended and given it its name between the two calls above.
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0, fstat(descriptor, &own) == 0, stat(partial, &named) == 0,
            own.st_ino == named.st_ino
        else {
            close(descriptor)
            throw Failure(
                .locked, "another backup is being written there", at: partial,
                advice: "Wait for it to end, or choose another folder.")
        }
        return descriptor
    }

    private func copyShards(_ tick: (Int) -> Void) throws(Failure) -> [BackupManifest.Shard] {
        let topology = file.topology
        let copied = StepCount()
        let (folder, partial) = (folder, partial)
        return try Workers.map(topology.partitions, name: "backup", tick: { tick(copied.value) }) {
            number, state throws(Failure) in
            let location = folder.shard(UInt32(number), of: topology)
            let name = DataFolder.shardName(location.partition, of: topology.partitions)
            let reader = try onStore { () throws(StoreError) in
                try ShardReader(at: location.path, expecting: location.expected)
            }
            guard reader.state == .open else {
                throw Failure(
                    .configuration, "a rebalance has closed this shard", at: location.path,
                    advice: "Finish the rebalance, then back up the new epoch.")
            }
            let path = "\(partial)/\(name)"
            var shown = 0
            let (statistics, watermarks) = try onStore { () throws(StoreError) in
                let isComplete = try reader.copy(to: path) { bytes in
                    copied.add(bytes - shown)
                    shown = bytes
                    return state.failure == nil
                }
                return isComplete ? (try reader.statistics(), try reader.watermarkCount()) : (nil, 0)
            }
            guard let statistics else {
                // The failure that made it give up is the one that is reported.
                if let failure = state.failure { throw failure }
                preconditionFailure("a copy was given up without a failure")
            }
            let content = try FileHash(path)
            copied.add(content.bytes - shown)
            return BackupManifest.Shard(
                file: name, uuid: reader.identity.uuid, bytes: content.bytes, hash: content.hash,
                keys: statistics.keys, total: statistics.total, watermarks: watermarks)
        }
    }
}
