// The ledger adds up whatever batches were repeated, dead, re-routed or queued, and does not when something is gone.

import ClusterSupport
import RedisQueue
import ServiceKit
import Testing

@testable import Operations
@testable import TallyCore

@Suite struct AuditTests {
    let cluster: CountingCluster
    let node: CountingNode
    let key: String

    /// Batches 1 and 2 of partition 1 are counted, 3 to 6 wait.
    init() throws {
        cluster = try CountingCluster(partitions: 2)
        node = try CountingNode(cluster, id: 7)
        key = cluster.keys(in: 1)[0]
        for _ in 0..<2 { try node.post([key: 1]) }
        try cluster.consume()
        for value in [10, 20, 30, 40] as [Int64] { try node.post([key: value]) }
    }

    private var document: NodeLedger { NodeLedger(address: "http://node", producers: [node.ledger]) }

    @Test func aBalancedLedger() throws {
        let audit = try cluster.audit()
        #expect(audit.exitCode == .ok)
        #expect(
            audit.text(all: true) == """
                PARTITION  STREAMS  PUSHED  APPLIED  REPEATED  DEAD  LOST  QUEUED  RESIDUAL  COUNTERS  TOTAL
                        0        0       0        0         0     0     0       0         0         0      0
                        1        1       6        2         0     0     0       4         0         1      2

                PARTITION  PRODUCER                          SEQS  WATERMARK  PUSHED  APPLIED  REPEATED  DEAD  LOST  \
                QUEUED  RESIDUAL
                        1  \(node.name)     6          2       6        2         0     0     0       4         0

                pushed 6 = applied 2 + repeated 0 + dead 0 + lost 0 + queued 4, residual 0; total 2 = applied 2 + \
                carried over and imported 0

                """)
        #expect(!audit.text(all: false).contains(node.name), "only streams with a residual are listed")
        let json = try JSONTree(Array(audit.json.utf8))
        #expect(json["balanced"] == .boolean(true))
        let stream = json["partitions"]?.elements[1]["streams"]?.elements.first
        #expect(stream?["queued"]?["increments"] == .number("4") && stream?["queued"]?["sum"] == .number("100"))
        #expect(stream?["missing"] == .array([]))
    }

    /// Repeated by an idempotency key, dead by overflow: both are taken in and not applied.
    @Test func repeatedAndDead() throws {
        for _ in 0..<2 { try node.post([key: 5, cluster.keys(in: 0)[0]: 1], idempotencyKey: "once") }
        try node.post([key: .max])
        try cluster.consume()
        let audit = try cluster.audit()
        #expect(audit.exitCode == .ok)
        let sums = audit.partitions[1].sums
        #expect(sums.repeated == Amount(increments: 1, sum: 5))
        #expect(sums.dead == Amount(increments: 1, sum: Int128(Int64.max)))
        #expect(sums.pushed == Amount(increments: 9, sum: 112 + Int128(Int64.max)))
        #expect(sums.applied == Amount(increments: 7, sum: 107))
    }

    // MARK: Residuals

    @Test func anEntryDeletedFromTheMiddle() throws {
        try cluster.removeEntry(1, 1)
        let audit = try cluster.audit()
        #expect(audit.exitCode == .partial)
        #expect(audit.residual == Amount(increments: 1, sum: 20))
        #expect(audit.missingBatches == 1)
        let sentences = cluster.sentences(audit.findings)
        #expect(
            sentences.contains(
                "{e1.p1}:queue: producer \(node.name): batch 4 was pushed, and neither the list nor the shard, which "
                    + "holds batches through 2, has that"))
        #expect(
            sentences.contains(
                "note producer \(node.name): --node asks whether a web node still holds its missing batches"))
        #expect(
            audit.summary
                == "pushed 6 = applied 2 + repeated 0 + dead 0 + lost 0 + queued 3, residual 1, 1 batch missing; total "
                + "2 = applied 2 + carried over and imported 0, 2 findings")
        #expect(audit.text(all: false).contains(node.name))
    }

    /// What was last is gone, and with it how much it was.
    @Test func anEntryDeletedFromTheEnd() throws {
        try cluster.removeEntry(1, 3)
        let audit = try cluster.audit()
        #expect(audit.exitCode == .partial)
        #expect(audit.partitions[1].streams.first?.residual == nil)
        #expect(audit.partitions[1].streams.first?.missing == [6...6])
        #expect(audit.summary.contains("residual 1 batch"))
    }

    @Test func whoStillHoldsWhatIsMissing() throws {
        try cluster.removeEntry(1, 0)
        let held = try cluster.audit(nodes: [document])
        #expect(
            cluster.sentences(held.findings).contains(
                "note producer \(node.name): the node at http://node still holds its missing batches"))
        let other = NodeLedger(address: "http://other", producers: [try CountingNode(cluster, id: 8).ledger])
        let gone = try cluster.audit(nodes: [other])
        #expect(
            cluster.sentences(gone.findings).contains(
                "note producer \(node.name): none of the nodes that were asked has this producer, so nobody holds its "
                    + "missing batches"))
    }

    @Test func anAlteredCounter() throws {
        try cluster.alter(1, "UPDATE counters SET value = 3")
        let audit = try cluster.audit()
        #expect(audit.exitCode == .partial)
        #expect(
            cluster.sentences(audit.findings) == [
                "epoch-0001/shard-0001-of-0002.sqlite: its counters add up to 3, carried over, imported and "
                    + "applied are 2"
            ])
    }

    @Test func anAlteredLedger() throws {
        try cluster.alter(1, "UPDATE applied SET repeated_increments = 2")
        let audit = try cluster.audit()
        #expect(audit.exitCode == .partial)
        #expect(audit.residual.increments == UInt64(bitPattern: -2))
        #expect(
            cluster.sentences(audit.findings) == [
                "epoch-0001/shard-0001-of-0002.sqlite: producer \(node.name): 2 increments (sum 2) were taken "
                    + "in; applied, "
                    + "repeated and dead are 4 increments (sum 2)"
            ])
    }

    @Test func missingKeysAndShards() throws {
        let group = cluster.group(1)
        try cluster.command("DEL", group.queue, group.seqs, group.applied, group.meta)
        let audit = try cluster.audit()
        #expect(audit.exitCode == .partial)
        #expect(cluster.sentences(audit.findings) == ["{e1.p1}:meta: the partition has no keys in Redis"])
        try cluster.foldLog(0)
        try Files.write(Array(repeating: 0x55, count: 8192), to: cluster.path(0))
        #expect(try cluster.audit().exitCode == .corrupt)
    }

    // MARK: Nodes

    @Test func whatANodeHolds() throws {
        try node.admit([key: 7, cluster.keys(in: 0)[0]: 8])
        let audit = try cluster.audit(nodes: [document])
        #expect(audit.exitCode == .ok, "what is not pushed yet is no residual")
        #expect(audit.unpushed(by: audit.nodes[0]) == Amount(increments: 2, sum: 15))
        #expect(audit.text(all: false).contains("node http://node: 2 increments (sum 15) are not pushed yet\n"))
        // After the node was asked it pushes, and the shards count it.
        var problem: (any Error)?
        let during = try Audit(
            cluster.folder, cluster.access,
            nodes: { () throws(Failure) in
                let before = document
                node.fly()
                do { try cluster.consume() } catch { problem = error }
                return [before]
            })
        if let problem { throw problem }
        #expect(during.exitCode == .ok)
        #expect(during.movedStreams == 2)
        #expect(during.unpushed(by: during.nodes[0]) == .zero)
        #expect(during.text(all: false).contains("exact to the batches under way: the shards had more of 2 streams"))
    }

    @Test func whatANodeWasToldAndIsNotSo() throws {
        try cluster.consume()
        // Tells the node.
        try node.post([key: 1])
        try cluster.alter(1, "UPDATE applied SET watermark = 1")
        let sentences = try cluster.sentences(cluster.audit(nodes: [document]).findings)
        #expect(
            sentences.contains(
                "http://node: producer \(node.name): the node was told that its batches through 6 are stored, "
                    + "the shard "
                    + "holds them through 1"), "\(sentences)")
    }

    @Test func aNodeOfAnotherEpoch() throws {
        let strange = ProducerLedger(loop: 0, loops: 1, producer: node.producer.id, epoch: 3, partitions: [])
        let young = ProducerLedger(loop: 1, loops: 2, producer: node.producer.id, epoch: 0, partitions: [])
        let audit = try cluster.audit(nodes: [NodeLedger(address: "http://n", producers: [strange, young])])
        #expect(audit.exitCode == .ok)
        #expect(
            cluster.sentences(audit.findings) == [
                "note http://n: its event loop 0 serves epoch 3, the cluster file says 1: what it holds is "
                    + "not part of this "
                    + "audit", "note http://n: its event loop 1 has not read a topology yet",
            ])
    }
}
