// The courier against a real Redis and real shards: everything counts once, whatever happens to Redis meanwhile, and a
// wait that makes no sense ends with what is missing.

import Glibc
import Operations
import RedisQueue
import ServiceKit
import TestSupport
import Testing

@testable import TallyCore

@Suite(.serialized) struct CourierTests {
    @Test func everythingIsStoredOnceAndSaid() throws {
        let cluster = try TestCluster(partitions: 3)
        try cluster.startConsumers()
        let courier = Courier(cluster.access)
        var tickets: Set<Ticket> = []
        for round in 0..<20 {
            let list = (0..<50).map { ("key-\($0 % 17)", Int64(round + $0)) }
            tickets.insert(try #require(try courier.deliver(list)))
        }
        tickets.insert(try #require(try courier.deliver([("once", 5), ("once", 6)], idempotencyKey: "id")))
        tickets.insert(try #require(try courier.deliver([("once", 5), ("once", 6)], idempotencyKey: "id")))
        #expect(try courier.deliver([]) == nil)
        var most: UInt64 = 0
        try courier.settle { most = max(most, $0.stored) }
        #expect(courier.heldBytes == 0 && most > 0)
        #expect(Set(courier.takeStored()) == tickets)
        #expect(courier.takeStored().isEmpty)
        var expected: [String: Int64] = ["once": 11]
        for round in 0..<20 {
            for number in 0..<50 { expected["key-\(number % 17)", default: 0] += Int64(round + number) }
        }
        #expect(try cluster.counters() == expected)
    }

    /// More than the outbox takes: it waits for the shards, and never holds more.
    @Test func memoryIsBounded() throws {
        let cluster = try TestCluster()
        try cluster.startConsumers()
        let bound = 256 << 10
        let courier = Courier(cluster.access, outboxBytes: bound)
        let padding = String(repeating: "x", count: 400)
        for round in 0..<60 {
            try courier.deliver((0..<50).map { ("\(padding)-\(round)-\($0)", 1) })
            // A frozen batch adds its header to what was admitted.
            #expect(courier.heldBytes <= bound + 64 * BatchFormat.emptyBatchBytes)
        }
        try courier.settle()
        #expect(try cluster.counters().count == 3_000)
    }

    @Test func redisIsKilledAndGoesBack() throws {
        let cluster = try TestCluster()
        let courier = Courier(cluster.access)
        try courier.deliver([("a", 1), ("b", 2), ("c", 3)])
        let copy = cluster.server.copyData()
        try courier.deliver([("a", 10), ("b", 20), ("c", 30)])
        // Nobody consumes yet: what it has pushed by now is in Redis alone, and in its outbox.
        let isQueued = try waitUntil {
            try courier.deliver([])  // lets it go on
            return try cluster.keys().lengths(of: try cluster.topology) >= 4
        }
        #expect(isQueued)
        try cluster.server.replaceData(with: copy)
        try cluster.startConsumers()
        try courier.settle()
        #expect(try cluster.counters() == ["a": 11, "b": 22, "c": 33])
        let server = cluster.server
        server.kill()
        let restart = ServiceThread(name: "restart") {
            do { try server.start() } catch { Issue.record("\(error)") }
        }
        try courier.deliver([("a", 100)])
        try courier.settle()
        restart.join()
        #expect(try cluster.counters() == ["a": 111, "b": 22, "c": 33])
    }

    @Test func itFollowsAMove() throws {
        let cluster = try TestCluster()
        let courier = Courier(cluster.access)
        try courier.deliver([("a", 1), ("b", 2)])
        let isQueued = try waitUntil {
            try courier.deliver([])  // lets it go on
            return try cluster.keys().lengths(of: try cluster.topology) > 0
        }
        #expect(isQueued)
        // Nothing was drained: what is in the old lists counts only through the move.
        try cluster.changeEpoch()
        try cluster.startConsumers()
        try courier.deliver([("a", 10), ("b", 20), ("c", 30)])
        try courier.settle()
        #expect(try cluster.counters() == ["a": 11, "b": 22, "c": 30])
    }

    @Test func adoptedBatchesCountOnce() throws {
        let cluster = try TestCluster()
        try cluster.startConsumers()
        let old = PartitionID(epoch: 1, number: 0)
        let foreign = batch([("a", 1), ("b", 2), ("c", 3)], producer: 1, of: PartitionID(epoch: 9, number: 0))
        for _ in 0..<2 {
            let courier = Courier(cluster.access)
            #expect(try courier.adopt(foreign) == nil)
            #expect(try courier.adopt(foreign) == nil)
            try courier.settle()
        }
        #expect(try cluster.counters() == ["a": 1, "b": 2, "c": 3])
        var damaged = batch([("a", 1)], producer: 2, of: old)
        damaged[damaged.count - 1] ^= 1
        guard case .damaged(let header, _)? = try Courier(cluster.access).adopt(damaged) else {
            Issue.record("a damaged batch was adopted")
            return
        }
        #expect(header.id.sequence == 1)
    }

    @Test func withoutConsumersItSaysWhoIsMissing() throws {
        let cluster = try TestCluster()
        let courier = Courier(cluster.access, patience: .short)
        try courier.deliver([(key("k", in: 1, of: 2), 1)])
        let failure = try #require(failure { () throws(Failure) in try courier.settle() })
        #expect(failure.code == .unavailable)
        #expect(
            failure.report == """
                tallymill: nobody consumes partition 1, so what waits there is not stored
                  Start `tallymill consume --partitions 1` or `tallymill up`, then run this again.
                """)
        // It is not lost: the same courier may go on.
        try cluster.startConsumers()
        try courier.settle()
        #expect(try cluster.counters() == [key("k", in: 1, of: 2): 1])
    }

    @Test func aConsumerThatDoesNothingIsNamed() throws {
        let cluster = try TestCluster()
        let partition = PartitionID(epoch: 1, number: 0)
        let queue = PartitionQueue(
            connection: try cluster.server.connect(), names: cluster.access.names, partition: partition)
        _ = try queue.claim(host: "h", owner: "host-a:7", milliseconds: 60_000, topology: .ofTests)  // and never peeks
        let courier = Courier(cluster.access, patience: .short)
        try courier.deliver([(key("k", in: 0, of: 2), 1)])
        let failure = try #require(failure { () throws(Failure) in try courier.settle() })
        #expect(
            failure.report == """
                tallymill: nothing was stored for 3.0 s, 1 batch left
                  Look at the logs of the consumers: partition 0 is consumed by host-a:7.
                """)
        #expect(failure.code == .unavailable)
    }

    @Test func aRedisThatIsNotOursEndsTheWait() throws {
        let cluster = try TestCluster()
        let courier = Courier(cluster.access, patience: .short)
        try courier.deliver([("a", 1)])
        let other = ClusterID(Bytes16(high: 1, low: 2))
        try cluster.redis("SET", cluster.access.names.topology, Topology(cluster: other, epoch: 1, partitions: 2).json)
        cluster.server.kill()
        try cluster.server.start()
        let failure = try #require(failure { () throws(Failure) in try courier.settle() })
        #expect(failure.code == .configuration)
        #expect(
            failure.report == """
                tallymill: unix://\(cluster.server.socket): this Redis belongs to another cluster, \(other)
                  Check --redis and --namespace.
                """)
    }

    @Test func whatRepairMendsIsSaid() throws {
        let cluster = try TestCluster()
        try cluster.redis("DEL", cluster.access.names.topology)
        let unpublished = failure { () throws(Failure) in
            try Courier(cluster.access, patience: .short).deliver([("a", 1)])
        }
        #expect(
            unpublished?.report == """
                tallymill: test:topology: Redis publishes no topology
                  `tallymill repair` publishes it again.
                """)
        #expect(unpublished?.code == .configuration)
        #expect(try cluster.keys().publish(try cluster.topology) == .published)
        let courier = Courier(cluster.access, patience: .short)
        try courier.deliver([])  // reads the topology
        let group = cluster.access.names.group(of: PartitionID(epoch: 1, number: 0))
        for key in group.all { try cluster.redis("DEL", key) }
        let closed = failure { () throws(Failure) in
            try courier.deliver([(key("k", in: 0, of: 2), 1)])
            try courier.settle()
        }
        #expect(
            closed?.report == """
                tallymill: partition 0 is closed or has no keys in Redis, and there is no newer epoch
                  `tallymill repair` mends that.
                """)
    }

    @Test func aRedisThatIsAwayIsNamed() throws {
        let cluster = try TestCluster()
        cluster.server.kill()
        let failure = failure { () throws(Failure) in
            try Courier(cluster.access, patience: .short).deliver([("a", 1)])
        }
        #expect(failure?.code == .unavailable)
        #expect(failure?.what.hasPrefix("cannot reach Redis at unix://\(cluster.server.socket)") == true)
        #expect(failure?.advice == "check --redis, and that Redis runs.")
    }
}

extension ClusterKeys {
    /// Batches in all lists of a topology.
    func lengths(of topology: Topology) throws -> Int {
        try topology.partitionIDs.reduce(0) { $0 + (try glance($1).length) }
    }
}
