// `restore`: puts a backup in the place of a cluster's shards, or makes a data folder of it.
//
//   1  the backup against its manifest, against Redis, and against the files that are there: what would be lost is
//      found before anything is changed (RestoreComparison)
//   2  the cluster's lock; the shards' locks, if there are shards: no consumer runs, and none begins
//   3  copies into restore.staging, each compared with its hash and opened once, with what is accepted to be lost
//      written into them; fsync
//   4  what is there goes to replaced-<time>/, whole: nothing is ever overwritten or deleted
//   5  restore.staging becomes the epoch's folder, the cluster file is written, last
//
// Interrupted before 4, nothing has changed. Interrupted later, the command is run again: without a folder of the epoch
// nothing is in its way, and what was put aside stays there. It is what the backup is compared with then.
//
// Single shards take the same way up to 3; then Restore+Shards.swift.

import Glibc
public import ServiceKit
import ShardConsumer
import ShardStore
import Synchronization
public import TallyCore

/// A backup and the folder that it goes to.
public struct Restore: Sendable {
    let backup: BackupFolder
    let folder: DataFolder
    /// The partitions whose shards are restored alone; nil for the cluster as a whole.
    private let single: [Int]?

    /// What was done.
    public struct Outcome: Hashable, Sendable {
        public let topology: Topology
        /// Where the files that were there are now; nil if there were none.
        public let replacedPath: String?
    }

    /// - Parameter partitions: below K, each once: whose shards are restored alone; nil for all of them.
    public init(_ backup: BackupFolder, into folder: DataFolder, partitions: [UInt32]? = nil) {
        self.backup = backup
        self.folder = folder
        single = partitions?.map { Int($0) }
    }

    var topology: Topology { backup.manifest.topology }
    var epochPath: String { folder.epochPath(topology.epoch) }

    /// The partitions whose shards are restored.
    private var chosen: [Int] { single ?? Array(0..<topology.partitions) }

    /// What the backup has of them.
    public var shards: [BackupManifest.Shard] { chosen.map { backup.manifest.shards[$0] } }

    /// Whether files would have to be put aside.
    ///
    /// - Throws: 78 if the folder belongs to another cluster or to a newer epoch of this one, with single shards also
    ///   to an older one; 74.
    public func replacesFiles() throws(Failure) -> Bool {
        if let single { return try replacesShards(single) }
        guard let present = try folder.readClusterFile() else { return Folder.exists(epochPath) }
        try requireSameCluster(present)
        guard present.topology.epoch <= topology.epoch else {
            throw Failure(
                .configuration,
                "this folder holds epoch \(present.topology.epoch), the backup epoch \(topology.epoch)",
                at: folder.path,
                advice: "Use a backup that was made after the rebalance: an epoch never comes back.")
        }
        // What is left of a restore that was interrupted between the two renames.
        return Folder.exists(epochPath) || present != backup.file
    }

    func requireSameCluster(_ present: ClusterFile) throws(Failure) {
        guard present.topology.cluster == topology.cluster else {
            throw Failure(
                .configuration, "this folder holds cluster \(present.topology.cluster), the backup \(topology.cluster)",
                at: folder.path, advice: "Name another folder: --data-dir.")
        }
        guard present.topology.epoch != topology.epoch || present.change == backup.file.change else {
            throw Failure(
                .configuration,
                "the backup holds another epoch \(topology.epoch) than this folder: the cluster was put back to before"
                    + " it, and has opened it anew", at: backup.path,
                advice: "Use a backup that was made after that. What this one has more may be imported, from a restore"
                    + " into another folder (--data-dir).")
        }
    }

    /// Puts the backup in place.
    ///
    /// - Parameters:
    ///   - replaces: whether files that are there may be put aside.
    ///   - losses: what is accepted to be lost: it is written into the shards.
    ///   - tick: gets the bytes copied so far.
    /// - Throws: 78 if files are there and `replaces` is false; 75 if a consumer or another tool is at work; 65 if a
    ///   copy differs from the manifest; 74.
    public func run(
        replaces: Bool, losses: [StreamLoss] = [], tick: (Int) -> Void = { _ in }
    ) throws(Failure) -> Outcome {
        try Folder.make(folder.path)
        let lock = try folder.lockForChange()
        defer { withExtendedLifetime(lock) {} }
        let mustReplace = try replacesFiles()
        guard replaces || !mustReplace else {
            throw Failure(
                .configuration, "there are shards of this cluster already", at: folder.path,
                advice: "--replace puts them aside, into a folder beside them.")
        }
        let shardLocks = try lockShards()
        defer { withExtendedLifetime(shardLocks) {} }
        try copy(losses, tick)
        if let single {
            return Outcome(topology: topology, replacedPath: try placeShards(single, replaces: mustReplace))
        }
        let replaced = mustReplace ? try putAside() : nil
        try AtomicFile.syncFolder(folder.restorePath)
        guard rename(folder.restorePath, epochPath) == 0 else {
            throw Failure(cannot: "rename", errno: errno, at: folder.restorePath)
        }
        try AtomicFile.syncFolder(folder.path)
        try AtomicFile.write(Array(backup.file.json.utf8), to: folder.clusterFilePath)
        return Outcome(topology: topology, replacedPath: replaced)
    }

    /// The locks of the consumers of the files that are there.
    private func lockShards() throws(Failure) -> [FileLock] {
        var locks: [FileLock] = []
        guard Folder.exists(epochPath) else { return locks }
        for number in chosen {
            let path = folder.shardPath(backup.expectation(number).partition, of: topology.partitions)
            switch try FileLock.attempt(path + ".lock") {
            case .acquired(let lock): locks.append(lock)
            case .held(let holder):
                throw Failure(
                    .locked, "\(holder.map { "process \($0)" } ?? "another process") consumes this shard", at: path,
                    advice: "Stop the consumers (`up`: Ctrl-C), then run this again.")
            }
        }
        return locks
    }

    private func copy(_ losses: [StreamLoss], _ tick: (Int) -> Void) throws(Failure) {
        let staging = folder.restorePath
        try Folder.removeFiles(staging)
        try Folder.requireSpace(shards.reduce(0) { $0 + $1.bytes }, at: folder.path)
        try Folder.make(staging)
        let copied = StepCount()
        let backup = backup
        let time = UInt64(WallClock.milliseconds())
        let chosen = chosen
        try Workers.run(chosen.count, name: "restore", tick: { tick(copied.value) }) {
            index, _ throws(Failure) in
            let number = chosen[index]
            let shard = backup.manifest.shards[number]
            let target = "\(staging)/\(shard.file)"
            let output = try FileOutput(target, .refuse, mode: 0o640)
            let content = try FileHash(backup.path(of: shard)) { bytes throws(Failure) in
                try output.write(bytes)
                copied.add(bytes.count)
            }
            guard content == FileHash(of: shard) else {
                throw Failure(
                    .corrupt, "the file is not the one that the manifest describes", at: backup.path(of: shard),
                    advice: "`tallymill backup --verify` lists what is wrong; use another backup.")
            }
            try output.sync()
            let expected = backup.expectation(number)
            let own = losses.filter { $0.stream.partition == expected.partition }
            // Opened as its consumer will open it, which makes the log files that readers need.
            try onStore { () throws(StoreError) in
                if !own.isEmpty { try ShardUpkeep.accept(own, time: time, at: target, expecting: expected) }
                let file = try ShardFile.open(at: target, expecting: expected)
                try file.checkpoint()
            }
        }
    }

    /// Moves what is there into a folder of its own: its path.
    private func putAside() throws(Failure) -> String {
        let path = try makeFolderAside()
        if let bytes = try FileContent.readIfPresent(folder.clusterFilePath, maximumBytes: 1 << 20) {
            try AtomicFile.write(bytes, to: "\(path)/\(DataFolder.clusterFileName)")
        }
        let aside = DataFolder(path).epochPath(topology.epoch)
        guard rename(epochPath, aside) == 0 || errno == ENOENT else {
            throw Failure(cannot: "move", errno: errno, at: epochPath)
        }
        try AtomicFile.syncFolder(path)
        try AtomicFile.syncFolder(folder.path)
        return path
    }

    func makeFolderAside() throws(Failure) -> String {
        let path = folder.newAsidePath()
        guard mkdir(path, 0o750) == 0 else { throw Failure(cannot: "make the folder", errno: errno, at: path) }
        return path
    }
}

extension FileHash {
    init(of shard: BackupManifest.Shard) {
        bytes = shard.bytes
        hash = shard.hash
    }
}
