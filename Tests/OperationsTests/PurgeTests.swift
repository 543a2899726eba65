// The end of earlier epochs: what it deletes, what it keeps, what it refuses; and what an earlier epoch's queue says
// that another copy of the files has counted.

import ClusterSupport
import RedisQueue
import ServiceKit
import ShardStore
import TestSupport
import Testing

@testable import Operations
@testable import TallyCore

@Suite struct PurgeTests {
    let cluster: CountingCluster
    let node: CountingNode
    let key: String

    init() throws {
        cluster = try CountingCluster(partitions: 2)
        node = try CountingNode(cluster, id: 7)
        key = cluster.keys(in: 1)[0]
    }

    private func purge() throws -> Failure? {
        do throws(Failure) {
            _ = try RebalancePurge(cluster.folder, cluster.access).run { _ in }
            return nil
        } catch {
            return error
        }
    }

    private func total() throws -> Int128 { try Report(cluster.folder, ReportQuery()).totals.sum }

    private func settle() throws {
        for _ in 0..<4 { node.fly() }
        try cluster.consume()
    }

    /// The node carries over what the drain has counted; nobody consumes before the purge.
    @Test func beforeTheNewQueuesAreConsumed() throws {
        for _ in 0..<5 { try node.post([key: 1]) }
        try cluster.rebalance(to: 3)
        for _ in 0..<4 { node.fly() }
        #expect(try purge() == nil)
        #expect(Files.exists(cluster.folder.epochPath(1)) == false)
        #expect(
            try cluster.folder.readClusterFile()?.earlier == [
                ClusterFile.Epoch(epoch: 1, partitions: 2, isPurged: true)
            ])
        try settle()
        #expect(try total() == 5)
        #expect(try cluster.verify().findings.errors == [])
        #expect(try RebalanceStatus(cluster.folder).kept.isEmpty)
        #expect(try RebalancePurge(cluster.folder, cluster.access).epochs == [], "a second one has nothing to do")
        // Killed before the cluster file was written: it is done again.
        var file = try #require(try cluster.folder.readClusterFile())
        file.earlier[0].isPurged = false
        try AtomicFile.write(Array(file.json.utf8), to: cluster.folder.clusterFilePath)
        #expect(try purge() == nil)
        #expect(try RebalancePurge(cluster.folder, cluster.access).epochs == [])
    }

    /// Two changes: what still waits of the first epoch has to be met first.
    @Test func whatWouldBeForgottenWaits() throws {
        for _ in 0..<5 { try node.post([key: 1]) }
        try cluster.rebalance(to: 3)
        try cluster.rebalance(to: 2)
        for _ in 0..<4 { node.fly() }
        let refused = try purge()
        #expect(refused?.code == .partial)
        let partition = cluster.partition(of: key)
        #expect(
            refused?.report == """
                tallymill: \(cluster.group(partition).queue): 5 batches in the list of partition \(partition) come \
                from epoch 1: without its watermarks they could not be counted
                  Start the consumers; when `tallymill status` shows this list short or empty, purge again.
                """)
        #expect(try cluster.ask(0, "SELECT count(*) FROM applied WHERE epoch = 1") == "1")
        #expect(Files.exists(cluster.folder.epochPath(1)))
        try settle()
        #expect(try purge() == nil)
        #expect(try cluster.ask(0, "SELECT count(*) FROM applied WHERE epoch = 1") == "0")
        #expect(try total() == 5)
        #expect(try cluster.verify().findings.errors == [])
    }

    /// A node that slept through two changes: nobody can tell whether its batches were counted. They are buried,
    /// visibly.
    @Test func aNodeThatSlept() throws {
        let sleeper = try CountingNode(cluster, id: 8)
        for _ in 0..<3 { try sleeper.post([key: 1]) }
        try cluster.rebalance(to: 3)
        try cluster.rebalance(to: 2)
        #expect(try purge() == nil)
        for _ in 0..<4 { sleeper.fly() }
        try cluster.consume()
        #expect(try total() == 3, "the drain had counted them")
        let partition = cluster.partition(of: key)
        #expect(
            try cluster.ask(partition, "SELECT reason, sum(increments) FROM dead_letter GROUP BY reason")
                == "forgotten|3")
        #expect(try cluster.audit().exitCode == .ok)
    }

    @Test func aFolderThatWasPurged() throws {
        try cluster.rebalance(to: 3)
        #expect(try purge() == nil)
        try Files.makeFolder(cluster.folder.epochPath(1))
        #expect(
            cluster.sentences(try cluster.verify().findings) == ["epoch-0001: a folder of an epoch that was purged"])
    }

    // MARK: Another copy of the folder

    /// What the queue of epoch 1 has seen committed.
    private func setApplied(_ sequence: UInt64) throws {
        var command = RedisCommand("HSET", cluster.access.names.group(of: PartitionID(epoch: 1, number: 1)).applied)
        command.append(node.producer.id.bytes.array)
        command.append("\(sequence)")
        _ = try cluster.redis.command(command)
    }

    /// The queue of epoch 1 has seen two batches committed that no file here has.
    private func plantElsewhere() throws -> String {
        for _ in 0..<3 { try node.post([key: 1]) }
        try cluster.consume()
        node.fly()
        try cluster.rebalance(to: 3)
        try setApplied(5)
        return "epoch 1, partition 1: 2 batches of producer \(node.name), sequences 4-5"
    }

    @Test func countedElsewhere() throws {
        let range = try plantElsewhere()
        let option = "e1.p1/\(node.name):4-5"
        let cause = "were counted into another copy of the files: this one was closed with it through 3"
        let verification = try cluster.verify()
        #expect(verification.exitCode == .partial)
        #expect(cluster.sentences(verification.findings) == ["{e1.p1}:applied: \(range) \(cause)"])
        #expect(
            verification.findings.first?.advice == "Find the folder that has them, the one whose consumer ran then. "
                + "What its counters have more than the retired files of that epoch here may be imported, and nothing "
                + "else of it. `tallymill repair --accept-loss \(option)` records it, so that it is not found again.")
        let report = """
            tallymill: \(cluster.folder.path): counts are missing:
              \(range): they \(cause)
              Find the folder whose consumer counted what is missing of earlier epochs. What its counters have more \
            than the retired files here may be imported, and nothing else of it. Then record it, so that it is not \
            found again:
                tallymill repair --accept-loss \(option)
            """
        #expect(try cluster.repair().failure?.report == report)
        let collecting = try cluster.repair(collects: true)
        #expect(collecting.done == ["deleted 1 key group of earlier epochs"], "but not the one that shows it")
        #expect(collecting.failure?.report == report)
        #expect(try cluster.verify().exitCode == .partial)
    }

    @Test func countedElsewhereAndRecorded() throws {
        let range = try plantElsewhere()
        #expect(try purge()?.what.hasPrefix("counts are missing:\n  \(range)") == true)
        #expect(try cluster.repair(accepting: "\(node.name):4-5").done == ["declared lost: \(range)"])
        for number in 0..<UInt32(3) {
            #expect(try cluster.ask(number, "SELECT epoch, partition, first, last FROM lost") == "1|1|4|5")
        }
        #expect(try cluster.verify().findings == [])
        #expect(
            cluster.sentences(try cluster.audit().findings) == [
                "note epoch-0002: of epoch 1, partition 1, 2 batches of producer \(node.name), 4-5, were declared lost"
            ])
        #expect(try purge() == nil)
        #expect(try cluster.repair(accepting: "\(node.name):4-5").failure == nil)
    }

    /// A shard that is not here cannot learn of it: the repair says so, and the next one that finds it writes it there.
    @Test func aShardThatIsNotHere() throws {
        let range = try plantElsewhere()
        let option = "e1.p1/\(node.name):4-5"
        try hide(2)
        let partial = try cluster.repair(accepting: option)
        #expect(partial.done == ["declared lost: \(range)"])
        #expect(partial.failure?.code == .partial)
        #expect(
            partial.failure?.report == """
                tallymill: \(cluster.folder.path): what was declared lost of earlier epochs could not be written into \
                the shards of partitions 2, which are not here or cannot be read
                  Put them back, or go to the host that has them, and run the same command again. Until then they \
                would count what comes again of it.
                """)
        #expect(try cluster.repair(accepting: option).failure?.code == .partial, "still not")
        try show(2)
        let sentence = "its shard does not know of 2 batches of earlier epochs that were declared lost"
        let verification = try cluster.verify()
        #expect(verification.exitCode == .partial)
        #expect(
            cluster.sentences(verification.findings) == ["epoch-0002/shard-0002-of-0003.sqlite: \(sentence)"])
        let repair = try cluster.repair()
        #expect(repair.plan == ["partition 2: \(sentence): write it into the shard"])
        #expect(repair.done == ["partition 2: wrote into its shard what was declared lost before"])
        #expect(repair.failure == nil)
        #expect(try cluster.repair().plan == [])
        try checkLost([0, 1, 2], "1|1|4|5")
        #expect(try cluster.verify().findings == [])
    }

    /// One was accepted while a shard was not here, and one that continues it when all were.
    @Test func lossesThatDifferAreUnited() throws {
        _ = try plantElsewhere()
        try hide(0)
        #expect(try cluster.repair(accepting: "e1.p1/\(node.name):4-5").failure?.code == .partial)
        try show(0)
        try setApplied(8)
        let repair = try cluster.repair(accepting: "e1.p1/\(node.name):6-8")
        #expect(repair.failure == nil)
        try checkLost([0, 1, 2], "1|1|4|8")
        // An earlier release, or a kill: shards that a repair has not met.
        try cluster.alter(0, "DELETE FROM lost")
        try cluster.alter(1, "UPDATE lost SET last = 6")
        try cluster.rebalance(to: 2)
        for number in 0..<UInt32(2) {
            let rows = try cluster.ask(number, "SELECT sum(last - first + 1), min(first), max(last) FROM lost")
            #expect(rows == "5|4|8")
        }
        #expect(try cluster.verify().findings == [])
        #expect(try cluster.repair().failure == nil)
        try cluster.rebalance(to: 1)
        #expect(try cluster.verify().findings == [])
    }

    private func checkLost(_ numbers: [UInt32], _ row: String) throws {
        for number in numbers {
            #expect(try cluster.ask(number, "SELECT epoch, partition, first, last FROM lost") == row)
        }
    }

    private func hide(_ number: UInt32) throws {
        try cluster.foldLog(number)
        try Files.move(cluster.path(number), to: cluster.path(number) + ".away")
    }

    private func show(_ number: UInt32) throws {
        try Files.move(cluster.path(number) + ".away", to: cluster.path(number))
    }

    /// What came by another way, with its origin, is here.
    @Test func itCameWithItsOrigin() throws {
        for _ in 0..<3 { try node.post([key: 1]) }
        try cluster.consume()
        node.fly()
        for _ in 0..<2 { try node.admit([key: 1]) }
        try cluster.rebalance(to: 3)
        // The batch was frozen for epoch 1 and refused there.
        try settle()
        #expect(try total() == 5)
        try setApplied(4)
        #expect(try cluster.verify().findings == [])
    }
}
