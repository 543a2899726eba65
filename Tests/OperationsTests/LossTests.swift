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

    private var option: String { "e1.p1/\(node.name):3-5" }
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
        #expect(
            try Status(cluster.folder, cluster.access).findings == [
                "\(range): \(cause). Put back the newest copy of \(path). If there is none, `tallymill repair "
                    + "--accept-loss \(option)` declares them lost."
            ])
        #expect(
            doctor().found(.shards) == [
                "error: \(path): the file is older than what was counted: \(range): \(cause)",
                "$ tallymill repair --accept-loss \(option)",
            ])
        let before = Files.read(cluster.folder.clusterFilePath)
        let refused = #expect(throws: Failure.self) { try cluster.rebalance(to: 3) }
        #expect(refused?.code == .partial && refused?.report == failure?.report)
        #expect(Files.read(cluster.folder.clusterFilePath) == before, "the preflight changes nothing")
        #expect(try cluster.command("HGET", cluster.group(1).meta, "state") == .bytes(Array("open".utf8)))
    }

    private func doctor() -> Doctor {
        Doctor(
            Doctor.Subject(
                folder: cluster.folder, access: .success(cluster.access),
                instances: .failure(Failure(.unavailable, "there is no systemctl"))))
    }

    /// A file alone that went back: what Redis has seen committed is named, and nothing once the newest copy is there.
    @Test func anOlderFileIsNamedByWhoLooksOften() throws {
        let newest = try cluster.moment(1)
        try cluster.putBack(file: moment)
        let cause = "they were committed once, and the file, which holds it through 2, does not have them"
        #expect(try Status(cluster.folder, cluster.access).findings.first?.hasPrefix("\(range): \(cause). ") == true)
        #expect(
            doctor().found(.shards) == [
                "error: \(path): the file is older than what was counted: \(range): \(cause)",
                "$ tallymill repair --accept-loss \(option)",
            ])
        try cluster.putBack(file: newest)
        #expect(try Status(cluster.folder, cluster.access).findings == [])
        #expect(doctor().found(.shards) == [])
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
        for wrong in [
            "\(node.name):3-4", "\(node.name):2-5", "\(String(repeating: "7", count: 32)):3-5",
            "e1.p0/\(node.name):3-5",
        ] {
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
        let wrongNames = [
            "", "x", node.name, "\(node.name):", "\(node.name):5-3", "\(node.name):0-3", "\(node.name):1-2-3", "/",
            "e1.p1/", "e1/\(node.name):3-5", "1/\(node.name):3-5", "e01.p1/\(node.name):3-5", "e1.p1//\(node.name):3-5",
            "e-1.p1/\(node.name):3-5",
        ]
        for text in wrongNames {
            #expect(throws: Failure.self) { _ = try LossChoice(text) }
        }
        let nothing = try CountingCluster(partitions: 1).repair(accepting: option).failure
        #expect(
            nothing?.report == "tallymill: --accept-loss: \(option) is not missing, or not as a whole\n"
                + "  Nothing is missing in the shards that are here.")
    }

    /// Requests that touch all partitions give the same sequences to each: a range without a partition names both.
    @Test func theSameSequencesInTwoPartitions() throws {
        let other = cluster.keys(in: 0)[0]
        for _ in 0..<2 { try node.post([other: 1]) }
        try cluster.consume()
        let before = try cluster.moment(0)
        for value in [1, 2, 3] as [Int64] { try node.post([other: value]) }
        try cluster.consume()
        node.fly()
        try cluster.putBack(file: moment)
        try cluster.putBack(file: before)
        let (first, second) = ("e1.p0/\(node.name):3-5", option)
        let ambiguous = try cluster.repair(accepting: "\(node.name):3-5")
        #expect(ambiguous.failure?.code == .usage && ambiguous.done == [])
        #expect(
            ambiguous.failure?.report == """
                tallymill: --accept-loss: \(node.name):3-5 is missing in several partitions
                  Say in which:
                    --accept-loss \(first)   (partition 0: 3 batches of producer \(node.name), sequences 3-5)
                    --accept-loss \(second)   (\(range))
                """)
        let one = try cluster.repair(accepting: second)
        #expect(one.done == ["declared lost: \(range)"])
        #expect(one.failure?.advice?.contains("tallymill repair --accept-loss \(first)") == true)
        #expect(one.failure?.advice?.contains(second) == false)
        // Now there is only one that it can be.
        let rest = try cluster.repair(accepting: "\(node.name):3-5")
        #expect(
            rest.failure == nil
                && rest.done == ["declared lost: partition 0: 3 batches of producer \(node.name), sequences 3-5"])
        #expect(try cluster.verify().findings == [])
    }

    /// What was declared lost is pushed, whatever became of it.
    @Test func aNodeHoldsNothingOfIt() throws {
        try goBack()
        #expect(try cluster.repair(accepting: option).failure == nil)
        let nodes = { [NodeLedger(address: "http://node", producers: [node.ledger])] }
        let unknown = try cluster.audit(nodes: nodes())
        #expect(unknown.unpushed(by: unknown.nodes[0]) == Amount(increments: 1, sum: 500))
        node.fly()
        for consumes in [false, true] {
            if consumes { try cluster.consume() }
            let known = try cluster.audit(nodes: nodes())
            #expect(known.unpushed(by: known.nodes[0]) == .zero)
        }
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
        let change = EpochChange(from: file, to: 3, id: nil).building
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
        let gap = "e1.p1/\(node.name):7-7"
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
            try cluster.repair(accepting: "\(node.name):7").done.last
                == "declared lost: partition 1: 1 batch of producer \(node.name), sequence 7")
        let location = cluster.folder.shard(1, of: cluster.topology)
        _ = try file.apply([cluster.entry(1, 1), cluster.entry(1, 2)], timeMilliseconds: 1)
        let losses = try ShardReader(at: path, expecting: location.expected).losses()
        #expect(losses.map(\.amount) == [Amount(increments: 1, sum: 50)])
    }

    /// A client waits at `stored` for a batch that somebody deleted: it is told what was reached, and no more.
    @Test func nobodyIsToldThatALossIsStored() throws {
        let ticket = try #require(try node.admit([key: 40], level: .stored))
        node.fly()
        try cluster.removeEntry(1, 0)
        try cluster.command("HSET", cluster.group(1).meta, "bytes", "0")
        var told: [[Acknowledgement]] = []
        var level: Level?
        let repair = try cluster.repair(accepting: "e1.p1/\(node.name):6-6") { line in
            // As long as it may wait nothing is said to be committed; then its wait runs out.
            guard line.hasPrefix("waiting for ") else { return }
            node.fly()
            told.append(node.acknowledged())
            level = node.runOut(ticket)
        }
        #expect(repair.failure == nil)
        #expect(
            repair.done == [
                "waiting for 0 s: clients may be waiting for batches that were pushed and are gone, and must not be"
                    + " told that these are stored",
                "declared lost: partition 1: 1 batch of producer \(node.name), sequence 6",
            ])
        node.fly()
        told.append(node.acknowledged())
        #expect(told == [[], []])
        #expect(level == .queued)
        #expect(node.ledger.partitions[1].stored == 6, "it knows of the loss by now")
    }

    /// It came again while the clients' waits ran out: then it is no loss.
    @Test func whatComesMeanwhileIsNotLost() throws {
        try node.post([key: 40])
        let entry = try cluster.entry(1, 0)
        try cluster.removeEntry(1, 0)
        let repair = try cluster.repair(accepting: "e1.p1/\(node.name):6-6") { _ in
            _ = try? cluster.command("RPUSH", cluster.group(1).queue, bytes: entry)  // shows below
        }
        #expect(repair.failure?.code == .usage)
        try cluster.consume()
        #expect(try counted() == 102)
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
