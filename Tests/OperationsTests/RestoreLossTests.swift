// A backup of a cluster that went on counting: what it lacks is compared with Redis and with the files that it
// replaces, and restored all the same once that is accepted, with the loss in the ledger.

import ClusterSupport
import RedisQueue
import ServiceKit
import ShardConsumer
import ShardStore
import Testing

@testable import Operations
@testable import TallyCore

@Suite struct RestoreLossTests {
    let cluster: CountingCluster
    let node: CountingNode
    let key: String
    let backup: BackupFolder

    /// The backup has batches 1 and 2 of partition 1; 3 to 5 are counted after it, and the node knows that.
    init() throws {
        cluster = try CountingCluster(partitions: 2)
        node = try CountingNode(cluster, id: 7)
        key = cluster.keys(in: 1)[0]
        for _ in 0..<2 { try node.post([key: 1]) }
        try cluster.consume()
        let path = cluster.folder.path + "-backup"
        _ = try Backup(cluster.folder, to: path, release: "r").run()
        backup = try BackupFolder(path)
        for value in [10, 20, 30] as [Int64] { try node.post([key: value]) }
        try cluster.consume()
        node.fly()
    }

    private var range: String { "partition 1: 3 batches of producer \(node.name), sequences 3-5" }

    private func flush() throws {
        try cluster.command("DEL", cluster.access.names.topology)
        for number in 0..<UInt32(2) { for name in cluster.group(number).all { try cluster.command("DEL", name) } }
    }

    private func total() throws -> Int128 { try Report(cluster.folder, ReportQuery()).totals.sum }

    private func checkLedger(amount: String, _ summary: String) throws {
        #expect(try cluster.verify().findings.errors == [])
        let audit = try cluster.audit()
        #expect(audit.exitCode == .ok)
        #expect(
            audit.text(all: false).contains("lost 3 batches, partition 1, producer \(node.name), 3-5: \(amount)\n"),
            "\(audit.text(all: false))")
        #expect(audit.summary.hasPrefix(summary), "\(audit.summary)")
    }

    /// Redis has lost its keys: the files that are replaced tell what is missing, and how much it is.
    @Test func theFilesTell() throws {
        try flush()
        for access in [cluster.access, nil] {
            let comparison = try RestoreComparison(backup, access, replacing: cluster.folder)
            #expect(comparison.missing.map(\.description) == [range])
            #expect(comparison.losses.map(\.amount) == [Amount(increments: 3, sum: 60)])
            #expect(comparison.partitionsWithoutKeys == 2 && comparison.unwritten == [] && comparison.unread == [])
        }
        #expect(try RestoreComparison(backup, cluster.access).missing == [], "without the files nobody knows")
        let comparison = try RestoreComparison(backup, cluster.access, replacing: cluster.folder)
        let outcome = try Restore(backup, into: cluster.folder).run(replaces: true, losses: comparison.losses)
        #expect(outcome.replacedPath != nil)
        #expect(try total() == 2)
        #expect(try cluster.repair().failure == nil)
        #expect(
            try cluster.command("HGET", cluster.group(1).applied, "x") == .null
                && cluster.access.keys().watermarks(of: PartitionID(epoch: 1, number: 1)) == [node.producer.id: 5])
        try checkLedger(
            amount: "3 increments (sum 60)", "pushed 5 = applied 2 + repeated 0 + dead 0 + lost 3 + queued 0")
        for _ in 0..<3 { node.fly() }
        try node.post([key: 500])
        try cluster.consume()
        #expect(try total() == 502)
        try checkLedger(
            amount: "3 increments (sum 60)", "pushed 6 = applied 3 + repeated 0 + dead 0 + lost 3 + queued 0")
    }

    /// The shard is gone, Redis knows what it had: how much that was the next batch tells.
    @Test func redisTells() throws {
        for number in 0..<UInt32(2) {
            for end in ["", "-wal", "-shm"] { Files.removeTree(cluster.path(number) + end) }
        }
        let comparison = try RestoreComparison(backup, cluster.access, replacing: cluster.folder)
        #expect(comparison.missing.map(\.description) == [range])
        #expect(comparison.losses.map(\.amount) == [nil])
        _ = try Restore(backup, into: cluster.folder).run(replaces: true, losses: comparison.losses)
        try checkLedger(
            amount: "how much they held is not known yet",
            "pushed 2 = applied 2 + repeated 0 + dead 0 + lost 0 + queued 0")
        try node.post([key: 500])
        try cluster.consume()
        #expect(try total() == 502)
        try checkLedger(
            amount: "3 increments (sum 60)", "pushed 6 = applied 3 + repeated 0 + dead 0 + lost 3 + queued 0")
    }

    /// Killed when the files were put aside and nothing had taken their place: they still tell, and older ones do not.
    @Test(arguments: [true, false]) func interruptedBetweenTheRenames(hasRedis: Bool) throws {
        try flush()
        let place = cluster.folder
        let older = DataFolder(place.path + "/replaced-20200101T000000Z")
        let aside = DataFolder(place.newAsidePath())
        for folder in [older, aside] { try Files.makeFolder(folder.path) }
        try Files.copyTree(backup.path, to: older.epochPath(1))
        try Files.move(place.epochPath(1), to: aside.epochPath(1))
        try Files.makeFolder(place.path + "/replaced-29990101T000000Z")  // before the first rename
        let restore = Restore(backup, into: place)
        #expect(try !restore.replacesFiles())
        let comparison = try RestoreComparison(backup, hasRedis ? cluster.access : nil, replacing: place)
        #expect(comparison.missing.map(\.description) == [range])
        #expect(comparison.losses.map(\.amount) == [Amount(increments: 3, sum: 60)])
        _ = try restore.run(replaces: true, losses: comparison.losses)
        #expect(try total() == 2)
        #expect(try cluster.repair().failure == nil)
        try checkLedger(
            amount: "3 increments (sum 60)", "pushed 5 = applied 2 + repeated 0 + dead 0 + lost 3 + queued 0")
    }

    /// A file that cannot be read is what a restore is for; it says so.
    @Test func aDamagedFile() throws {
        try cluster.foldLog(1)
        try Files.write(Array(repeating: 0x55, count: 8_192), to: cluster.path(1))
        let comparison = try RestoreComparison(backup, nil, replacing: cluster.folder)
        #expect(comparison.missing == [])
        #expect(comparison.unread.count == 1 && comparison.unread[0].hasPrefix(cluster.path(1)))
    }

    /// What the replaced file has beyond Redis and Redis still shows in the list is not lost.
    @Test func whatWaitsIsNotMissing() throws {
        for value in [40, 50] as [Int64] { try node.post([key: value]) }
        try cluster.consume(1, trims: false)
        let comparison = try RestoreComparison(backup, cluster.access, replacing: cluster.folder)
        #expect(comparison.missing.map(\.sequences) == [3...5])
        #expect(!comparison.mayBeAwaited, "they were stored, and told so")
        // Somebody deletes what clients may still wait for.
        try node.post([key: 60])
        try cluster.command("DEL", cluster.group(1).queue)
        let later = try RestoreComparison(backup, cluster.access, replacing: cluster.folder)
        #expect(later.missing.map(\.sequences) == [3...8] && later.mayBeAwaited)
    }
}
