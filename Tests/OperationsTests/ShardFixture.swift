// A cluster's files in a folder, without processes: shards that hold counters, and batches that are applied to them as
// a consumer would.

import Operations
import RedisQueue
import ServiceKit
import ShardConsumer
import ShardStore
import TestSupport

@testable import TallyCore

struct ShardFixture {
    let folder: DataFolder
    let topology: Topology
    /// The one producer of all batches; the sequence of each partition's next batch is 1 more than this.
    static let producer = ProducerID(Bytes16(high: 0xF00D, low: 1))
    private var sequences: [UInt64]
    private var cumulative: [Amount]

    /// Makes the files of a new cluster.
    init(_ path: String, partitions: Int, epoch: UInt32 = 1) throws {
        var random = SystemRandomNumberGenerator()
        let topology = Topology(cluster: .random(using: &random), epoch: epoch, partitions: partitions)
        self.init(path, topology)
        let file = ClusterFile(topology: topology, state: .ready, earlier: [])
        TestProgram.run("/bin/mkdir", ["-p", folder.epochPath(epoch)])
        try AtomicFile.write(Array(file.json.utf8), to: folder.clusterFilePath)
        for partition in topology.partitionIDs {
            let identity = ShardIdentity(
                cluster: topology.cluster, partition: partition, partitions: partitions, uuid: .random(using: &random))
            try ShardFile.create(at: self.path(partition.number), identity: identity, timeMilliseconds: 1)
        }
    }

    /// The files and keys of a cluster that `init` makes.
    init(_ path: String, partitions: Int, _ access: RedisAccess) throws {
        let outcome = try Initializer(folder: DataFolder(path), access: access)
            .run(partitions: partitions, otherwise: 1)
        self.init(path, outcome.topology)
    }

    private init(_ path: String, _ topology: Topology) {
        folder = DataFolder(path)
        self.topology = topology
        sequences = Array(repeating: 0, count: topology.partitions)
        cumulative = Array(repeating: .zero, count: topology.partitions)
    }

    func path(_ number: UInt32) -> String { folder.shard(number, of: topology).path }

    func uuid(_ number: UInt32) throws -> ShardUUID {
        try ShardReader(at: path(number)).identity.uuid
    }

    /// Applies one batch to each partition that one of the keys belongs to.
    mutating func count(_ counters: [(key: [UInt8], value: Int64)]) throws {
        for number in 0..<UInt32(topology.partitions) {
            let own = counters.filter { topology.partitioner.partition(ofHash: XXH64.hash($0.key)) == Int(number) }
            if own.isEmpty { continue }
            let file = try folder.shard(number, of: topology).open()
            _ = try file.apply([batch(own, number)], timeMilliseconds: 2)
        }
    }

    /// The next batch for a partition.
    mutating func batch(_ counters: [(key: [UInt8], value: Int64)], _ number: UInt32) -> [UInt8] {
        let stream = StreamID(
            partition: PartitionID(epoch: topology.epoch, number: number), producer: Self.producer)
        var writer = BatchWriter(
            stream: stream, nextSequence: sequences[Int(number)] + 1, cumulative: cumulative[Int(number)], frozenAt: 7,
            origin: nil, limitBytes: .max, sizeHint: 1 << 10)
        for counter in counters {
            counter.key.withUnsafeBytes { writer.append(key: $0, increments: 1, sum: counter.value) }
        }
        let batches = writer.finish()
        precondition(batches.count == 1)
        sequences[Int(number)] += 1
        cumulative[Int(number)] = writer.cumulative
        return batches[0].bytes
    }

    func totals() throws -> ShardTotals { try Report(folder, ReportQuery()).totals }
}

/// Keys that are awkward in one format or another, and as many plain ones as asked for.
func awkwardCounters(_ plain: Int) -> [(key: [UInt8], value: Int64)] {
    let awkward: [(String, Int64)] = [
        ("a b", 1), (" ", -2), ("a,b", 3), ("\"", 4), ("\"quoted\"", 5), ("back\\slash", 6), ("\\u0041", 7),
        ("é", 8), ("e\u{301}", 9), ("key", 10), ("value", 11), ("{\"key\":", 12), ("\u{10FFFF}", .max),
        (String(repeating: "\"", count: 512), .min), (String(repeating: "é", count: 256), 0), ("-5", -5), ("0", 0),
        ("\u{FEFF}mark", 13), ("=1+1", 14), ("a;b|c'd", 15),
    ]
    return awkward.map { (Array($0.0.utf8), $0.1) }
        + (0..<plain).map { (Array("plain/\($0)".utf8), Int64($0) * 7 - 3) }
}

extension RedisAccess {
    /// A namespace of its own on a server of the tests.
    static func test(_ server: RedisServer, namespace: String) throws -> RedisAccess {
        try RedisAccess(
            url: "unix://\(server.socket)", passwordFile: nil, namespace: namespace, clientName: "test",
            allowVolatile: false)
    }
}
