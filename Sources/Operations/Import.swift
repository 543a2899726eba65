// `import`: counts from elsewhere, each exactly once, however often the command is repeated.
//
// The lines are sorted first and summed by key; nothing has happened until that is done. Then there are two ways.
// Into an empty cluster the sums go directly: a change of epoch with as many partitions as before builds new shards
// from the old ones, which are empty, and the sorted lines; its commit point is the import's. Otherwise they go
// through the queues like any increments, beside everything else that is counted (Import+Delivery.swift).
//
// An import is known by the digest of its lines. A direct one is named in the cluster file: from its first step
// (`importing`) until its commit (`imports`, kept), and in the shards that it makes. Through the queues the digest is
// the claim of every sum, which does not expire, until all are stored and the import is named in each shard.
//
// The ways exclude each other, because a direct import looks at no claim. So it is open only if no shard has a trace of
// the import and no list a batch, which might be one of it; and after the drain, when nothing more can come from a
// list, the change of epoch looks again (EpochChangeRun) and leaves the lines out if some of them have arrived.

import RedisQueue
public import ServiceKit
import ShardConsumer
import ShardStore
import TallyCore

/// Brings sorted lines into a cluster.
public struct Import {
    /// How the lines come in.
    public enum Way: Hashable, Sendable {
        /// As new shards, by a change of epoch.
        case direct
        case queues
        /// They are in already.
        case done
        /// A direct import of the same lines was interrupted.
        case resume
    }

    /// Increments that are handed to the queues at a time.
    static let chunkIncrements = 4_000

    let folder: DataFolder
    let runs: SortedRuns
    /// What the import is known by.
    let id: Bytes16

    /// - Parameter again: a name under which lines that are in already count once more; nil for the first time.
    public init(_ runs: SortedRuns, into folder: DataFolder, again: String? = nil) {
        self.runs = runs
        self.folder = folder
        let digest = runs.digest.bytes
        id =
            again.map { name in
                let bytes = digest.array + Array(name.utf8)
                return Bytes16(high: XXH64.hash(bytes, seed: 1), low: XXH64.hash(bytes, seed: 2))
            } ?? digest
    }

    /// Which way is open. The caller holds the cluster's lock. Asked again after a direct import it says `done`, or
    /// `queues` if the lines were left out of it.
    ///
    /// - Throws: 78 while another change of epoch is unfinished; whatever is wrong with a shard that is here; 69 and 78
    ///   if Redis does not tell what lies in the lists.
    public func way(throughQueues: Bool, _ access: RedisAccess) throws(Failure) -> Way {
        let file = try folder.clusterFile()
        if file.imports.contains(id) { return .done }
        if file.state == .building, file.importing == id { return .resume }
        let topology = try folder.readyClusterFile().topology
        let locations = topology.partitionIDs.map { folder.shard($0.number, of: topology) }
        let here = locations.filter { Folder.exists($0.path) }
        let traces = try here.map { location throws(Failure) in try ImportTrace(of: id, in: location) }
        let isWhole = here.count == locations.count
        if isWhole, traces.allSatisfy({ $0 == .named }) { return .done }
        // If shards lie on several hosts, or K has changed since the lines were sorted, no new ones can be made here.
        if throughQueues || !isWhole || runs.amounts.count != topology.partitions { return .queues }
        if traces.contains(where: { $0 != .none }) { return .queues }
        if try Self.hasKeys(here) { return .queues }
        return try Self.hasBatches(file, access) ? .queues : .direct
    }

    private static func hasKeys(_ locations: [ShardLocation]) throws(Failure) -> Bool {
        for location in locations {
            let keys = try onStore { () throws(StoreError) in
                try ShardReader(at: location.path, expecting: location.expected).statistics().keys
            }
            if keys > 0 { return true }
        }
        return false
    }

    /// Whether a list of any epoch holds a batch: a batch may be of this import.
    private static func hasBatches(_ file: ClusterFile, _ access: RedisAccess) throws(Failure) -> Bool {
        let redis = ToolRedis(access)
        for partition in file.earlier.flatMap(\.partitionIDs) + file.topology.partitionIDs {
            let reply = try redis.call { keys throws(RedisError) in try keys.inspect(partition) }
            if case .group(let group) = reply, group.length > 0 { return true }
        }
        return false
    }

    /// How many sums of a direct import do not fit their counters and are dead letters, as far as they are there still.
    ///
    /// - Throws: whatever is wrong with a shard that is here.
    public func buried() throws(Failure) -> UInt64 {
        let topology = try folder.readyClusterFile().topology
        var count: UInt64 = 0
        for partition in topology.partitionIDs {
            let location = folder.shard(partition.number, of: topology)
            let batch = BatchID(stream: StreamID(partition: partition, producer: ProducerID(id)), sequence: 1)
            count += try onStore { () throws(StoreError) in
                UInt64(try ShardReader(at: location.path, expecting: location.expected).deadLetters(of: batch).count)
            }
        }
        return count
    }

    /// What a change of epoch takes in.
    public var source: EpochBuild.Import {
        let runs = runs
        return EpochBuild.Import(id: id, amounts: runs.amounts) { partition throws(Failure) in
            try runs.source(of: partition)
        }
    }
}
