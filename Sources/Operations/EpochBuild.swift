// The data part of a change of epoch: K' new shard files out of K retired ones, and counts from outside if there are
// any.
//
//   1 survey     the figures of each old shard and its memory; its watermarks, claims, dead letters and losses go to
//                runs (Run.swift)
//   2 sources    old shards that stay hand their counters to the new one of their number, those that vanish write all
//                to runs. If K grows this fills the new shards 0..<K at once, and what moves goes to runs
//   3 targets    the other new shards, out of runs; if K shrinks, all of them, out of the old one and runs
//   4 check      every new file is read again: each key in its right shard, and all of them together what the old
//                files held: keys, sum and an order-free checksum of (key, value, time)
//
// Memory is constant: a block for each pair of shards, and SQLite's caches. Nothing is journalled: interrupted, the
// staging folder is deleted and everything made again, for old files are only read. Counters, claims and dead letters
// go by their key, a dead letter without a key (its batch was damaged) into shard 0, the watermarks and the losses of
// all old shards into every new one. So does what the old shards remember of what they forgot, joined: the claim clock
// of a new shard is ahead of all of them, and each claim is raised by as much as its own shard's clock lagged behind,
// so that it lives as long as it would have. The imports that are known to be complete, those of the cluster file among
// them and the one that comes in now, are named in every new shard: what still arrives of them is recognised there.
//
// The ledger: a shard starts with `carried`, whose sum is that of its carried counters. How many increments made a
// counter what it is nobody knows, so `carried.increments` is the number of all increments of the old epoch (carried,
// imported and applied) spread evenly over the new shards, as the hash spreads keys: exact in their total.

import Glibc
public import ServiceKit
public import ShardConsumer
import ShardStore
public import TallyCore

/// A build of the shards of a new epoch.
public struct EpochBuild: Sendable {
    /// Counts from outside.
    public struct Import: Sendable {
        /// What the import is known by.
        public let id: Bytes16
        /// What each new partition gets, in order: how many increments, and their sum.
        let amounts: [Amount]
        /// The entries of one new partition. Called once for each, on any thread.
        let source: @Sendable (Int) throws(Failure) -> any SortedSource

        /// Dead letters name this producer, with sequence 1.
        var producer: ProducerID { ProducerID(id) }

        public init(
            id: Bytes16, amounts: [Amount],
            source: @escaping @Sendable (Int) throws(Failure) -> any SortedSource
        ) {
            self.id = id
            self.amounts = amounts
            self.source = source
        }
    }

    /// A new shard.
    public struct Shard: Hashable, Sendable {
        public let path: String
        public let partition: PartitionID
        public let keys: Int
        /// The sum of all counters.
        public let total: Int128
        /// What could not be added from outside, and is in the dead letters.
        public let buried: Amount
        public let imported: Amount
    }

    /// What was built.
    public struct Outcome: Hashable, Sendable {
        public let shards: [Shard]
        /// Counters that changed their number.
        public let moved: Int

        public var keys: Int { shards.reduce(0) { $0 + $1.keys } }
        public var total: Int128 { shards.reduce(0) { $0 + $1.total } }
        public var imported: Amount { shards.reduce(into: .zero) { $0 += $1.imported } }
        public var buried: Amount { shards.reduce(into: .zero) { $0 += $1.buried } }
    }

    let old: [ShardLocation]
    let new: Topology
    private let change: Bytes16?
    let staging: String
    let time: UInt64
    let imports: Import?
    /// Imports that are complete, as the cluster file has them.
    let knownImports: [Bytes16]
    let placement: Placement

    /// - Parameters:
    ///   - old: the shards of the epoch that ends, all of them, in order, and retired.
    ///   - new: the epoch to be built.
    ///   - change: the id of the change, as the cluster file has it.
    ///   - staging: the folder of the new files; deleted with what is in it if it exists.
    ///   - knownImports: imports that are complete, as the cluster file has them.
    ///   - timeMilliseconds: now, in ms since 1970.
    public init(
        from old: [ShardLocation], to new: Topology, change: Bytes16? = nil, staging: String,
        importing imports: Import? = nil,
        knownImports: [Bytes16] = [], timeMilliseconds: UInt64
    ) {
        precondition(
            old.indices.allSatisfy { old[$0].partition.number == $0 && old[$0].expected.partitions == old.count })
        self.old = old
        self.new = new
        self.change = change
        self.staging = staging
        self.imports = imports
        self.knownImports = knownImports
        time = timeMilliseconds
        placement = Placement(old: Partitioner(partitions: old.count), new: new.partitioner)
    }

    /// Builds and checks all files; they are forced to the disk, names and all, when it returns.
    ///
    /// - Parameters:
    ///   - stop: ends it early when set.
    ///   - report: how far it is, from any thread, now and then.
    /// - Throws: 65 if an old shard is damaged, holds a key of another's, or does not come out as it went in; 74; 78 if
    ///   one is not retired or not what it should be; 1 if it was stopped.
    public func run(
        stop: StopRequest = StopRequest(), report: @escaping @Sendable (_ done: Int, _ total: Int) -> Void = { _, _ in }
    ) throws(Failure) -> Outcome {
        try Folder.removeFiles(staging)
        guard mkdir(staging, 0o750) == 0 else {
            throw Failure(cannot: "make the folder", errno: errno, at: staging)
        }
        let scratch = try ScratchFile(in: staging)
        let surveys = try survey(scratch)
        // Read, written and read again; what comes from outside is written and read again, each increment of another
        // key as far as anybody knows.
        let increments = imports?.amounts.reduce(0) { $0 + Int(clamping: $1.increments) } ?? 0
        let rows = 3 * surveys.reduce(0) { $0 + $1.keys } + 2 * increments
        let progress = BuildProgress(total: rows, stop: stop, report: report)
        var work = BuildWork(build: self, scratch: scratch, progress: progress, surveys: surveys)
        try work.readSources()
        try work.buildTargets()
        try check(work, progress)
        try AtomicFile.syncFolder(staging)
        return Outcome(
            shards: work.built.map { shard in
                Shard(
                    path: path(shard.partition), partition: shard.partition, keys: shard.totals.keys,
                    total: shard.totals.sum, buried: shard.buried, imported: shard.imported)
            }, moved: work.moved)
    }

    /// What every new shard remembers.
    func memory(_ surveys: [OldShardSurvey]) -> ShardMemory {
        var memory = ShardMemory.joined(surveys.map(\.memory))
        let complete = knownImports + [imports?.id].compactMap(\.self)
        memory.imports += complete.filter { !memory.imports.contains($0) }
        return memory
    }

    func path(_ partition: PartitionID) -> String {
        "\(staging)/\(DataFolder.shardName(partition, of: new.partitions))"
    }

    func identity(_ partition: PartitionID) -> ShardIdentity {
        ShardIdentity(
            cluster: new.cluster, partition: partition, partitions: new.partitions,
            uuid: ShardUUID(derivedFor: partition, of: new.cluster, change: change))
    }

    /// What one block of a run may hold, so that a thread holds a block for each shard.
    var blockBytes: Int {
        let share = Limits.buildRunBytes / max(old.count, new.partitions)
        return min(max(share, Limits.buildBlockBytesMin), Limits.buildBlockBytesMax)
    }
}
