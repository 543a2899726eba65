// What was changed in Redis by hand is named; what Redis does by itself, such as going back in time, is no finding.

import ClusterSupport
import RedisQueue
import ServiceKit
import TestSupport
import Testing

@testable import Operations
@testable import TallyCore

@Suite struct QueueVerificationTests {
    let cluster: CountingCluster
    let node: CountingNode
    /// A key of partition 1, to which all batches go.
    let key: String

    /// Batches 1 and 2 are counted, 3 to 6 wait.
    init() throws {
        cluster = try CountingCluster(partitions: 2)
        node = try CountingNode(cluster, id: 7)
        key = cluster.keys(in: 1)[0]
        for _ in 0..<2 { try node.post([key: 1]) }
        try cluster.consume()
        for value in [10, 20, 30, 40] as [Int64] { try node.post([key: value]) }
        #expect(try cluster.verify().findings == [])
    }

    private var producer: String { "producer \(node.name)" }

    private func found() throws -> [String] {
        let verification = try cluster.verify()
        #expect(verification.exitCode == .partial)
        return cluster.sentences(verification.findings).map { $0.replacing("{e1.p1}:", with: "") }
    }

    // MARK: Lists

    @Test func anEntryDeletedFromTheMiddle() throws {
        try cluster.removeEntry(1, 1)
        let sentences = try found()
        try #require(sentences.count == 2, "\(sentences)")
        #expect(sentences[0].hasPrefix("meta: it counts "))
        #expect(
            sentences[1] == "queue: \(producer): batch 4 was pushed, and neither the list nor the shard, which holds "
                + "batches through 2, has that")
    }

    @Test func entriesCutOffAtTheEnds() throws {
        try cluster.command("LTRIM", cluster.group(1).queue, "1", "1")
        #expect(
            try found().contains(
                "queue: \(producer): batches 3, 5-6 were pushed, and neither the list nor the shard, which "
                    + "holds batches "
                    + "through 2, has that"))
    }

    @Test func aWholeListDeleted() throws {
        try cluster.command("DEL", cluster.group(1).queue)
        let sentences = try found()
        #expect(
            sentences.last == "queue: \(producer): batches 3-6 were pushed, and neither the list nor the shard, which "
                + "holds batches through 2, has that")
    }

    @Test func aDamagedEntry() throws {
        var bytes = try cluster.entry(1, 2)
        bytes[BatchFormat.headerBytes + 3] ^= 1
        try cluster.command("LSET", cluster.group(1).queue, "2", bytes: bytes)
        #expect(
            try found() == ["queue: entry 2 (batch e1.p1 \(node.name) 5) is damaged: its checksum is wrong"])
        bytes[5] ^= 1
        try cluster.command("LSET", cluster.group(1).queue, "2", bytes: bytes)
        #expect(
            try found() == [
                "queue: entry 2 is no batch: the checksum of its header is wrong",
                "queue: \(producer): batch 5 was pushed, and neither the list nor the shard, which holds "
                    + "batches through "
                    + "2, has that",
            ])
    }

    @Test func aStrangerInTheList() throws {
        try cluster.command("RPUSH", cluster.group(1).queue, "hello")
        #expect(try found().last == "queue: entry 4 is no batch: 5 bytes are too few for a batch")
    }

    @Test func anEntryOfAnotherPartition() throws {
        try node.post([cluster.keys(in: 0)[0]: 5])
        let group = cluster.group(0).queue
        try cluster.command("LMOVE", group, cluster.group(1).queue, "LEFT", "RIGHT")
        let sentences = try found()
        #expect(sentences.contains("queue: entry 4 (batch e1.p0 \(node.name) 1) belongs to another partition"))
        #expect(
            sentences.contains(
                "{e1.p0}:queue: \(producer): batch 1 was pushed, and neither the list nor the shard, which "
                    + "holds batches "
                    + "through 0, has that"))
    }

    @Test func entriesOutOfOrderAndDoubled() throws {
        let entry = try cluster.entry(1, 0)
        try cluster.command("RPUSH", cluster.group(1).queue, bytes: entry)
        #expect(try found().contains("queue: \(producer): batch 3 comes after batch 6 in the list"))
    }

    @Test func aLedgerThatDoesNotContinue() throws {
        // The same identity with other contents, sound in itself.
        let stream = StreamID(partition: PartitionID(epoch: 1, number: 1), producer: node.producer.id)
        var writer = BatchWriter(
            stream: stream, nextSequence: 4, cumulative: Amount(increments: 3, sum: 13), frozenAt: 1, origin: nil,
            limitBytes: .max, sizeHint: 100)
        Array(key.utf8).withUnsafeBytes { writer.append(key: $0, increments: 1, sum: 20) }
        try cluster.command("LSET", cluster.group(1).queue, "1", bytes: writer.finish()[0].bytes)
        #expect(
            try found().contains(
                "queue: \(producer): batch 4 does not continue the ledger: 3 increments (sum 12) precede it, "
                    + "by its own "
                    + "account 3 increments (sum 13)"))
    }

    @Test func aWrongNumberOfBytes() throws {
        guard case .bytes(let text) = try cluster.command("HGET", cluster.group(1).meta, "bytes") else {
            throw HarnessError("no bytes")
        }
        let bytes = String(decoding: text, as: UTF8.self)
        try cluster.command("HSET", cluster.group(1).meta, "bytes", "7")
        #expect(try found() == ["meta: it counts 7 bytes in the list, which holds \(bytes)"])
    }

    @Test func sequencesChangedByHand() throws {
        var command = RedisCommand("HSET", cluster.group(1).seqs)
        command.append(node.producer.id.bytes.array)
        command.append("4")
        #expect(try cluster.redis.command(command) == .integer(0))
        #expect(
            try found() == ["queue: \(producer): batch 6 is in the list, but the last one that was pushed is 4"])
    }

    // MARK: Keys

    @Test func missingKeys() throws {
        let group = cluster.group(1)
        try cluster.command("DEL", group.queue, group.seqs, group.applied, group.meta)
        #expect(try found() == ["meta: the partition has no keys in Redis"])
    }

    @Test func aSealedPartition() throws {
        #expect(
            try cluster.access.keys().seal(PartitionID(epoch: 1, number: 1)) == .sealed)
        #expect(try found() == ["meta: the partition is sealed, though its epoch is the current one"])
    }

    @Test func topologies() throws {
        let name = cluster.access.names.topology
        let own = cluster.topology
        try cluster.command("DEL", name)
        #expect(try found() == ["topology: Redis has no topology"])
        let newer = Topology(cluster: own.cluster, epoch: 2, partitions: 5)
        try cluster.command("SET", name, newer.json)
        let verification = try cluster.verify()
        #expect(
            cluster.sentences(verification.findings) == [
                "topology: Redis publishes epoch 2 with 5 partitions, the cluster file says epoch 1 with 2"
            ])
        #expect(
            verification.findings.first?.advice
                == "The cluster file is an old copy: use the newest copy of the data folder.")
        let other = Topology(cluster: ClusterID(Bytes16(high: 1, low: 2)), epoch: 1, partitions: 2)
        try cluster.command("SET", name, other.json)
        #expect(try found() == ["topology: it belongs to cluster \(other.cluster), the cluster file to \(own.cluster)"])
    }

    @Test func listsOfEarlierEpochs() throws {
        // The cluster file of a rebalance from 2 to 1 partitions whose shard was made by hand: partition 0 of 2 stays.
        let keys = try cluster.access.keys()
        let old = PartitionID(epoch: 1, number: 1)
        var file = try #require(try cluster.folder.readClusterFile())
        let topology = Topology(cluster: file.topology.cluster, epoch: 2, partitions: 1)
        file = ClusterFile(
            topology: topology, state: .ready, earlier: [ClusterFile.Epoch(epoch: 1, partitions: 2)])
        try AtomicFile.write(Array(file.json.utf8), to: cluster.folder.clusterFilePath)
        #expect(try keys.publish(topology) == .published)
        let verification = try cluster.verify()
        let sentences = cluster.sentences(verification.findings)
        #expect(sentences.contains("{e1.p1}:queue: 4 batches lie in a list of an earlier epoch"))
        #expect(sentences.contains("{e1.p1}:meta: a partition of an earlier epoch is not sealed"))
        #expect(sentences.contains("{e2.p0}:meta: the partition has no keys in Redis"))
        #expect(try keys.seal(old) == .sealed)
        let sealed = try cluster.sentences(cluster.verify().findings)
        #expect(!sealed.contains("{e1.p1}:meta: a partition of an earlier epoch is not sealed"))
    }

    // MARK: What is in order

    @Test func aRollbackIsNoFinding() throws {
        let server = try RedisServer()
        let cluster = try CountingCluster(partitions: 2, on: server)
        let node = try CountingNode(cluster, id: 9)
        let key = cluster.keys(in: 1)[0]
        for value in 1...3 { try node.post([key: Int64(value)]) }
        let copy = server.copyData()
        for value in 4...5 { try node.post([key: Int64(value)]) }
        try cluster.consume()
        try server.replaceData(with: copy)
        // The list holds what was counted already, and Redis has forgotten batches 4 and 5.
        let verification = try cluster.verify()
        #expect(verification.exitCode == .ok)
        let place = "{e1.p1}:seqs"
        #expect(
            cluster.sentences(verification.findings) == [
                "note \(place): of producer \(node.name) Redis knows batches through 3, the shard holds them "
                    + "through 5: "
                    + "Redis went back in time, which lost nothing, or the watermark was altered"
            ])
        #expect(try cluster.audit().exitCode == .ok)
        // The stale entries are skipped and trimmed; a new node is none the wiser.
        try cluster.consume()
        let other = try CountingNode(cluster, id: 10)
        try other.post([key: 100])
        #expect(try cluster.verify().exitCode == .ok)
        let audit = try cluster.audit()
        #expect(audit.exitCode == .ok)
        #expect(audit.partitions[1].sums.queued == Amount(increments: 1, sum: 100))
    }

    @Test func committedAndNotTrimmed() throws {
        try cluster.consume(1, trims: false)
        #expect(try cluster.verify().findings == [])
        let audit = try cluster.audit()
        #expect(audit.exitCode == .ok)
        #expect(audit.partitions[1].sums.queuedBatches == 0)
    }
}
