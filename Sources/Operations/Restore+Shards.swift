// One shard of several: the copy of a backup takes the place of a file that is damaged or gone, and the others go on as
// they are, with their consumers. Folder and backup are of the same epoch: shards of two epochs never lie together.
//
// The files of a shard are moved aside before its copy comes, the log files with the database: a log that stays would
// be taken for that of the copy. The database comes last: a shard that is here is whole. Interrupted in between, the
// shard is missing, no consumer starts for it, and the command is run again.

import Glibc
import ServiceKit
import ShardConsumer
import ShardStore
import TallyCore

extension Restore {
    /// A database and its log files; the database last.
    private static let endings = ["-shm", "-wal", ""]

    /// Whether files of the chosen shards would have to be put aside.
    ///
    /// - Throws: 78 if the folder holds no cluster that is ready, or another one or another epoch than the backup; 74.
    func replacesShards(_ chosen: [Int]) throws(Failure) -> Bool {
        let present = try folder.readyClusterFile()
        try requireSameCluster(present)
        guard present.topology == topology else {
            throw Failure(
                .configuration,
                "this folder holds epoch \(present.topology.epoch), the backup epoch \(topology.epoch)",
                at: folder.path, advice: "Shards of two epochs cannot lie together: use a backup of this epoch.")
        }
        return chosen.contains { number in
            Self.endings.contains { Folder.exists(target(number) + $0) }
        }
    }

    /// Puts the copies in the places of their shards.
    ///
    /// - Returns: where the files that were there are now; nil if there were none.
    func placeShards(_ chosen: [Int], replaces: Bool) throws(Failure) -> String? {
        try carryEarlierLosses(to: chosen)
        try AtomicFile.syncFolder(folder.restorePath)
        let aside = replaces ? try putAside(chosen) : nil
        for number in chosen {
            let staged = "\(folder.restorePath)/\(backup.manifest.shards[number].file)"
            for ending in Self.endings { try move(staged + ending, to: target(number) + ending) }
        }
        try AtomicFile.syncFolder(epochPath)
        try Folder.removeFiles(folder.restorePath)
        return aside
    }

    private func target(_ number: Int) -> String {
        folder.shardPath(backup.expectation(number).partition, of: topology.partitions)
    }

    /// What was declared lost of earlier epochs stands in every shard: a copy of before that gets it from the others.
    private func carryEarlierLosses(to chosen: [Int]) throws(Failure) {
        var earlier: Set<StreamLoss> = []
        for number in 0..<topology.partitions where !chosen.contains(number) && Folder.exists(target(number)) {
            // One that cannot be read is restored by itself.
            let losses = (try? ShardReader(at: target(number), expecting: backup.expectation(number)).losses()) ?? []
            earlier.formUnion(losses.filter { $0.stream.partition.epoch < topology.epoch })
        }
        if earlier.isEmpty { return }
        for number in chosen {
            let path = "\(folder.restorePath)/\(backup.manifest.shards[number].file)"
            let expected = backup.expectation(number)
            try onStore { () throws(StoreError) in
                var known = try ShardReader(at: path, expecting: expected).losses()
                var missing: [StreamLoss] = []
                for loss in earlier
                where !known.contains(where: { $0.stream == loss.stream && $0.sequences.overlaps(loss.sequences) }) {
                    missing.append(loss)
                    known.append(loss)
                }
                if missing.isEmpty { return }
                try ShardUpkeep.accept(
                    missing, time: UInt64(WallClock.milliseconds()), at: path, expecting: expected)
                try ShardFile.open(at: path, expecting: expected).checkpoint()
            }
        }
    }

    /// Moves the files of the chosen shards into a folder of their own: its path.
    private func putAside(_ chosen: [Int]) throws(Failure) -> String {
        let path = try makeFolderAside()
        let epoch = DataFolder(path).epochPath(topology.epoch)
        try Folder.make(epoch)
        for number in chosen {
            // The database first: without it nobody opens what is left.
            for ending in Self.endings.reversed() {
                try move(target(number) + ending, to: "\(epoch)/\(backup.manifest.shards[number].file)\(ending)")
            }
        }
        for folder in [epoch, path, epochPath, folder.path] { try AtomicFile.syncFolder(folder) }
        return path
    }

    /// A file that is not there stays away.
    private func move(_ old: String, to new: String) throws(Failure) {
        guard rename(old, new) == 0 || errno == ENOENT else { throw Failure(cannot: "move", errno: errno, at: old) }
    }
}
