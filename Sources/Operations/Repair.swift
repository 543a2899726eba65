// `repair`: brings any Redis (rolled back in part or as a whole, or empty) to what the cluster file says. It may run at
// any time, beside nodes and consumers, and again after any crash; what is in order it leaves alone.
//
//   1  functions, topology, key groups of the cluster file's epoch: create-if-absent, never lowered
//   2  what is missing for good is declared lost, if the operator has accepted that (Repair+Losses.swift); what some
//      shards know to be lost of earlier epochs is written into the others
//      an entry that no consumer can take, and that the operator has named, is taken from its list (Repair+Bury.swift)
//   3  a change of epoch that was interrupted is resumed
//   4  every earlier epoch: its key groups are sealed, and what lies in their lists is sent to the current epoch
//      (Repair+Sweep.swift)
//   5  on request, key groups of earlier epochs that are sealed and empty are deleted
//   6  what is missing for good, and was not accepted, is named
//
// It holds the cluster's lock from the plan to the end.

import RedisQueue
public import ServiceKit
import ShardStore
import TallyCore

/// One repair. Owned by one thread.
public final class Repair {
    /// What else than mending is wanted.
    public struct Options {
        /// Delete key groups of earlier epochs that are sealed and empty.
        public var collects = false
        /// What may be declared lost.
        public var accepted: [LossChoice] = []
        /// What may be taken from the head of a list.
        public var buried: [BuryChoice] = []
        public var patience = Courier.Patience()
        public var clientWait = ClientWait()
        /// Resumes the change of epoch that the cluster file says is under way, under the cluster's lock, which this
        /// repair holds. nil: a repair says that it is due, and ends.
        public var resume: (() throws(Failure) -> Void)?

        public init() {}
    }

    /// What is due, before anything is done.
    public let survey: Survey
    /// What is missing for good, before anything is done; empty if Redis cannot tell before it is mended.
    public private(set) var missing: [MissingBatches] = []
    /// What no consumer can take, before anything is done.
    private var stuck: [StuckEntry] = []
    /// Shards that do not know what others know to be lost, before anything is done.
    private let spread: [LossSpread.Shard]
    let folder: DataFolder
    let access: RedisAccess
    let options: Options
    private let lock: FileLock
    private var connection: RedisConnection?
    private var uuids: [PartitionID: ShardUUID] = [:]
    /// Where each thing that was done is told, as a line.
    var tell: (String) -> Void = { _ in }

    /// Takes the cluster's lock and looks.
    ///
    /// - Throws: 75 if another tool is at work, 69 if Redis is unreachable, 78 if the folder and this Redis do not
    ///   belong together, or `init` has not ended.
    public init(_ folder: DataFolder, _ access: RedisAccess, _ options: Options) throws(Failure) {
        _ = try Self.clusterFile(folder)  // only whether there is one: without a folder there is no lock to take
        lock = try folder.lockForChange()
        self.folder = folder
        self.access = access
        self.options = options
        let connection = try access.connect(
            waitingMilliseconds: RedisAccess.startMilliseconds, needsLibrary: false)
        self.connection = connection
        survey = try Survey(folder, try Self.clusterFile(folder), connection, access.names)
        spread = survey.file.state == .ready ? LossSpread(survey.file.topology, in: folder).shards : []
        if let obstacle = survey.obstacles.first { throw obstacle }
        stuck = try lookForStuck()
        try check(stuck)
        if survey.canAsk {
            missing = try lookForMissing(survey.file)
            try check(missing)
        }
    }

    /// What would be done, one step a line; empty if nothing is due.
    public var plan: [String] {
        var plan = survey.due.map { due in
            switch due {
            case .library: "\(due): load them"
            case .topology(_, let wanted): "\(due): publish epoch \(wanted.epoch)"
            case .groups: "\(due): create them, empty"
            case .building:
                options.resume == nil
                    ? "\(due): left to `tallymill rebalance resume`" : "\(due): resume the rebalance"
            case .oldList: "\(due): seal the list, send them to epoch \(survey.file.topology.epoch)"
            case .unsealed: "\(due): seal them"
            }
        }
        plan += missing.filter { isAccepted($0) }.map { "\($0): they \($0.cause): declare them lost" }
        plan += stuck.filter { isBuried($0) }.map { "\($0): keep its bytes in a file, take it from the list" }
        plan += spread.map { "partition \($0.partition.number): \($0.sentence): write it into the shard" }
        if options.collects, !survey.collectable.isEmpty {
            plan.append("\(Self.groups(survey.collectable.count)) of earlier epochs are sealed and empty: delete them")
        }
        return plan
    }

    /// What to look at before the plan: that Redis may be another one than was meant; nil if it knows the cluster.
    public var caution: String? {
        if !survey.isNothingThere { return nil }
        return "nothing of cluster \(survey.file.topology.cluster) is in \(access.place): if it has not lost its keys,"
            + " name the right one with --redis and --namespace"
    }

    /// What this repair will not mend, one range a line.
    public var unmended: [String] {
        missing.filter { !isAccepted($0) }.map { "\($0): they \($0.cause)" }
            + stuck.filter { !isBuried($0) }.map { "\($0): --bury \($0.choice.text) takes it away" }
    }

    /// Does what is due.
    ///
    /// - Parameter tell: gets a line for each thing that was done.
    /// - Throws: 3 if something is left that needs an operator, with what; 64 if something was accepted that is not
    ///   missing; otherwise as `init` and `Courier`.
    public func run(_ tell: @escaping (String) -> Void) throws(Failure) {
        self.tell = tell
        try publish()
        let stuck = try bury()
        if try clusterFile().state == .building {
            // What the drain could not get over.
            let left = try acceptLosses()
            if !left.isEmpty { try checkThatNothingIsLeft(left, stuck) }
            guard let resume = options.resume else {
                throw Failure(
                    .partial, "epoch \(survey.file.topology.epoch) is still being built", at: folder.clusterFilePath,
                    advice: "`tallymill rebalance resume` finishes it; then run this again.")
            }
            try resume()
            try publish()
        }
        let left = try acceptLosses()
        try sweep()
        if options.collects { try collect(except: Set(left.map(\.partition))) }
        try checkThatNothingIsLeft(left, stuck)
        try checkThatEveryShardKnows()
        try checkNodes()
    }

    /// - Throws: 3 with what is missing, and with entries that no consumer takes: one of them may be what is missing.
    private func checkThatNothingIsLeft(_ missing: [MissingBatches], _ stuck: [StuckEntry]) throws(Failure) {
        if missing.isEmpty, stuck.isEmpty { return }
        if missing.isEmpty { throw .stuck(stuck) }
        let lost = Failure.missing(missing, in: folder)
        if stuck.isEmpty { throw lost }
        let entries = Failure.stuck(stuck)
        throw Failure(
            .partial, "\(entries.what)\n  \(lost.what)", at: folder.path,
            advice: [entries.advice, lost.advice].compactMap(\.self).joined(separator: "\n  "))
    }

    /// Whether web nodes wait for what a repair does not do.
    ///
    /// - Throws: 3 if one waits for an epoch above one that the cluster does not know of.
    public func checkNodes() throws(Failure) {
        let topology = try clusterFile().topology
        let noted = try ToolRedis(access).look { keys throws(Failure) in try NotedEpoch(topology, keys) }
        if noted.isAwaited { throw noted.failure(at: access.names.noted) }
    }

    func clusterFile() throws(Failure) -> ClusterFile { try Self.clusterFile(folder) }

    /// What `init` has not finished is its own to finish.
    private static func clusterFile(_ folder: DataFolder) throws(Failure) -> ClusterFile {
        if let file = try folder.readClusterFile(), file.isUnfinished { return file }
        return try folder.readyClusterFile()
    }

    /// Asks Redis; once more, over a new connection, if the first was lost. So everything here may be repeated.
    func ask<Value>(_ body: (RedisConnection) throws(RedisError) -> Value) throws(Failure) -> Value {
        if let connection, connection.failure == nil {
            do throws(RedisError) {
                return try body(connection)
            } catch {
                if connection.failure == nil { throw Failure(error) }
            }
        }
        let made = try access.connect(waitingMilliseconds: RedisAccess.startMilliseconds, needsLibrary: false)
        connection = made
        return try onRedis { () throws(RedisError) in try body(made) }
    }

    private static func groups(_ count: Int) -> String { count == 1 ? "1 key group" : "\(count) key groups" }
}

// What Redis has to show of the current epoch.
extension Repair {
    /// Loads, publishes and creates what is missing. Harmless at any time.
    func publish() throws(Failure) {
        let file = try clusterFile()
        let topology = file.topology
        let (loaded, before, published) = try ask { connection throws(RedisError) in
            let loaded = try FunctionLibrary.load(into: connection)
            let keys = ClusterKeys(connection: connection, names: access.names)
            return (loaded, try keys.readTopology(), try keys.publish(topology))
        }
        if loaded == .loaded { tell("loaded the functions, revision \(FunctionLibrary.revision)") }
        if case .newer(let newer) = published { throw .olderFolder(newer, topology, folder) }
        if before != topology {
            tell("published epoch \(topology.epoch), \(Humanized.count(topology.partitions, "partition"))")
        }
        var created: [UInt32] = []
        for partition in topology.partitionIDs where try create(partition, of: file) {
            created.append(partition.number)
        }
        if created.isEmpty { return }
        tell("created the keys of epoch \(topology.epoch), partitions \(PartitionList.text(created))")
    }

    /// Whether the group was missing.
    private func create(_ partition: PartitionID, of file: ClusterFile) throws(Failure) -> Bool {
        guard let uuid = shardUUID(of: partition, file) else {
            let glance = try ask { connection throws(RedisError) in
                try ClusterKeys(connection: connection, names: access.names).glance(partition)
            }
            if glance.group != nil { return false }
            throw Failure(
                .configuration,
                "partition \(partition.number) has no keys in Redis, and its shard is not here to tell"
                    + " which file they belong to",
                at: folder.shardPath(partition, of: file.topology.partitions),
                advice: "Run this on the host of that shard, or put the file back.")
        }
        let watermarks = try folder.watermarksIfHere(partition, of: file)
        let reply = try ask { connection throws(RedisError) in
            try ClusterKeys(connection: connection, names: access.names).create(
                partition, shard: uuid, topology: file.topology, applied: watermarks)
        }
        switch reply {
        case .created: return true
        case .existing(uuid, _): return false
        case .existing(let other, _): throw .otherShard(partition, found: other, expected: uuid, folder, file)
        }
    }

    /// Read once: while a repair waits, it asks for all of them every second.
    private func shardUUID(of partition: PartitionID, _ file: ClusterFile) -> ShardUUID? {
        if let known = uuids[partition] { return known }
        let uuid = folder.shardUUIDIfHere(partition, of: file)
        uuids[partition] = uuid
        return uuid
    }

    /// - Parameter telling: what their keys show would be forgotten with them.
    private func collect(except telling: Set<PartitionID>) throws(Failure) {
        var collected = 0
        for partition in try clusterFile().earlier.flatMap(\.partitionIDs) where !telling.contains(partition) {
            let reply = try ask { connection throws(RedisError) in
                try ClusterKeys(connection: connection, names: access.names).collect(partition)
            }
            if reply == .collected { collected += 1 }
        }
        if collected > 0 { tell("deleted \(Self.groups(collected)) of earlier epochs") }
    }
}
