// Repair against every state of Redis that it is for: it does what the plan says, says what it did, and finds nothing
// to do afterwards; what it must not touch it refuses, before anything has changed.

import Glibc
import Operations
import RedisQueue
import ServiceKit
import ShardConsumer
import ShardStore
import TestSupport
import Testing

@testable import TallyCore

@Suite(.serialized) struct RepairTests {
    /// Plans and repairs; the lines of both.
    private func repair(
        _ cluster: TestCluster, _ configure: (inout Repair.Options) -> Void = { _ in }
    ) throws(Failure) -> (plan: [String], done: [String]) {
        var options = Repair.Options()
        options.patience = .short
        configure(&options)
        let repair = try Repair(cluster.folder, cluster.access, options)
        var done: [String] = []
        try repair.run { done.append($0) }
        return (repair.plan, done)
    }

    private func findings(_ cluster: TestCluster) throws -> [String] {
        try Status(cluster.folder, cluster.access).findings
    }

    // MARK: The current epoch

    @Test func nothingIsDue() throws {
        let cluster = try TestCluster()
        let (plan, done) = try repair(cluster)
        #expect(plan.isEmpty && done.isEmpty)
        #expect(try findings(cluster).isEmpty)
    }

    @Test func anEmptiedRedis() throws {
        let cluster = try TestCluster(partitions: 3)
        try cluster.redis("FLUSHALL")
        #expect(
            try findings(cluster) == [
                "nothing of this cluster is in unix://\(cluster.server.socket), namespace test: `tallymill repair`"
                    + " makes everything anew, if this is the Redis of the cluster and it has lost its keys. If not,"
                    + " name the right one with --redis and --namespace."
            ])
        let (plan, done) = try repair(cluster)
        #expect(
            plan == [
                "Redis publishes no topology, the cluster file says epoch 1: publish epoch 1",
                "partitions 0-2 of epoch 1 have no keys in Redis: create them, empty",
            ])
        #expect(done == ["published epoch 1, 3 partitions", "created the keys of epoch 1, partitions 0-2"])
        #expect(try findings(cluster).isEmpty)
        for partition in try cluster.topology.partitionIDs {
            let location = cluster.folder.shard(partition.number, of: try cluster.topology)
            let uuid = try ShardReader(at: location.path).identity.uuid
            #expect(try cluster.group(partition).meta["shard"] == uuid.description)
        }
        #expect(try repair(cluster).done.isEmpty)
    }

    @Test func functionsAndOneGroupAreMissing() throws {
        let cluster = try TestCluster(partitions: 3)
        try cluster.redis("FUNCTION", "FLUSH")
        for key in cluster.access.names.group(of: PartitionID(epoch: 1, number: 1)).all {
            try cluster.redis("DEL", key)
        }
        let (plan, done) = try repair(cluster)
        #expect(
            plan == [
                "the functions are not loaded in Redis: load them",
                "partition 1 of epoch 1 has no keys in Redis: create them, empty",
            ])
        #expect(
            done == [
                "loaded the functions, revision \(FunctionLibrary.revision)",
                "created the keys of epoch 1, partitions 1",
            ])
    }

    @Test func aTopologyThatWentBack() throws {
        let cluster = try TestCluster()
        try cluster.changeEpoch()
        let old = Topology(cluster: try cluster.topology.cluster, epoch: 1, partitions: 2)
        try cluster.redis("SET", cluster.access.names.topology, old.json)
        let (plan, done) = try repair(cluster)
        #expect(plan == ["Redis publishes epoch 1, the cluster file says 2: publish epoch 2"])
        #expect(done == ["published epoch 2, 2 partitions"])
    }

    // MARK: Refusals

    private func expectRefusal(
        _ cluster: TestCluster, _ report: String, _ location: SourceLocation = #_sourceLocation
    ) throws {
        let refusal = failure(location) { () throws(Failure) in _ = try repair(cluster) }
        #expect(refusal?.code == .configuration, sourceLocation: location)
        #expect(refusal?.report == "tallymill: " + report, sourceLocation: location)
        #expect(try findings(cluster).isEmpty == false, sourceLocation: location)
    }

    @Test func aRedisThatIsNotOurs() throws {
        let cluster = try TestCluster()
        let names = cluster.access.names
        let own = try cluster.topology
        let older = "This copy of the data folder is older than a rebalance: use the newest one."
        let newer = Topology(cluster: own.cluster, epoch: 3, partitions: 5)
        try cluster.redis("SET", names.topology, newer.json)
        try expectRefusal(
            cluster,
            "\(cluster.folder.clusterFilePath): Redis publishes epoch 3, the cluster file says 1\n  \(older)")
        let other = Topology(cluster: ClusterID(Bytes16(high: 1, low: 2)), epoch: 1, partitions: 2)
        try cluster.redis("SET", names.topology, other.json)
        try expectRefusal(
            cluster,
            "test:topology: this Redis belongs to another cluster, \(other.cluster)\n"
                + "  Name the Redis of cluster \(own.cluster) with --redis, or its --namespace; or with --data-dir the"
                + " folder of cluster \(other.cluster).")
        let wider = Topology(cluster: own.cluster, epoch: 1, partitions: 5)
        try cluster.redis("SET", names.topology, wider.json)
        try expectRefusal(
            cluster,
            "\(cluster.folder.clusterFilePath): epoch 1 has 5 partitions in Redis, 2 in the cluster file\n"
                + "  Put back the copy of the data folder that belongs to this Redis.")
        try cluster.redis("SET", names.topology, own.json)
        #expect(try cluster.keys().seal(PartitionID(epoch: 1, number: 1)) == .sealed)
        try expectRefusal(
            cluster,
            "\(cluster.folder.clusterFilePath): partition 1 of epoch 1 is sealed in Redis: a rebalance has closed the"
                + " epoch that the cluster file calls current\n  \(older)")
    }

    @Test func keysThatNobodyUnderstands() throws {
        let cluster = try TestCluster()
        let group = cluster.access.names.group(of: PartitionID(epoch: 1, number: 0))
        let uuid = ShardUUID(Bytes16(high: 7, low: 7))
        let own = try #require(try cluster.group(PartitionID(epoch: 1, number: 0)).meta["shard"])
        try cluster.redis("HSET", group.meta, "shard", uuid.description)
        try expectRefusal(
            cluster,
            "\(cluster.folder.path)/epoch-0001/shard-0000-of-0002.sqlite: partition 0 in Redis belongs to shard"
                + " \(uuid), not \(own)\n"
                + "  The file is not the one that this Redis knows: put the newest copy back.")
        try cluster.redis("DEL", group.meta)
        try cluster.redis("RPUSH", group.queue, "x")
        try expectRefusal(
            cluster,
            "\(group.meta): keys of the group are there without this one\n"
                + "  Keys of a partition come and go together: bring this Redis back from its own files. Deleting the"
                + " rest loses the batches in its list, unless the nodes that sent them still run.")
        try cluster.redis("DEL", group.queue)
        try cluster.redis("SET", cluster.access.names.topology, "{")
        let refusal = failure { () throws(Failure) in _ = try repair(cluster) }
        #expect(refusal?.code == .configuration)
        #expect(refusal?.location == "test:topology")
        #expect(
            refusal?.advice == "Unless a newer release wrote it: delete this key with redis-cli, then run this again.")
    }

    @Test func aShardThatIsElsewhere() throws {
        let cluster = try TestCluster()
        let path = "\(cluster.folder.path)/epoch-0001/shard-0001-of-0002.sqlite"
        #expect(rename(path, path + ".away") == 0)
        #expect(try repair(cluster).done.isEmpty, "its key group is there: nothing is due")
        try cluster.redis("FLUSHALL")
        let refusal = failure { () throws(Failure) in _ = try repair(cluster) }
        #expect(
            refusal?.report == """
                tallymill: \(path): partition 1 has no keys in Redis, and its shard is not here to tell which file \
                they belong to
                  Run this on the host of that shard, or put the file back.
                """)
    }

    @Test func oneToolAtATime() throws {
        let cluster = try TestCluster()
        let lock = try cluster.folder.lockForChange()
        let refusal = failure { () throws(Failure) in _ = try repair(cluster) }
        #expect(refusal?.code == .locked)
        #expect(refusal?.what == "process \(getpid()) is changing this cluster")
        withExtendedLifetime(lock) {}
    }

    // MARK: A change of epoch

    @Test func anInterruptedChangeIsPublishedAndResumed() throws {
        let cluster = try TestCluster()
        try cluster.changeEpoch(ready: false)
        try cluster.redis("FLUSHALL")
        let refusal = failure { () throws(Failure) in _ = try repair(cluster) }
        #expect(refusal?.code == .partial)
        #expect(
            refusal?.report == """
                tallymill: \(cluster.folder.clusterFilePath): epoch 2 is still being built
                  `tallymill rebalance resume` finishes it; then run this again.
                """)
        let topology = try cluster.topology
        for partition in topology.partitionIDs {
            let uuid = ShardUUID(derivedFor: partition, of: topology.cluster)
            #expect(try cluster.group(partition).meta["shard"] == uuid.description)
        }
        #expect(
            try findings(cluster) == ["epoch 2 with 2 partitions is being built: run `tallymill rebalance resume`"])
        var resumed = 0
        let (plan, _) = try repair(cluster) { options in
            options.resume = { () throws(Failure) in
                resumed += 1
                guard case .held = try FileLock.attempt(cluster.folder.clusterLockPath) else {
                    throw Failure(.failure, "resumed without the cluster's lock")
                }
                do {
                    var file = try cluster.file
                    file.state = .ready
                    try cluster.write(file)
                } catch { throw Failure(.failure, "\(error)") }
            }
        }
        #expect(plan == ["epoch 2 with 2 partitions is being built: resume the rebalance"])
        #expect(resumed == 1)
    }

    @Test func anInterruptedInitIsNotOurs() throws {
        let cluster = try TestCluster()
        var file = try cluster.file
        file.state = .building
        try cluster.write(file)
        let refusal = failure { () throws(Failure) in _ = try repair(cluster) }
        #expect(refusal?.code == .configuration)
        #expect(refusal?.what == "epoch 1 of the cluster is still being built")
        #expect(try findings(cluster) == ["epoch 1 with 2 partitions is being built: run `tallymill init`"])
    }

    @Test func emptyOldGroupsAreCollectedOnRequest() throws {
        let cluster = try TestCluster()
        try cluster.changeEpoch()
        #expect(try repair(cluster).plan.isEmpty)
        let (plan, done) = try repair(cluster) { $0.collects = true }
        #expect(plan == ["2 key groups of earlier epochs are sealed and empty: delete them"])
        #expect(done == ["deleted 2 key groups of earlier epochs"])
        #expect(try cluster.group(PartitionID(epoch: 1, number: 0)) == .none)
        #expect(try repair(cluster) { $0.collects = true }.done.isEmpty)
    }
}
