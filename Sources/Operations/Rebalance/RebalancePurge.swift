// `rebalance purge`: the end of earlier epochs. Until then their files are a way back to look at, their key groups
// tell stragglers to move, and their watermarks recognise what was counted before the change.
//
// So it is a decision of the operator: after it, a web node that still holds batches of such an epoch, or a Redis that
// is put back to before it, would have increments counted again. Killed anywhere it is simply run again: the entry in
// the cluster file goes last.

import Glibc
import RedisQueue
public import ServiceKit
import ShardConsumer
import ShardStore
public import TallyCore

/// Forgets earlier epochs.
public struct RebalancePurge {
    private let folder: DataFolder
    private let file: ClusterFile
    private let redis: ToolRedis

    /// What can be purged.
    public var epochs: [ClusterFile.Epoch] { file.earlier }

    /// The caller holds the cluster's lock.
    ///
    /// - Throws: 78 if the cluster is not ready.
    public init(_ folder: DataFolder, _ access: RedisAccess) throws(Failure) {
        self.folder = folder
        file = try folder.readyClusterFile()
        redis = ToolRedis(access)
    }

    /// Deletes the key groups, the rows and the files of all earlier epochs.
    ///
    /// - Returns: bytes of the files that were deleted.
    /// - Throws: 3 if batches of an earlier epoch still wait in Redis: `repair` brings them in first.
    public func run(tell: (ChangeNote) -> Void) throws(Failure) -> Int {
        for epoch in epochs { try collect(epoch) }
        tell(.phase("forgetting watermarks of earlier epochs", total: file.topology.partitions))
        for partition in file.topology.partitionIDs {
            let location = folder.shard(partition.number, of: file.topology)
            try onStore { () throws(StoreError) in
                try ShardUpkeep.forgetStreams(
                    before: file.topology.epoch, at: location.path, expecting: location.expected)
            }
            tell(.progress(done: Int(partition.number) + 1))
        }
        var bytes = 0
        for epoch in epochs {
            let path = folder.epochPath(epoch.epoch)
            bytes += try Folder.bytes(path)
            try Folder.removeFiles(path)
        }
        var next = file
        next.earlier = []
        try AtomicFile.write(Array(next.json.utf8), to: folder.clusterFilePath)
        return bytes
    }

    private func collect(_ epoch: ClusterFile.Epoch) throws(Failure) {
        for partition in epoch.partitionIDs {
            let reply = try redis.call { keys throws(RedisError) in
                _ = try keys.seal(partition)  // gone is as good
                return try keys.collect(partition)
            }
            switch reply {
            case .collected, .noTopology, .open: break
            case .filled(let batches):
                throw Failure(
                    .partial, "\(batches) batches wait in the queue of \(partition), which is of an earlier epoch",
                    advice: "`tallymill repair` brings them in; then purge again.")
            }
        }
    }
}
