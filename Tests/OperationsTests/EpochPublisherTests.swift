import RedisQueue
import ServiceKit
import TallyCore
import TestSupport
import Testing

@testable import Operations

@Suite struct EpochPublisherTests {
    /// Redis forgets the keys of an epoch that is being made: they come back.
    @Test func keysThatAreLostComeBack() throws {
        let server = try RedisServer()
        let access = try RedisAccess.test(server, namespace: "publisher")
        _ = try FunctionLibrary.load(into: try server.connect())  // a server of its own: it was not there
        var random = SystemRandomNumberGenerator()
        let topology = Topology(cluster: .random(using: &random), epoch: 2, partitions: 3)
        let file = ClusterFile(
            topology: topology, state: .building, earlier: [ClusterFile.Epoch(epoch: 1, partitions: 2)])
        let scratch = ScratchFolder()
        let folder = DataFolder(scratch.path)
        let publisher = EpochPublisher(file, in: folder, access, intervalMilliseconds: 10)
        defer { publisher.end() }
        let keys = ClusterKeys(connection: try server.connect(), names: access.names)
        let isPublished = {
            let groups = try topology.partitionIDs.map { try keys.inspect($0) }
            return try !groups.contains(.noTopology) && keys.readTopology() == topology
        }
        for _ in 0..<3 {
            #expect(try waitUntil { try isPublished() })
            guard case .group(let group) = try keys.inspect(PartitionID(epoch: 2, number: 1)) else {
                Issue.record("no group")
                return
            }
            #expect(group.shard == ShardUUID(derivedFor: PartitionID(epoch: 2, number: 1), of: topology.cluster))
            _ = try server.connect().command(RedisCommand("FLUSHALL"))  // answers OK or throws
        }
    }
}
