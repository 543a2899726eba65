// Which way an import may go, and that the ways never meet: whatever was interrupted, repeated the other way, or lies
// in a list, each line counts once.

import Logging
import RedisQueue
import ServiceKit
import ShardConsumer
import ShardStore
import Testing

@testable import Operations
@testable import TallyCore

@Suite(.serialized) struct ImportWayTests {
    private static let lines = (0..<60).map { ("line \($0)", Int64($0 + 1)) }
    private static var sums: [String: Int64] { Dictionary(uniqueKeysWithValues: lines) }

    private func lines(_ cluster: TestCluster, again: String? = nil) throws -> Import {
        let sort = ExternalSort(try cluster.topology.partitioner, folder: cluster.folder.path)
        for (key, value) in Self.lines {
            try Array(key.utf8).withUnsafeBytes { try sort.add($0, value) }
        }
        return Import(try sort.finish(), into: cluster.folder, again: again)
    }

    private func rebalance(_ cluster: TestCluster) -> Rebalance {
        Rebalance(
            cluster.folder, cluster.access, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            stopRequest: StopRequest(), tell: { _ in })
    }

    /// Pushes the first of the lines under the import's claim, as a run does that is killed before they are stored.
    private func push(_ cluster: TestCluster, _ lines: Import, count: Int) throws {
        let courier = Courier(cluster.access, patience: .short)
        try courier.deliver(Array(Self.lines.prefix(count)), idempotencyKey: "import:\(lines.id)")
        let refusal = failure { () throws(Failure) in try courier.settle() }
        #expect(refusal?.code == .unavailable)
    }

    private func way(_ cluster: TestCluster, _ lines: Import, throughQueues: Bool = false) throws -> Import.Way {
        try lines.way(throughQueues: throughQueues, cluster.access)
    }

    private func claims(_ cluster: TestCluster) throws -> Int {
        let topology = try cluster.topology
        var claims = 0
        for partition in topology.partitionIDs {
            let location = cluster.folder.shard(partition.number, of: topology)
            claims += try ShardReader(at: location.path).count(of: .idempotency)
        }
        return claims
    }

    private func deliver(_ cluster: TestCluster, _ lines: Import) throws -> Import.Arrival {
        try #require(try lines.deliver(over: cluster.access) { _ in })
    }

    private func arrival(new: UInt64 = 0, known: UInt64 = 0) -> Import.Arrival {
        var arrival = Import.Arrival()
        (arrival.new, arrival.known) = (new, known)
        return arrival
    }

    @Test func directlyIntoAnEmptyCluster() throws {
        let cluster = try TestCluster()
        let lines = try lines(cluster)
        #expect(try way(cluster, lines) == .direct)
        #expect(try way(cluster, lines, throughQueues: true) == .queues)
        try rebalance(cluster).load(lines.source)
        #expect(try cluster.counters() == Self.sums)
        #expect(try way(cluster, lines) == .done)
        #expect(try way(cluster, lines, throughQueues: true) == .done)
        // Also where the cluster file is not asked: whatever of it still arrives is repeated.
        try cluster.startConsumers()
        #expect(try deliver(cluster, lines) == arrival(known: 60))
        #expect(try cluster.counters() == Self.sums)
        #expect(try claims(cluster) == 0)
        let another = try self.lines(cluster, again: "b")
        #expect(try way(cluster, another) == .queues)
    }

    /// The batches that wait may be of these lines.
    @Test func notDirectlyWhileAListHoldsABatch() throws {
        let cluster = try TestCluster()
        let lines = try lines(cluster)
        try cluster.append(
            batch([("k", 1)], producer: 1, of: PartitionID(epoch: 1, number: 1)), to: PartitionID(epoch: 1, number: 1))
        #expect(try way(cluster, lines) == .queues)
    }

    @Test func notDirectlyWhileAnOldListHoldsABatch() throws {
        let cluster = try TestCluster()
        try cluster.changeEpoch()
        let lines = try lines(cluster)
        #expect(try way(cluster, lines) == .direct)
        try cluster.append(
            batch([("k", 1)], producer: 1, of: PartitionID(epoch: 1, number: 0)), to: PartitionID(epoch: 1, number: 0))
        #expect(try way(cluster, lines) == .queues)
    }

    /// A claim that counted zero leaves no key behind where it was dropped again, but itself.
    @Test func notDirectlyWhereSomeOfItWasCounted() throws {
        let cluster = try TestCluster()
        let lines = try lines(cluster)
        let location = cluster.folder.shard(1, of: try cluster.topology)
        Shell.run("sqlite3 \(location.path) \"INSERT INTO idempotency VALUES('import:\(lines.id)', 'k', 5)\"")
        #expect(try way(cluster, lines) == .queues)
        let another = try self.lines(cluster, again: "x")
        #expect(try way(cluster, another) == .direct)
        Shell.run("sqlite3 \(location.path) 'DELETE FROM idempotency'")
        try ShardUpkeep.note(import: lines.id, at: location.path, expecting: location.expected)
        #expect(try way(cluster, lines) == .queues, "one shard alone does not make it complete")
    }

    /// Finding 2: what lies in the lists is drained by the direct import itself.
    @Test func aDirectImportLeavesOutWhatTheQueuesHaveBrought() throws {
        let cluster = try TestCluster()
        let lines = try lines(cluster)
        try push(cluster, lines, count: 10)
        #expect(try way(cluster, lines) == .queues)
        // As if the lists had been empty a moment ago.
        try rebalance(cluster).load(lines.source)
        let file = try cluster.file
        #expect(file.state == .ready && file.topology.epoch == 2 && file.imports.isEmpty && file.importing == nil)
        #expect(try cluster.counters() == Dictionary(uniqueKeysWithValues: Self.lines.prefix(10)))
        #expect(try way(cluster, lines) == .queues)
        try cluster.startConsumers()
        #expect(try deliver(cluster, lines) == arrival(new: 50, known: 10))
        #expect(try cluster.counters() == Self.sums)
        #expect(try way(cluster, lines) == .done)
        #expect(try claims(cluster) == 0)
    }

    /// Killed after it was decided, or before: whoever resumes decides the same.
    @Test func theDecisionOutlivesTheProcess() throws {
        let cluster = try TestCluster()
        let lines = try lines(cluster)
        try push(cluster, lines, count: 10)
        let stop = StopRequest()
        let stopped = Rebalance(
            cluster.folder, cluster.access, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
            stopRequest: stop,
            tell: { note in if case .phase("building the new shards", _) = note { stop.set() } })
        let source = lines.source
        let interrupted = failure { () throws(Failure) in try stopped.load(source) }
        #expect(interrupted?.code == .failure)
        let building = try cluster.file
        #expect(building.state == .building && building.importing == nil)
        #expect(try rebalance(cluster).resume())
        #expect(try cluster.counters() == Dictionary(uniqueKeysWithValues: Self.lines.prefix(10)))
        try cluster.startConsumers()
        #expect(try deliver(cluster, lines) == arrival(new: 50, known: 10))
        #expect(try cluster.counters() == Self.sums)
    }

    /// Killed between the shards when the import is named there: some claims are gone, others not.
    @Test func killedWhileItIsNamed() throws {
        let cluster = try TestCluster()
        let lines = try lines(cluster)
        try cluster.startConsumers()
        let courier = Courier(cluster.access)
        try courier.deliver(Self.lines, idempotencyKey: "import:\(lines.id)")
        try courier.settle()
        let location = cluster.folder.shard(0, of: try cluster.topology)
        try ShardUpkeep.note(import: lines.id, at: location.path, expecting: location.expected)
        #expect(try claims(cluster) > 0)
        #expect(try way(cluster, lines) == .queues)
        #expect(try deliver(cluster, lines) == arrival(known: 60))
        #expect(try claims(cluster) == 0)
        #expect(try way(cluster, lines) == .done)
        #expect(try cluster.counters() == Self.sums)
    }

    /// A queued import that is complete, one that is half way, and a rebalance in between.
    @Test(arguments: [true, false]) func aChangeOfEpochInBetween(isComplete: Bool) throws {
        let cluster = try TestCluster()
        let lines = try lines(cluster)
        if isComplete {
            try cluster.startConsumers()
            #expect(try deliver(cluster, lines) == arrival(new: 60))
            cluster.stopConsumers()
        } else {
            try push(cluster, lines, count: 25)
        }
        try rebalance(cluster).run(to: 3)
        let sortedAgain = try self.lines(cluster)
        #expect(try way(cluster, sortedAgain) == (isComplete ? .done : .queues))
        // Sorted for other partitions: not directly, but it counts.
        #expect(try way(cluster, lines, throughQueues: true) == (isComplete ? .done : .queues))
        try cluster.startConsumers()
        let (known, new): (UInt64, UInt64) = isComplete ? (60, 0) : (25, 35)
        #expect(try deliver(cluster, lines) == arrival(new: new, known: known))
        #expect(try deliver(cluster, sortedAgain) == arrival(known: 60))
        #expect(try way(cluster, sortedAgain) == .done)
        #expect(try cluster.counters() == Self.sums)
    }

    /// Redis forgets everything after the import: the shards remember.
    @Test func redisIsEmptied() throws {
        let cluster = try TestCluster()
        let lines = try lines(cluster)
        try cluster.startConsumers()
        #expect(try deliver(cluster, lines) == arrival(new: 60))
        cluster.stopConsumers()
        try cluster.redis("FLUSHALL")
        _ = try Initializer(folder: cluster.folder, access: cluster.access).run(partitions: 2, otherwise: 2)
        #expect(try way(cluster, lines) == .done)
        try cluster.startConsumers()
        #expect(try deliver(cluster, lines) == arrival(known: 60))
        #expect(try cluster.counters() == Self.sums)
    }
}
