// Performs a change of epoch: `EpochChange` says which step is next, this does it, and the journal tells.
//
// Every step may be repeated, so a run that was killed is resumed from the cluster file alone. Redis may restart or go
// back in time under any step: a call without an answer is made again, and a key group that lost its seal is sealed
// and drained again.

import Glibc
import Logging
import RedisQueue
public import ServiceKit
import ShardConsumer
import ShardStore
import TallyCore

/// Runs one change of epoch to its end. Owned by one thread.
final class EpochChangeRun {
    /// How a change is told apart from others that run here, and what it is done with.
    struct Tools: Sendable {
        var folder: DataFolder
        var access: RedisAccess
        var logger: Logger
        /// Set from another thread: the run ends between two steps, and can be resumed.
        var stopRequest: StopRequest
        var tell: @Sendable (ChangeNote) -> Void
        /// For drills: the process stops itself (SIGSTOP) before the step of that number, from 1.
        var pauseBefore: Int?
        /// For a direct import: sums that come in beside those of the old shards.
        var imports: EpochBuild.Import?
    }

    private var tools: Tools
    private var change: EpochChange
    private let journal: RebalanceJournal
    private let redis: ToolRedis
    private let totalSteps: Int
    private var number = 0
    /// From the first long step on.
    private var publisher: EpochPublisher?

    init(_ change: EpochChange, tools: Tools) throws(Failure) {
        self.change = change
        self.tools = tools
        journal = try RebalanceJournal(tools.folder.journalPath)
        redis = ToolRedis(tools.access)
        totalSteps = change.stepsLeft - change.building.earlier.reduce(0) { $0 + $1.partitions }
    }

    private var old: ClusterFile.Epoch {
        guard let old = change.building.earlier.last else { preconditionFailure("a change of epoch without a first") }
        return old
    }

    private var topology: Topology { change.building.topology }

    /// Runs until done.
    ///
    /// - Throws: 1 if it was told to stop; 69, 65, 74, 75, 78. It can be resumed.
    func run() throws(Failure) {
        let isNew = if case .open = change.next { true } else { false }
        let text = "epoch \(topology.epoch): \(old.partitions) -> \(topology.partitions) partitions"
        try journal.write(isNew ? .begin : .resume, text, total: totalSteps)
        defer { publisher?.end() }
        do throws(Failure) {
            try requireOurRedis()
            while let step = nextStep {
                if tools.stopRequest.isSet { throw Self.interrupted }
                number += 1
                try journal.write(.step, step.text, done: number, total: totalSteps)
                if tools.pauseBefore == number { raise(SIGSTOP) }
                try perform(step)
            }
            try journal.write(.end, text)
        } catch {
            try journal.write(.failed, error.sentence)
            throw error
        }
        try tools.folder.keepJournal(of: topology.epoch)
    }

    /// Old key groups stay: stragglers may still have to read that their epoch is sealed. `purge` collects them.
    private var nextStep: EpochChange.Step? {
        if case .collect = change.next { nil } else { change.next }
    }

    static let interrupted = Failure(
        .failure, "interrupted", advice: "`tallymill rebalance resume` goes on where it stopped.")

    /// Nothing is sealed in a Redis that belongs to somebody else.
    private func requireOurRedis() throws(Failure) {
        guard let published = try redis.call({ keys throws(RedisError) in try keys.readTopology() }) else { return }
        if published.cluster != topology.cluster {
            throw .foreignRedis(published.cluster, at: "\(tools.access.link.url)")
        }
        if published.epoch > topology.epoch { throw .olderFolder(published, topology, tools.folder) }
    }

    private func perform(_ step: EpochChange.Step) throws(Failure) {
        switch step {
        case .drain, .build: publisher = publisher ?? EpochPublisher(change.building, in: tools.folder, tools.access)
        default: break
        }
        switch step {
        case .open(let file), .ready(let file):
            try AtomicFile.write(Array(file.json.utf8), to: tools.folder.clusterFilePath)
        case .create(let partition): try create(partition)
        case .publish(let topology): try publish(topology)
        case .seal(let partition):
            _ = try redis.call { keys throws(RedisError) in try keys.seal(partition) }  // gone is as good
        case .drain(let partition): try drain(partition)
        case .build:
            try leaveOutArrivedImport()
            try build()
        case .place: try place()
        case .collect: preconditionFailure("old key groups are left to `purge`")
        }
        change.done(step)
    }

    private func create(_ partition: PartitionID) throws(Failure) {
        // Known before the file exists.
        let uuid = change.building.derivedShard(of: partition)
        let watermarks = try tools.folder.watermarksIfHere(partition, of: change.building)
        let reply = try redis.call { keys throws(RedisError) in
            try keys.create(partition, shard: uuid, topology: topology, applied: watermarks)
        }
        if case .existing(let other, _) = reply, other != uuid {
            throw .otherShard(partition, found: other, expected: uuid, tools.folder, change.building)
        }
    }

    private func publish(_ topology: Topology) throws(Failure) {
        let reply = try redis.call { keys throws(RedisError) in try keys.publish(topology) }
        if case .newer(let newer) = reply { throw .olderFolder(newer, topology, tools.folder) }
    }

    private func drain(_ partition: PartitionID) throws(Failure) {
        if partition.number == 0 { tools.tell(.phase("draining the old queues", total: old.partitions)) }
        let name = "draining \(partition)"
        let drain = PartitionDrain(
            ShardConsumer.Configuration(
                link: tools.access.link, names: tools.access.names, host: try Host.identity(), owner: Host.owner,
                idempotencyRetention: IdempotencyRetention(milliseconds: nil)),
            logger: tools.logger)
        let location = tools.folder.shard(partition, of: old.partitions, in: topology.cluster)
        let isDone = try drain.run(location, stopRequest: tools.stopRequest) { [journal] length in
            journal.progress(name, done: 0, total: length)
        }
        if !isDone { throw Self.interrupted }
        tools.tell(.progress(done: Int(partition.number) + 1))
        if Int(partition.number) + 1 == old.partitions {
            tools.tell(.done("drained and retired \(Humanized.count(old.partitions, "shard")) of epoch \(old.epoch)"))
        }
    }

}

extension DataFolder {
    /// Puts away the journal of a change that was killed after its last step; false if there is none. The caller holds
    /// the cluster's lock.
    ///
    /// - Throws: 78 if there is no cluster, 74.
    public func endJournal() throws(Failure) -> Bool {
        let file = try clusterFile()
        guard !file.isUnfinished, Folder.exists(journalPath) else { return false }
        try keepJournal(of: file.topology.epoch)
        return true
    }

    /// The journal of a change that has ended goes into the folder of the epoch that it made.
    func keepJournal(of epoch: UInt32) throws(Failure) {
        guard rename(journalPath, "\(epochPath(epoch))/rebalance.journal") == 0 else {
            throw Failure(cannot: "move the journal", errno: errno, at: journalPath)
        }
        try AtomicFile.syncFolder(path)
    }
}

// The new shards.
extension EpochChangeRun {
    private var isInPlace: Bool { Folder.exists(tools.folder.epochPath(topology.epoch)) }

    /// A direct import looks at no claim. What lay in the lists may have been some of its lines: then it is left out,
    /// and whoever brought it delivers it through the queues.
    private func leaveOutArrivedImport() throws(Failure) {
        guard let importing = change.building.importing, !isInPlace, try hasArrived(importing) else { return }
        change.leaveOutImport()
        tools.imports = nil
        // Durable before anything is built: whoever resumes must not add the lines either.
        try AtomicFile.write(Array(change.building.json.utf8), to: tools.folder.clusterFilePath)
        tools.tell(.done("the queues have brought some of the lines: the new shards are made without them"))
    }

    private func hasArrived(_ importing: Bytes16) throws(Failure) -> Bool {
        for partition in old.partitionIDs {
            let location = tools.folder.shard(partition, of: old.partitions, in: topology.cluster)
            if try ImportTrace(of: importing, in: location) != .none { return true }
        }
        return false
    }

    private func build() throws(Failure) {
        if isInPlace { return }
        let start = MonotonicClock.milliseconds()
        tools.tell(.phase(Self.building, total: nil))
        let tell = tools.tell
        let outcome = try EpochBuild(
            from: old.partitionIDs.map { tools.folder.shard($0, of: old.partitions, in: topology.cluster) },
            to: topology, change: change.building.change, staging: tools.folder.stagingPath(topology.epoch),
            importing: tools.imports, knownImports: change.building.imports,
            timeMilliseconds: UInt64(WallClock.milliseconds())
        ).run(stop: tools.stopRequest) { [journal] done, total in
            tell(.phase(Self.building, total: total))
            tell(.progress(done: done))
            journal.progress(Self.building, done: done, total: total)
        }
        let seconds = Humanized.duration(milliseconds: Int(MonotonicClock.milliseconds() - start))
        tools.tell(
            .done(
                "built and verified \(Humanized.count(topology.partitions, "shard")) in \(seconds): "
                    + "\(Humanized.count(outcome.keys, "key")), total \(Humanized.count(outcome.total)); "
                    + "\(Humanized.count(outcome.moved, "key")) moved"))
    }

    private static let building = "building the new shards"

    private func place() throws(Failure) {
        if isInPlace { return }
        let staging = tools.folder.stagingPath(topology.epoch)
        guard rename(staging, tools.folder.epochPath(topology.epoch)) == 0 else {
            throw Failure(cannot: "rename", errno: errno, at: staging)
        }
        try AtomicFile.syncFolder(tools.folder.path)
    }
}

extension EpochChange.Step {
    /// As the journal has it.
    var text: String {
        switch self {
        case .open: "open"
        case .create(let partition): "create \(partition)"
        case .publish(let topology): "publish epoch \(topology.epoch)"
        case .seal(let partition): "seal \(partition)"
        case .drain(let partition): "drain \(partition)"
        case .build: "build"
        case .place: "place"
        case .ready: "ready"
        case .collect(let partition): "collect \(partition)"
        }
    }
}
