// One shard of a backup put in place: the others stay as they are, with their consumers, and what the backup lacks is
// compared and refused as with a whole one.

import ClusterSupport
import Glibc
import ServiceKit
import ShardConsumer
import ShardStore
import Testing

@testable import Operations
@testable import TallyCore

@Suite struct RestoreShardTests {
    let cluster: CountingCluster
    let node: CountingNode
    /// A key of each partition.
    let keys: [String]
    let backup: BackupFolder

    /// The backup has a 1 in each of three partitions; then 10 is added to each.
    init() throws {
        cluster = try CountingCluster(partitions: 3)
        node = try CountingNode(cluster, id: 7)
        keys = [cluster.keys(in: 0)[0], cluster.keys(in: 1)[0], cluster.keys(in: 2)[0]]
        for key in keys { try node.post([key: 1]) }
        try cluster.consume()
        let path = cluster.folder.path + "-backup"
        _ = try Backup(cluster.folder, to: path, release: "r").run()
        backup = try BackupFolder(path)
        for key in keys { try node.post([key: 10]) }
        try cluster.consume()
    }

    private func values(in folder: DataFolder) throws -> [Int64] {
        var found: [String: Int64] = [:]
        try Report(folder, ReportQuery()).forEachCounter { found[String(decoding: $0.key, as: UTF8.self)] = $0.value }
        return keys.map { found[$0] ?? 0 }
    }

    private func restore(_ partitions: UInt32...) -> Restore {
        Restore(backup, into: cluster.folder, partitions: partitions)
    }

    private func remove(_ number: UInt32, _ endings: [String] = ["", "-wal", "-shm"]) {
        for ending in endings { unlink(cluster.path(number) + ending) }
    }

    /// While a shard is open as its consumer has it.
    private func consuming<Value>(_ number: UInt32, _ body: () throws -> Value) throws -> Value {
        let file = try cluster.folder.shard(number, of: cluster.topology).open()
        return try withExtendedLifetime(file, body)
    }

    /// What is missing is that of the one shard; accepted, it is written down there, and everything counts on.
    @Test func oneOfThree() throws {
        let comparison = try RestoreComparison(
            backup, cluster.access, replacing: cluster.folder, partitions: [1])
        #expect(
            comparison.missing.map(\.description) == ["partition 1: 1 batch of producer \(node.name), sequence 2"])
        #expect(comparison.losses.map(\.amount) == [Amount(increments: 1, sum: 10)])
        let restore = restore(1)
        #expect(restore.shards.map(\.keys) == [1])
        let refused = #expect(throws: Failure.self) { try restore.run(replaces: false, losses: comparison.losses) }
        #expect(refused?.what == "there are shards of this cluster already")
        #expect(try values(in: cluster.folder) == [11, 11, 11])
        // A consumer of another shard goes on meanwhile.
        let outcome = try consuming(0) { try restore.run(replaces: true, losses: comparison.losses) }
        #expect(try values(in: cluster.folder) == [11, 1, 11])
        let aside = try #require(outcome.replacedPath)
        let name = "shard-0001-of-0003.sqlite"
        #expect(Files.names(in: aside) == ["epoch-0001"])
        #expect(Files.names(in: aside + "/epoch-0001").contains(name))
        #expect(!Files.exists(cluster.folder.restorePath))
        for key in keys { try node.post([key: 100]) }
        try cluster.consume()
        #expect(try values(in: cluster.folder) == [111, 101, 111])
        #expect(try cluster.verify().findings.errors == [])
        #expect(try cluster.audit().exitCode == .ok)
    }

    /// A shard that is gone comes back without --replace; what an interrupted restore has left of it goes aside.
    @Test func aShardThatIsGone() throws {
        remove(2)
        #expect(try !restore(2).replacesFiles())
        let losses = try RestoreComparison(backup, cluster.access, replacing: cluster.folder, partitions: [2]).losses
        #expect(losses.map(\.sequences) == [2...2])
        #expect(try restore(2).run(replaces: false, losses: losses).replacedPath == nil)
        #expect(try values(in: cluster.folder) == [11, 11, 1])
        remove(2, [""])
        #expect(try restore(2).replacesFiles(), "a log without its database")
        #expect(try restore(2).run(replaces: true, losses: losses).replacedPath != nil)
        #expect(try values(in: cluster.folder) == [11, 11, 1])
        #expect(try cluster.verify().findings.errors == [])
    }

    @Test func aConsumerIsAtWork() throws {
        let refused = try consuming(1) {
            #expect(throws: Failure.self) { try restore(0, 1).run(replaces: true) }
        }
        #expect(refused?.code == .locked && refused?.location == cluster.path(1))
        #expect(try values(in: cluster.folder) == [11, 11, 11])
    }

    /// No cluster, another one, another epoch.
    @Test func whereItDoesNotBelong() throws {
        let empty = DataFolder(cluster.folder.path + "/none")
        let nothing = #expect(throws: Failure.self) {
            try Restore(backup, into: empty, partitions: [1]).replacesFiles()
        }
        #expect(nothing?.sentence == "there is no cluster in \(empty.path)")
        let other = try CountingCluster(partitions: 3)
        let foreign = #expect(throws: Failure.self) {
            try Restore(backup, into: other.folder, partitions: [1]).replacesFiles()
        }
        #expect(foreign?.what.hasPrefix("this folder holds cluster \(other.topology.cluster), the backup ") == true)
        try cluster.rebalance(to: 2)
        let late = #expect(throws: Failure.self) { try restore(1).replacesFiles() }
        #expect(late?.sentence == "\(cluster.folder.path): this folder holds epoch 2, the backup epoch 1")
    }

    /// What was declared lost of earlier epochs is in every shard, also in one whose copy is of before that.
    @Test func lossesOfEarlierEpochsComeFromTheOthers() throws {
        try cluster.rebalance(to: 2)
        let path = cluster.folder.path + "-later"
        _ = try Backup(cluster.folder, to: path, release: "r").run()
        let producer = ProducerID(Bytes16(high: 9, low: 9))
        let stream = StreamID(partition: PartitionID(epoch: 1, number: 0), producer: producer)
        let loss = StreamLoss(stream: stream, sequences: 4...5)
        for number in [0, 1] as [UInt32] {
            let location = cluster.folder.shard(number, of: cluster.topology)
            try ShardUpkeep.accept([loss], time: 1, at: location.path, expecting: location.expected)
        }
        _ = try Restore(try BackupFolder(path), into: cluster.folder, partitions: [1]).run(replaces: true)
        let location = cluster.folder.shard(1, of: cluster.topology)
        let losses = try ShardReader(at: location.path, expecting: location.expected).losses()
        #expect(losses.map(\.stream) == [stream] && losses.map(\.sequences) == [4...5])
    }
}
