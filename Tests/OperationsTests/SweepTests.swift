// What lies in the lists of an earlier epoch reaches the current one, once: whether it was counted before, is swept
// twice, or Redis is emptied in the middle.

import Operations
import RedisQueue
import ServiceKit
import TestSupport
import Testing

@testable import TallyCore

@Suite(.serialized) struct SweepTests {
    private static let left = PartitionID(epoch: 1, number: 0)
    private static let right = PartitionID(epoch: 1, number: 1)
    private static let a = key("a", in: 0, of: 2)
    private static let b = key("b", in: 1, of: 2)

    private func sweep(_ cluster: TestCluster) throws(Failure) -> (plan: [String], done: [String]) {
        var options = Repair.Options()
        options.patience = .short
        let repair = try Repair(cluster.folder, cluster.access, options)
        var done: [String] = []
        try repair.run { done.append($0) }
        return (repair.plan, done)
    }

    /// Two epochs; in the first, one batch was counted and one was not.
    private func cluster() throws -> (TestCluster, counted: [UInt8], straggler: [UInt8]) {
        let cluster = try TestCluster()
        let counted = batch([(Self.a, 1)], producer: 1, of: Self.left)
        try cluster.append(counted, to: Self.left)
        try cluster.startConsumers()
        #expect(try waitUntil { try cluster.counters() == [Self.a: 1] })
        cluster.stopConsumers()
        try cluster.changeEpoch()
        let straggler = batch([(Self.a, 10), (Self.b, 100)], producer: 2, of: Self.right)
        return (cluster, counted, straggler)
    }

    @Test func stragglersCountOnceAndTheDrainedNotAgain() throws {
        let (cluster, counted, straggler) = try cluster()
        try cluster.append(counted, to: Self.left)
        try cluster.append(straggler, to: Self.right)
        let second = batch([(Self.b, 1_000)], producer: 2, sequence: 2, of: Self.right)
        try cluster.append(second, to: Self.right)
        // As a rolled-back group would be.
        try cluster.redis("HSET", cluster.access.names.group(of: Self.right).meta, "state", "open")
        let (one, two) = (counted.count, straggler.count + second.count)
        #expect(
            try Status(cluster.folder, cluster.access).findings == [
                "1 batch (\(one) B) of epoch 1 lies in the old list of partition 0: run `tallymill repair`",
                "2 batches (\(two) B) of epoch 1 lie in the old list of partition 1: run `tallymill repair`",
            ])
        try cluster.startConsumers()
        let (plan, done) = try sweep(cluster)
        let mended = ": seal the list, send them to epoch 2"
        #expect(
            plan == [
                "1 batch (\(one) B) of epoch 1 lies in the old list of partition 0\(mended)",
                "2 batches (\(two) B) of epoch 1 lie in the old list of partition 1\(mended)",
            ])
        #expect(done == ["swept 1 batch of epoch 1, partition 0", "swept 2 batches of epoch 1, partition 1"])
        let expected = [Self.a: Int64(11), Self.b: 1_100]
        #expect(try cluster.counters() == expected)
        for partition in [Self.left, Self.right] {
            let group = try cluster.group(partition)
            #expect(group.queue.isEmpty && group.meta["state"] == "sealed")
            #expect(group.meta["lease"] == nil, "the lease was given back")
        }
        // Killed before it popped them: they are swept once more.
        try cluster.append(straggler, to: Self.right)
        try cluster.append(counted, to: Self.left)
        #expect(try sweep(cluster).done.count == 2)
        #expect(try cluster.counters() == expected)
        #expect(try sweep(cluster).plan.isEmpty)
    }

    @Test func longListsAreSweptInPieces() throws {
        let (cluster, _, _) = try cluster()
        var expected = [Self.a: Int64(1)]
        let padding = String(repeating: "x", count: 400)
        for sequence in 1...300 as ClosedRange<UInt64> {
            let entries = (0..<50).map { ("\(padding)-\(Int(sequence) * 50 + $0)", Int64($0)) }
            for (key, delta) in entries { expected[key, default: 0] += delta }
            try cluster.append(batch(entries, producer: 3, sequence: sequence, of: Self.left), to: Self.left)
        }
        try cluster.startConsumers()
        #expect(try sweep(cluster).done == ["swept 300 batches of epoch 1, partition 0"])
        #expect(try cluster.counters() == expected)
    }

    @Test func withoutConsumersNothingIsPopped() throws {
        let (cluster, _, straggler) = try cluster()
        try cluster.append(straggler, to: Self.right)
        let refusal = try #require(failure { () throws(Failure) in _ = try sweep(cluster) })
        #expect(refusal.code == .unavailable)
        #expect(refusal.what == "nobody consumes partitions 0-1, so what waits there is not stored")
        #expect(try cluster.group(Self.right).queue == [straggler])
        try cluster.startConsumers()
        #expect(try sweep(cluster).done == ["swept 1 batch of epoch 1, partition 1"])
        #expect(try cluster.counters() == [Self.a: 11, Self.b: 100])
    }

    @Test func aDamagedBatchStaysWithThoseBehindIt() throws {
        let (cluster, _, straggler) = try cluster()
        var damaged = batch([(Self.b, 5)], producer: 4, of: Self.left)
        damaged[damaged.count - 1] ^= 1
        let behind = batch([(Self.b, 6)], producer: 5, of: Self.left)
        for bytes in [batch([(Self.b, 1)], producer: 6, of: Self.left), damaged, behind] {
            try cluster.append(bytes, to: Self.left)
        }
        try cluster.append(straggler, to: Self.right)
        try cluster.startConsumers()
        let refusal = try #require(failure { () throws(Failure) in _ = try sweep(cluster) })
        #expect(refusal.code == .corrupt)
        #expect(
            refusal.report == """
                tallymill: test:{e1.p0}:queue: the oldest batch in the list cannot be read: its checksum is wrong
                  It stays where it is, with those behind it. Keep the list; a newer release may read it.
                """)
        #expect(try cluster.group(Self.left).queue == [damaged, behind])
        #expect(try cluster.counters() == [Self.a: 11, Self.b: 101], "the other list was swept")
    }

    @Test func aListThatSomebodyElseConsumes() throws {
        let (cluster, _, straggler) = try cluster()
        try cluster.append(straggler, to: Self.right)
        let queue = PartitionQueue(
            connection: try cluster.server.connect(), names: cluster.access.names, partition: Self.right)
        // And never trims.
        _ = try queue.claim(host: "elsewhere", owner: "elsewhere:7", milliseconds: 60_000, topology: .ofTests)
        try cluster.startConsumers()
        let refusal = failure { () throws(Failure) in _ = try sweep(cluster) }
        #expect(
            refusal?.report == """
                tallymill: elsewhere:7 consumes partition 1 of epoch 1, which is closed
                  Stop it, then run this again.
                """)
        #expect(refusal?.code == .locked)
    }

    /// While it waits for consumers, everything in Redis is lost: it publishes again, and sends again what it holds.
    @Test func redisIsEmptiedInTheMiddle() throws {
        let (cluster, _, straggler) = try cluster()
        try cluster.append(straggler, to: Self.right)
        let (folder, access) = (cluster.folder, cluster.access)
        let thread = ServiceThread(name: "repair") {
            do throws(Failure) {
                let repair = try Repair(folder, access, Repair.Options())
                try repair.run { _ in }
            } catch { Issue.record("\(error)") }
        }
        let topology = try cluster.topology
        #expect(try waitUntil { try cluster.keys().lengths(of: topology) == 2 }, "both parts are pushed")
        try cluster.redis("FLUSHALL")
        try cluster.startConsumers()
        thread.join()
        #expect(try cluster.counters() == [Self.a: 11, Self.b: 100])
        #expect(try Status(cluster.folder, cluster.access).findings.isEmpty)
    }
}
