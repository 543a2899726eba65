// A backup put in place: where nothing is in the way, where something is, and where counts would be missing.

import Glibc
import RedisQueue
import ServiceKit
import ShardConsumer
import ShardStore
import TallyCore
import TestSupport
import Testing

@testable import Operations

@Suite struct RestoreTests {
    let folder = ScratchFolder()
    private var target: String { "\(folder.path)/backup" }
    private var place: DataFolder { DataFolder("\(folder.path)/new") }

    private func cluster() throws -> ShardFixture {
        var cluster = try ShardFixture("\(folder.path)/data", partitions: 3)
        try cluster.count(awkwardCounters(300))
        return cluster
    }

    private func backUp(_ cluster: ShardFixture) throws -> BackupFolder {
        _ = try Backup(cluster.folder, to: target, release: "r").run()
        return try BackupFolder(target)
    }

    @Test func intoANewPlace() throws {
        let cluster = try cluster()
        let backup = try backUp(cluster)
        let restore = Restore(backup, into: place)
        #expect(try !restore.replacesFiles())
        let outcome = try restore.run(replaces: false)
        #expect(outcome.topology == cluster.topology && outcome.replacedPath == nil)
        #expect(try Report(place, ReportQuery()).totals == cluster.totals())
        #expect(try place.readClusterFile() == cluster.folder.readClusterFile())
        #expect(names(in: place.path) == ["epoch-0001", "topology.json", "topology.lock"])
        // What a reader without write permission needs is there, as after `init`.
        for number in 0..<UInt32(3) {
            let path = place.shard(number, of: cluster.topology).path
            #expect(access(path + "-wal", F_OK) == 0 && access(path + "-shm", F_OK) == 0)
        }
        // It is a shard like any other: a consumer goes on where the backup ends.
        var again = cluster
        let file = try place.shard(1, of: cluster.topology).open()
        let applied = try file.apply([again.batch([(Array("more".utf8), 1)], 1)], timeMilliseconds: 3)
        guard case .commit(let commit) = applied else { throw Unexpected(text: "\(applied)") }
        #expect(commit.committed.count == 1 && commit.applied.increments == 1)
    }

    @Test func filesThatAreThereStay() throws {
        var cluster = try cluster()
        let backup = try backUp(cluster)
        let then = try cluster.totals()
        try cluster.count([(Array("after".utf8), 5)])
        let now = try cluster.totals()
        let restore = Restore(backup, into: cluster.folder)
        #expect(try restore.replacesFiles())
        let refused = #expect(throws: Failure.self) { try restore.run(replaces: false) }
        #expect(refused?.code == .configuration)
        #expect(refused?.sentence == "\(cluster.folder.path): there are shards of this cluster already")
        #expect(try cluster.totals() == now)
        let path = try #require(try restore.run(replaces: true).replacedPath)
        #expect(try cluster.totals() == then)
        #expect(path.hasPrefix("\(cluster.folder.path)/replaced-2"))
        // Aside, but whole.
        #expect(try Report(DataFolder(path), ReportQuery()).totals == now)
    }

    @Test func aConsumerIsAtWork() throws {
        let cluster = try cluster()
        let backup = try backUp(cluster)
        let file = try cluster.folder.shard(2, of: cluster.topology).open()
        let refused = #expect(throws: Failure.self) { try Restore(backup, into: cluster.folder).run(replaces: true) }
        #expect(refused?.code == .locked)
        #expect(refused?.sentence == "\(cluster.path(2)): process \(getpid()) consumes this shard")
        withExtendedLifetime(file) {}
        #expect(!names(in: cluster.folder.path).contains { $0.hasPrefix("replaced") || $0.hasSuffix("staging") })
    }

    @Test func aToolIsAtWork() throws {
        let cluster = try cluster()
        let backup = try backUp(cluster)
        guard case .acquired(let lock) = try FileLock.attempt(cluster.folder.clusterLockPath) else {
            throw Unexpected(text: "the lock is not free")
        }
        let refused = #expect(throws: Failure.self) { try Restore(backup, into: cluster.folder).run(replaces: true) }
        #expect(refused?.code == .locked && refused?.what == "process \(getpid()) is changing this cluster")
        withExtendedLifetime(lock) {}
    }

    @Test func anotherClusterOrANewerEpoch() throws {
        let backup = try backUp(try cluster())
        let other = try ShardFixture("\(folder.path)/other", partitions: 3)
        let refused = #expect(throws: Failure.self) { try Restore(backup, into: other.folder).run(replaces: true) }
        #expect(
            refused?.sentence
                == "\(other.folder.path): this folder holds cluster \(other.topology.cluster), the backup "
                + "\(backup.manifest.topology.cluster)")
        let newer = Topology(cluster: backup.manifest.topology.cluster, epoch: 2, partitions: 5)
        let file = ClusterFile(
            topology: newer, state: .ready, earlier: [ClusterFile.Epoch(epoch: 1, partitions: 3)])
        try AtomicFile.write(Array(file.json.utf8), to: other.folder.clusterFilePath)
        let late = #expect(throws: Failure.self) { try Restore(backup, into: other.folder).run(replaces: true) }
        #expect(late?.sentence == "\(other.folder.path): this folder holds epoch 2, the backup epoch 1")
    }

    /// Damage that came after `backup --verify` is met while copying, before anything has changed.
    @Test func aDamagedBackup() throws {
        let cluster = try cluster()
        let backup = try backUp(cluster)
        flip("\(target)/shard-0001-of-0003.sqlite", at: 4_200)
        let refused = #expect(throws: Failure.self) { try Restore(backup, into: cluster.folder).run(replaces: true) }
        #expect(refused?.code == .corrupt)
        #expect(
            refused?.sentence
                == "\(target)/shard-0001-of-0003.sqlite: the file is not the one that the manifest describes")
        #expect(try Report(cluster.folder, ReportQuery()).missing.isEmpty)
        #expect(!names(in: cluster.folder.path).contains { $0.hasPrefix("replaced") })
        // The next one removes what this one left.
        TestProgram.run("/bin/rm", ["-r", target])
        _ = try Restore(try backUp(cluster), into: cluster.folder).run(replaces: true)
        #expect(!names(in: cluster.folder.path).contains("restore.staging"))
    }

    /// Between the two renames there is a cluster file and no folder: nothing is in the way of the next attempt.
    @Test func interruptedBetweenTheRenames() throws {
        let cluster = try cluster()
        let backup = try backUp(cluster)
        #expect(rename(cluster.folder.epochPath(1), "\(folder.path)/aside") == 0)
        let outcome = try Restore(backup, into: cluster.folder).run(replaces: false)
        #expect(outcome.replacedPath == nil)
        #expect(try cluster.totals().keys == backup.manifest.keys)
    }
}

/// What Redis says to a backup.
@Suite struct RestoreComparisonTests {
    let folder = ScratchFolder()
    private static let server = Result { try RedisServer() }

    private func made(_ namespace: String) throws -> (ShardFixture, BackupFolder, RedisAccess, RedisConnection) {
        let server = try Self.server.get()
        let access = try RedisAccess.test(server, namespace: namespace)
        var cluster = try ShardFixture("\(folder.path)/data", partitions: 3, access)
        try cluster.count(awkwardCounters(100))
        _ = try Backup(cluster.folder, to: "\(folder.path)/backup", release: "r").run()
        return (cluster, try BackupFolder("\(folder.path)/backup"), access, try server.connect())
    }

    private func setApplied(
        _ number: UInt32, _ producer: ProducerID, _ watermark: String, _ access: RedisAccess,
        _ connection: RedisConnection
    ) throws {
        let key = access.names.group(of: PartitionID(epoch: 1, number: number)).applied
        var command = RedisCommand("HSET", key)
        command.append(producer.bytes.array)
        command.append(watermark)
        _ = try connection.command(command)
    }

    @Test func whatIsMissingIsListed() throws {
        let (cluster, backup, access, connection) = try made("missing")
        // The backup holds sequence 1 of the producer in each partition.
        try setApplied(0, ShardFixture.producer, "1", access, connection)
        let same = try RestoreComparison(backup, access)
        #expect(same.missing.isEmpty && same.partitionsWithoutKeys == 0 && same.holders.isEmpty)
        let stranger = ProducerID(Bytes16(high: 0, low: 0xAB))
        try setApplied(0, ShardFixture.producer, "1234", access, connection)
        try setApplied(2, stranger, "1", access, connection)
        let found = try RestoreComparison(backup, access).missing.map(\.description)
        #expect(
            found == [
                "partition 0: 1,233 batches of producer 000000000000f00d0000000000000001, sequences 2-1234",
                "partition 2: 1 batch of producer 000000000000000000000000000000ab, sequence 1",
            ])
        // Looking has changed nothing.
        let partition = PartitionID(epoch: 1, number: 0)
        let dump = try KeyGroupDump(partition, names: access.names, over: connection)
        #expect(dump.applied == [ShardFixture.producer: 1_234] && dump.meta["token"] == "0")
        #expect(try cluster.uuid(0).description == dump.meta["shard"])
    }

    @Test func aRedisThatKnowsNothing() throws {
        let (_, backup, _, _) = try made("known")
        let empty = try RestoreComparison(backup, try .test(try Self.server.get(), namespace: "unknown"))
        #expect(empty.missing.isEmpty && empty.partitionsWithoutKeys == 3)
        let other = try RedisServer()
        let bare = try RestoreComparison(backup, try .test(other, namespace: "known"))
        #expect(bare.partitionsWithoutKeys == 3)
        other.kill()
        let gone = #expect(throws: Failure.self) { try RestoreComparison(backup, try .test(other, namespace: "known")) }
        #expect(gone?.code == .unavailable)
    }

    @Test func aLiveLease() throws {
        let (_, backup, access, connection) = try made("lease")
        let queue = PartitionQueue(
            connection: connection, names: access.names, partition: PartitionID(epoch: 1, number: 1))
        guard
            case .granted = try queue.claim(host: "h", owner: "elsewhere:17", milliseconds: 60_000, topology: .ofTests)
        else {
            throw Unexpected(text: "the lease is not free")
        }
        #expect(try RestoreComparison(backup, access).holders == ["partition 1: elsewhere:17"])
    }

    /// A consumer of this machine that was killed: nobody locks its shard, so its lease keeps nobody away.
    @Test func aLeaseThatWasLeftBehind() throws {
        let (cluster, backup, access, connection) = try made("left")
        let partition = PartitionID(epoch: 1, number: 1)
        let lock = cluster.folder.shardPath(partition, of: 3) + ".lock"
        let file = try #require(Folder.identity(lock))
        let queue = PartitionQueue(connection: connection, names: access.names, partition: partition)
        let host = try "\(Host.identity()) \(file)"
        guard case .granted = try queue.claim(host: host, owner: "here:17", milliseconds: 60_000, topology: .ofTests)
        else { throw Unexpected(text: "the lease is not free") }
        #expect(try RestoreComparison(backup, access).holders == ["partition 1: here:17"])
        #expect(try RestoreComparison(backup, access, replacing: cluster.folder).holders.isEmpty)
        let held = try FileLock.attempt(lock)
        #expect(try RestoreComparison(backup, access, replacing: cluster.folder).holders == ["partition 1: here:17"])
        withExtendedLifetime(held) {}
    }

    @Test func anotherClusterOrFile() throws {
        let (_, backup, access, connection) = try made("first")
        let second = try RedisAccess.test(try Self.server.get(), namespace: "second")
        let other = try ShardFixture("\(folder.path)/second", partitions: 3, second)
        let foreign = #expect(throws: Failure.self) { try RestoreComparison(backup, second) }
        #expect(
            foreign?.what == "this Redis belongs to cluster \(other.topology.cluster), the backup to "
                + "\(backup.manifest.topology.cluster)")
        let key = access.names.group(of: PartitionID(epoch: 1, number: 0)).meta
        let uuid = String(repeating: "7", count: 32)
        _ = try connection.command(RedisCommand("HSET", key, "shard", uuid))
        let exchanged = #expect(throws: Failure.self) { try RestoreComparison(backup, access) }
        #expect(
            exchanged?.what == "partition 0 in Redis belongs to shard \(uuid), the backup has "
                + "\(backup.manifest.shards[0].uuid)")
        let newer = #"{"cluster":"\#(backup.manifest.topology.cluster)","epoch":2,"partitions":5}"#
        _ = try connection.command(RedisCommand("SET", access.names.topology, newer))
        let late = #expect(throws: Failure.self) { try RestoreComparison(backup, access) }
        #expect(
            late?.what == "Redis publishes epoch 2 with 5 partitions, the backup has epoch 1 with 3")
    }
}

struct Unexpected: Error {
    let text: String
}
