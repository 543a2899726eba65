// A shard and its Redis that went back while the web node lived on: what is missing is named everywhere, nothing of it
// is counted until it is accepted, and then counting goes on and the ledger knows how much it was.

import ClusterSupport
import RedisQueue
import ServiceKit
import ShardConsumer
import ShardStore
import TestSupport
import Testing

@testable import Operations
@testable import TallyCore

@Suite struct LossTests {
    let cluster: CountingCluster
    let node: CountingNode
    let key: String
    /// Batches 1 and 2 of partition 1 are counted.
    private let moment: CountingCluster.Moment

    /// Batches 3 to 5 are counted as well, and the node knows that.
    init() throws {
        cluster = try CountingCluster(partitions: 2)
        node = try CountingNode(cluster, id: 7)
        key = cluster.keys(in: 1)[0]
        for _ in 0..<2 { try node.post([key: 1]) }
        try cluster.consume()
        moment = try cluster.moment(1)
        for value in [10, 20, 30] as [Int64] { try node.post([key: value]) }
        try cluster.consume()
        node.fly()
    }

    private var option: String { "\(node.name):3-5" }
    private var range: String { "partition 1: 3 batches of producer \(node.name), sequences 3-5" }
    private var path: String { cluster.path(1) }

    /// Both go back, and the node is refused.
    private func goBack() throws {
        try cluster.putBack(file: moment)
        try cluster.putBack(keys: moment)
        try node.post([key: 500])
        #expect(try cluster.command("LLEN", cluster.group(1).queue) == .integer(0), "nothing is taken above a hole")
    }

    private func counted() throws -> Int128 { try Report(cluster.folder, ReportQuery()).totals.sum }

    @Test func itIsNamed() throws {
        try goBack()
        let sentence =
            "epoch-0001/shard-0001-of-0002.sqlite: producer \(node.name): batches 3-5 were released by its web "
            + "node, and neither the list nor the shard, which holds batches through 2, has that: what it sends to "
            + "this partition is refused"
        let verification = try cluster.verify()
        #expect(verification.exitCode == .partial)
        #expect(cluster.sentences(verification.findings) == [sentence])
        #expect(
            verification.findings[0].advice
                == "File and Redis went back together: put back the newest copy of the file. If there is none, "
                + "`tallymill repair --accept-loss \(option)` declares them lost.")
        let audit = try cluster.audit()
        #expect(audit.exitCode == .partial && cluster.sentences(audit.findings) == [sentence])
        let (plan, unmended, done, failure) = try cluster.repair()
        let cause =
            "they were released by their web node, and neither the list nor the file, which holds it through 2, has "
            + "them"
        #expect(plan == [] && done == [] && unmended == ["\(range): \(cause)"])
        #expect(failure?.code == .partial)
        #expect(
            failure?.report == """
                tallymill: \(cluster.folder.path): counts are missing:
                  \(range): \(cause)
                  Put back the newest copy of those files. If there is none, declare it lost:
                    tallymill repair --accept-loss \(option)
                """)
        let before = Files.read(cluster.folder.clusterFilePath)
        let refused = #expect(throws: Failure.self) { try cluster.rebalance(to: 3) }
        #expect(refused?.code == .partial && refused?.report == failure?.report)
        #expect(Files.read(cluster.folder.clusterFilePath) == before, "the preflight changes nothing")
        #expect(try cluster.command("HGET", cluster.group(1).meta, "state") == .bytes(Array("open".utf8)))
    }

    /// The newest copy of the file ends it without a loss.
    @Test func theNewestCopyComesBack() throws {
        let newest = try cluster.moment(1)
        try goBack()
        try cluster.putBack(file: newest)
        #expect(try cluster.repair().failure == nil)
        #expect(try cluster.verify().findings.errors == [])
    }

    @Test func acceptedAndCountingGoesOn() throws {
        try goBack()
        let (plan, unmended, done, failure) = try cluster.repair(accepting: option)
        #expect(failure == nil && unmended == [])
        #expect(plan.count == 1 && plan.first?.hasPrefix("\(range): they were released") == true)
        #expect(plan.first?.hasSuffix(": declare them lost") == true)
        #expect(done == ["declared lost: \(range)"])
        #expect(try cluster.verify().findings == [])
        let unknown = try cluster.audit()
        #expect(unknown.exitCode == .ok)
        #expect(
            unknown.text(all: false).contains(
                "lost 3 batches, partition 1, producer \(node.name), 3-5: how much they held is not known yet\n"))
        #expect(
            unknown.summary
                == "pushed 2 = applied 2 + repeated 0 + dead 0 + lost 0 + queued 0, residual 0, lost 3 batches "
                + "of unknown size; total 2 = applied 2 + carried over and imported 0")
        var stream = try JSONTree(Array(unknown.json.utf8))["partitions"]?.elements[1]["streams"]?.elements.first
        #expect(stream?["lost_batches"] == .number("3") && stream?["lost_batches_unknown"] == .number("3"))
        #expect(stream?["lost_ranges"] == .array([.array([.number("3"), .number("5")])]))
        // The refused batch goes in, and tells how much it was: first from the list, then from the shard.
        node.fly()
        try checkKnown(queued: 1, applied: 2, total: 2)
        try cluster.consume()
        #expect(try counted() == 502)
        try checkKnown(queued: 0, applied: 3, total: 502)
        stream = try JSONTree(Array(cluster.audit().json.utf8))["partitions"]?.elements[1]["streams"]?.elements.first
        #expect(stream?["lost"]?["increments"] == .number("3") && stream?["lost"]?["sum"] == .number("60"))
        #expect(stream?["lost_batches_unknown"] == .number("0"))
        // Once more: it is known, and nothing changes.
        let again = try cluster.repair(accepting: option)
        #expect(again.failure == nil && again.plan == [] && again.done == ["declared lost before: \(option)"])
        try node.post([key: 1])
        try cluster.consume()
        #expect(try counted() == 503)
    }

    private func checkKnown(queued: Int, applied: Int, total: Int) throws {
        #expect(try cluster.verify().findings == [])
        let audit = try cluster.audit()
        #expect(audit.exitCode == .ok)
        #expect(
            audit.text(all: false).contains(
                "lost 3 batches, partition 1, producer \(node.name), 3-5: 3 increments (sum 60)\n"))
        #expect(
            audit.summary
                == "pushed 6 = applied \(applied) + repeated 0 + dead 0 + lost 3 + queued \(queued), residual 0; "
                + "total \(total) = applied \(total) + carried over and imported 0")
    }

    /// The shard is written, Redis has not been told: the same command does the rest.
    @Test func killedBetweenShardAndRedis() throws {
        try goBack()
        let location = cluster.folder.shard(1, of: cluster.topology)
        let stream = StreamID(partition: location.partition, producer: node.producer.id)
        try ShardUpkeep.accept(
            [StreamLoss(stream: stream, sequences: 3...5)], time: 1, at: path, expecting: location.expected)
        node.fly()
        #expect(try cluster.command("LLEN", cluster.group(1).queue) == .integer(0))
        #expect(try cluster.repair(accepting: option).failure == nil)
        node.fly()
        try cluster.consume()
        #expect(try counted() == 502)
    }

    /// The consumer runs meanwhile, with the lease: the shard is written, and it tells Redis itself.
    @Test func aConsumerHasTheLease() throws {
        try goBack()
        let queue = PartitionQueue(
            connection: try cluster.server.connect(), names: cluster.access.names,
            partition: PartitionID(epoch: 1, number: 1))
        guard
            case .granted(let claim) = try queue.claim(
                host: "elsewhere", owner: "c", milliseconds: 60_000, topology: cluster.topology)
        else { throw HarnessError("no lease") }
        #expect(try cluster.repair(accepting: "all").failure == nil)
        #expect(try queue.renew(token: claim.token, milliseconds: 60_000) == .ok, "it was not fenced")
        let file = try cluster.folder.shard(1, of: cluster.topology).open()
        let stream = StreamID(partition: queue.partition, producer: node.producer.id)
        #expect(try file.watermarks(of: [stream]) == [stream: 5])
    }

    @Test func onlyWhatIsMissing() throws {
        try goBack()
        let before = Files.read(path)
        for wrong in ["\(node.name):3-4", "\(node.name):2-5", "\(String(repeating: "7", count: 32)):3-5"] {
            let failure = try cluster.repair(accepting: wrong).failure
            #expect(failure?.code == .usage)
            #expect(
                failure?.report == """
                    tallymill: --accept-loss: \(wrong) is not missing, or not as a whole
                      Missing are:
                        --accept-loss \(option)   (\(range))
                    """)
        }
        #expect(Files.read(path) == before)
        for text in ["", "x", node.name, "\(node.name):", "\(node.name):5-3", "\(node.name):0-3", "\(node.name):1-2-3"]
        {
            #expect(throws: Failure.self) { _ = try LossChoice(text) }
        }
        let nothing = try CountingCluster(partitions: 1).repair(accepting: option).failure
        #expect(
            nothing?.report == "tallymill: --accept-loss: \(option) is not missing, or not as a whole\n"
                + "  Nothing is missing in the shards that are here.")
    }

    /// The file alone is older: its consumer refuses it.
    @Test func theFileAlone() throws {
        try cluster.putBack(file: moment)
        let (_, unmended, _, failure) = try cluster.repair()
        #expect(failure?.code == .partial)
        #expect(
            unmended == [
                "\(range): they were committed once, and the file, which holds it through 2, does not have them"
            ])
        #expect(
            try cluster.verify().findings.map(\.advice) == [
                "The file was replaced by an older copy, or its watermark was altered: put back the newest copy. If "
                    + "there is none, `tallymill repair --accept-loss \(option)` declares them lost."
            ])
        #expect(throws: Failure.self) { try cluster.rebalance(to: 3) }
        #expect(try cluster.repair(accepting: "all").done == ["declared lost: \(range)"])
        try node.post([key: 500])
        try cluster.consume()
        try checkKnown(queued: 0, applied: 3, total: 502)
        // It survives changes of epoch.
        try cluster.rebalance(to: 3)
        try cluster.rebalance(to: 2)
        let sentences = try cluster.sentences(cluster.verify().findings)
        #expect(sentences == [])
        #expect(
            cluster.sentences(try cluster.audit().findings) == [
                "note epoch-0003: of epoch 1, partition 1, 3 batches of producer \(node.name), 3-5, were declared "
                    + "lost: 3 increments (sum 60)"
            ])
    }

    /// A change that an earlier release began, whose drain cannot go on.
    @Test func aDrainThatStandsStill() throws {
        try goBack()
        let file = try #require(try cluster.folder.readClusterFile())
        let change = EpochChange(from: file, to: 3).building
        try AtomicFile.write(Array(change.json.utf8), to: cluster.folder.clusterFilePath)
        #expect(try cluster.repair().failure?.what.hasPrefix("counts are missing:\n  \(range)") == true)
        let accepted = try cluster.repair(accepting: option)
        #expect(accepted.done.last == "declared lost: \(range)")
        #expect(accepted.failure?.what == "epoch 2 is still being built")
        try cluster.resume()
        for _ in 0..<4 { node.fly() }
        try cluster.consume()
        #expect(try counted() == 502)
        #expect(try cluster.verify().findings == [])
    }

    /// Entries that somebody deleted: what lies before the gap is counted first.
    @Test func aGapInTheList() throws {
        for value in [40, 50, 60, 70] as [Int64] { try node.post([key: value]) }
        try cluster.removeEntry(1, 1)
        try cluster.command("HSET", cluster.group(1).meta, "bytes", "0")
        let gap = "\(node.name):7-7"
        let early = try cluster.repair(accepting: gap).failure
        #expect(early?.code == .partial)
        #expect(
            early?.advice
                == "Other batches come before \(gap): start the consumer, which counts them and stops at the gap, "
                + "then run this again.")
        let file = try cluster.folder.shard(1, of: cluster.topology).open()
        _ = try file.apply([cluster.entry(1, 0)], timeMilliseconds: 1)
        try file.checkpoint()
        #expect(
            try cluster.repair(accepting: "\(node.name):7").done
                == ["declared lost: partition 1: 1 batch of producer \(node.name), sequence 7"])
        let location = cluster.folder.shard(1, of: cluster.topology)
        _ = try file.apply([cluster.entry(1, 1), cluster.entry(1, 2)], timeMilliseconds: 1)
        let losses = try ShardReader(at: path, expecting: location.expected).losses()
        #expect(losses.map(\.amount) == [Amount(increments: 1, sum: 50)])
    }

    /// What would stop a drain stops a rebalance before it has begun.
    @Test(arguments: [true, false]) func aBatchThatNoConsumerTakes(isNewer: Bool) throws {
        try node.post([key: 40])
        var entry = try cluster.entry(1, 0)
        entry[isNewer ? 2 : 5] ^= 0x7F
        try cluster.command("LSET", cluster.group(1).queue, "0", bytes: entry)
        let refused = #expect(throws: Failure.self) { try cluster.rebalance(to: 3) }
        #expect(refused?.code == .corrupt)
        #expect(refused?.what.hasPrefix("entry 0 of the list is no batch: ") == true, "\(refused?.what ?? "")")
        #expect(try cluster.folder.readClusterFile()?.topology.epoch == 1)
    }
}
