// `init` beside what is there already: nothing of a cluster is made where another one lives.

import RedisQueue
import ServiceKit
import TallyCore
import Testing

@testable import Operations

@Suite struct InitializerTests {
    /// As on a host whose disk is not mounted: Redis knows a cluster, the folder is empty, and stays so.
    @Test func refusesASecondClusterInANamespace() throws {
        let cluster = try TestCluster(partitions: 2)
        let id = try cluster.topology.cluster
        let scratch = ScratchFolder()
        let refused = try #require(throws: Failure.self) {
            try Initializer(folder: DataFolder(scratch.path), access: cluster.access)
                .run(partitions: nil, otherwise: 4)
        }
        #expect(refused.code == .configuration)
        #expect(
            refused.report == """
                tallymill: \(scratch.path)/topology.json: this Redis belongs to cluster \(id), whose cluster file is \
                not here
                  Put its cluster file and its shards into \(scratch.path), or name another --namespace for a new one.
                """)
        #expect(!scratch.exists("topology.json") && !scratch.exists("epoch-0001"))
        // The cluster's own folder is as welcome as ever.
        let again = try Initializer(folder: cluster.folder, access: cluster.access).run(partitions: nil, otherwise: 4)
        #expect(!again.isNew && again.topology.partitions == 2)
    }

    /// After a FLUSHALL the new keys know what the files hold, so that no older copy of them passes.
    @Test func anEmptiedRedisLearnsWhatTheFilesHold() throws {
        let cluster = try CountingCluster(partitions: 2)
        let node = try CountingNode(cluster, id: 9)
        let key = cluster.keys(in: 1)[0]
        for _ in 0..<3 { try node.post([key: 1]) }
        try cluster.consume()
        try cluster.command("DEL", cluster.access.names.topology)
        for number in 0..<UInt32(2) { for name in cluster.group(number).all { try cluster.command("DEL", name) } }
        let again = try Initializer(folder: cluster.folder, access: cluster.access).run(partitions: nil, otherwise: 4)
        #expect(again.createdGroups == 2)
        let keys = try cluster.access.keys()
        #expect(try keys.watermarks(of: PartitionID(epoch: 1, number: 0)) == [:])
        #expect(try keys.watermarks(of: PartitionID(epoch: 1, number: 1)) == [node.producer.id: 3])
    }
}
