// `rebalance purge`: the end of earlier epochs. Their files are deleted, and their key groups, which tell stragglers to
// move. Watermarks and `routed` rows go of all but the last of them: until the consumers of the present epoch have met
// what moved, only the watermarks of the epoch before tell what its drain had counted.
//
// What is forgotten is remembered as one number in each shard: what comes from there later is not counted a second time
// but buried (`forgotten`). So nothing may wait that would be buried, and no old queue may have been consumed by other
// files, for the watermarks that show it go. Killed anywhere it is simply run again: the mark in the cluster file goes
// last, and its lists are still swept.

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
    public var epochs: [ClusterFile.Epoch] { file.earlier.filter { !$0.isPurged } }
    /// Epochs whose watermarks are forgotten lie before it.
    private var firstKept: UInt32 { file.earlier.last?.epoch ?? file.topology.epoch }

    /// The caller holds the cluster's lock.
    ///
    /// - Throws: 78 if the cluster is not ready.
    public init(_ folder: DataFolder, _ access: RedisAccess) throws(Failure) {
        self.folder = folder
        file = try folder.readyClusterFile()
        redis = ToolRedis(access)
    }

    /// Deletes the key groups and the files of all earlier epochs, and the rows of all but the last of them.
    ///
    /// - Returns: bytes of the files that were deleted.
    /// - Throws: 3 if batches wait in Redis that would be buried, or of an earlier epoch, or were counted elsewhere.
    public func run(tell: (ChangeNote) -> Void) throws(Failure) -> Int {
        let elsewhere = try redis.look { keys throws(Failure) in
            try MissingBatches.findElsewhere(file, in: folder, keys)
        }
        if !elsewhere.isEmpty { throw .missing(elsewhere, in: folder) }
        for partition in file.topology.partitionIDs { try requireNothingOlder(in: partition) }
        for epoch in file.earlier { try collect(epoch) }
        tell(.phase("forgetting watermarks of earlier epochs", total: file.topology.partitions))
        for partition in file.topology.partitionIDs {
            let location = folder.shard(partition.number, of: file.topology)
            try onStore { () throws(StoreError) in
                try ShardUpkeep.forgetStreams(before: firstKept, at: location.path, expecting: location.expected)
            }
            tell(.progress(done: Int(partition.number) + 1))
        }
        var bytes = 0
        for epoch in epochs {
            let path = folder.epochPath(epoch.epoch)
            guard Folder.exists(path) else { continue }
            bytes += try Folder.bytes(path)
            try Folder.removeFiles(path)
        }
        var next = file
        for index in next.earlier.indices { next.earlier[index].isPurged = true }
        try AtomicFile.write(Array(next.json.utf8), to: folder.clusterFilePath)
        return bytes
    }

    /// A list of the present epoch holds nothing that only forgotten watermarks would recognise.
    private func requireNothingOlder(in partition: PartitionID) throws(Failure) {
        let firstKept = firstKept
        let reply = try redis.call { keys throws(RedisError) in
            try keys.wholeLedger(of: partition, .headers) { QueuedBatch($0, isWhole: false).header?.origin }
        }
        switch reply {
        case .noTopology: break
        case .torn:
            throw Failure(
                .partial, "the list of partition \(partition.number) could not be read as of one moment",
                at: redis.names.group(of: partition).queue, advice: "Run this again.")
        case .ledger(let ledger):
            let old = ledger.entries.compactMap { $0 }.filter { $0.stream.partition.epoch < firstKept }
            guard let first = old.first else { return }
            throw Failure(
                .partial,
                "\(Humanized.batches(UInt64(old.count))) in the list of partition \(partition.number) come from "
                    + "epoch \(first.stream.partition.epoch): without its watermarks they could not be counted",
                at: redis.names.group(of: partition).queue,
                advice: "Start the consumers; when `tallymill status` shows this list short or empty, purge again.")
        }
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
                let waiting = batches == 1 ? "1 batch waits" : "\(batches) batches wait"
                throw Failure(
                    .partial, "\(waiting) in the queue of \(partition), which is of an earlier epoch",
                    advice: "`tallymill repair` brings them in; then purge again.")
            }
        }
    }
}
