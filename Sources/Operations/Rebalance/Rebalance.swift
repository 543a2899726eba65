// `rebalance`: another number of partitions, offline for the consumers, unnoticed by clients.
//
// The steps and their order are PROTOCOL.md's (TallyCore/EpochChange.swift). Before the first of them nothing has
// happened: here it is made sure that there is room, that every shard is sound, that the file of each belongs to its
// queue, and that nobody consumes. From the first step on a change can only be resumed.

import Glibc
public import Logging
import RedisQueue
public import ServiceKit
public import ShardConsumer
import ShardStore
import TallyCore

/// Changes the number of partitions of a cluster.
public struct Rebalance: Sendable {
    private let tools: EpochChangeRun.Tools

    /// - Parameters:
    ///   - pauseBefore: for drills: the process stops itself before the step of that number.
    ///   - tell: what happens, as it happens; also from threads of the build.
    public init(
        _ folder: DataFolder, _ access: RedisAccess, logger: Logger, stopRequest: StopRequest, pauseBefore: Int? = nil,
        tell: @escaping @Sendable (ChangeNote) -> Void
    ) {
        tools = EpochChangeRun.Tools(
            folder: folder, access: access, logger: logger, stopRequest: stopRequest, tell: tell,
            pauseBefore: pauseBefore)
    }

    private var folder: DataFolder { tools.folder }

    /// From `partitions` as they are to K', which may be as many: a web node may wait for an epoch above one that the
    /// cluster does not know of.
    ///
    /// The caller holds the cluster's lock (`DataFolder.lockForChange`) and has stopped the consumers that it can stop.
    ///
    /// - Throws: 75 with the consumers that run; 74 without room on the disk; 65 and 78 for a shard that is not sound.
    public func run(to partitions: Int) throws(Failure) {
        let file = try folder.readyClusterFile()
        let noted = try preflight(file, to: partitions)
        try change(EpochChange(from: file, to: partitions, id: Self.newID(), noted: noted))
    }

    /// Loads sums directly: a change of epoch with as many partitions as before.
    ///
    /// - Throws: as `run`.
    public func load(_ imports: EpochBuild.Import) throws(Failure) {
        let file = try folder.readyClusterFile()
        let partitions = file.topology.partitions
        let noted = try preflight(file, to: partitions)
        try change(
            EpochChange(from: file, to: partitions, id: Self.newID(), importing: imports.id, noted: noted), imports)
    }

    /// Goes on with what was interrupted; false if there was nothing.
    ///
    /// - Parameters:
    ///   - imports: what an import that was interrupted had sorted, sorted again.
    ///   - withoutImport: gives such an import up: nothing of it is counted.
    /// - Throws: as `run`; 78 if the sums of an import are needed.
    public func resume(with imports: EpochBuild.Import? = nil, withoutImport: Bool = false) throws(Failure) -> Bool {
        var file = try folder.clusterFile()
        guard file.isUnfinished else { return false }
        // Once the new shards are in place, the sums are in them.
        let isBuilt = Folder.exists(folder.epochPath(file.topology.epoch))
        if withoutImport, isBuilt, file.importing != nil {
            throw Failure(
                .configuration, "the lines of the import are in the new shards already", at: folder.clusterFilePath,
                advice: "`tallymill rebalance resume` without --without-import counts them.")
        }
        if let importing = file.importing, !isBuilt, importing != imports?.id {
            guard withoutImport else {
                throw Failure(
                    .configuration, "an import was interrupted, and its lines are needed again",
                    at: folder.clusterFilePath,
                    advice: "Run the same import again, or give it up, and count nothing of it: "
                        + "`tallymill rebalance resume --without-import`.")
            }
            file.importing = nil
            try AtomicFile.write(Array(file.json.utf8), to: folder.clusterFilePath)
        }
        try change(EpochChange(resuming: file), imports?.id == file.importing ? imports : nil)
        return true
    }

    private static func newID() -> Bytes16 {
        var random = SystemRandomNumberGenerator()
        return .random(using: &random)
    }

    private func change(_ change: EpochChange, _ imports: EpochBuild.Import? = nil) throws(Failure) {
        var tools = tools
        tools.imports = imports
        try EpochChangeRun(change, tools: tools).run()
        let topology = change.building.topology
        tools.tell(.done("epoch \(topology.epoch) is ready: \(Humanized.count(topology.partitions, "partition"))"))
    }

    /// Step 0: nothing is changed, and what would fail later fails here.
    ///
    /// - Returns: the newest epoch that web nodes or keys in Redis tell of.
    private func preflight(_ file: ClusterFile, to partitions: Int) throws(Failure) -> UInt32 {
        let redis = try RedisSample(tools.access, file.topology)
        let consumers = try ConsumerAtWork.find(file.topology, in: folder, leases: redis.leases)
        if !consumers.isEmpty { throw .consumersAtWork(consumers) }
        let disk = try RebalanceDisk(folder, file.topology, to: partitions)
        guard disk.free > disk.needed else {
            throw Failure(
                .ioError,
                "the change needs \(Humanized.bytes(disk.needed)), and \(Humanized.bytes(disk.free)) are free",
                at: folder.path, advice: "Free space, or purge older epochs: `tallymill rebalance purge`.")
        }
        let next = folder.epochPath(redis.noted.next)
        if Folder.exists(next) {
            throw Failure(
                .configuration, "there is a folder of the next epoch already", at: next,
                advice: "It belongs to no epoch of the cluster file: move it away.")
        }
        try checkShards(file.topology)
        try checkQueues(file)
        return redis.noted.next - 1
    }

    /// What would stop the drain: a list that cannot be consumed to its end by the file that is here.
    private func checkQueues(_ file: ClusterFile) throws(Failure) {
        try ToolRedis(tools.access).look { keys throws(Failure) in
            for partition in file.topology.partitionIDs { try checkQueue(partition, file, keys) }
            let missing = try MissingBatches.find(file.topology, in: folder, keys)
            if !missing.isEmpty { throw .missing(missing, in: folder) }
        }
    }

    private func checkQueue(
        _ partition: PartitionID, _ file: ClusterFile, _ keys: ClusterKeys
    ) throws(Failure) {
        let queue = keys.names.group(of: partition).queue
        let reading = try QueueReading(partition, keys, isWhole: false)
        if case .noTopology = reading.ledger {
            // Nodes that have released what a file lacks are the only ones who know it, and forget it when they move.
            throw Failure(
                .configuration,
                "partition \(partition.number) has no keys in Redis, so nobody can tell whether its"
                    + " shard is whole", at: queue, advice: "`tallymill repair` creates them; then run this again.")
        }
        guard case .ledger(let ledger) = reading.ledger else { return }
        let location = folder.shard(partition.number, of: file.topology)
        let uuid = try onStore { () throws(StoreError) in
            try ShardReader(at: location.path, expecting: location.expected).identity.uuid
        }
        if ledger.shard != uuid { throw .otherShard(partition, found: ledger.shard, expected: uuid, folder, file) }
        for (index, entry) in ledger.entries.enumerated() {
            guard let header = entry.header else {
                throw Failure(
                    .corrupt, "entry \(index) of the list is no batch: \(entry.fault ?? "it is unreadable")", at: queue,
                    advice: "No consumer takes it. A newer release may read it; otherwise `tallymill verify` says what"
                        + " can be done.")
            }
            guard header.id.stream.partition == partition else {
                throw Failure(
                    .corrupt, "entry \(index) of the list, batch \(header.id), belongs to another partition", at: queue,
                    advice: "No consumer takes it. Somebody moved it by hand: move it back.")
            }
        }
    }

    private func checkShards(_ topology: Topology) throws(Failure) {
        tools.tell(.phase("checking the shards", total: topology.partitions))
        let folder = folder
        let done = StepCount()
        let partitions = topology.partitionIDs
        try Workers.run(partitions.count, name: "check", tick: { tools.tell(.progress(done: done.value)) }) {
            number, _ throws(Failure) in
            defer { done.add(1) }
            let location = folder.shard(partitions[number].number, of: topology)
            let problems = try onStore { () throws(StoreError) in
                try ShardReader(at: location.path, expecting: location.expected).quickCheck(limit: 1)
            }
            guard let problem = problems.first else { return }
            throw Failure(
                .corrupt, "the shard is damaged: \(problem)", at: location.path,
                advice: "Restore it from a backup; `tallymill verify` checks all shards.")
        }
        tools.tell(.done("checked \(Humanized.count(topology.partitions, "shard")) of epoch \(topology.epoch)"))
    }
}
