// Two copies of one shard against one queue: only one of them can be the shard. Real consumers, a real Redis, and what
// an operator reads in their logs.

import Logging
import Operations
import RedisQueue
import ServiceKit
import ShardConsumer
import ShardStore
import Synchronization
import TallyCore
import TestSupport
import Testing

@Suite struct ShardCopiesTests {
    let folder = ScratchFolder()
    let server: RedisServer
    let access: RedisAccess

    init() throws {
        server = try RedisServer()
        access = try .test(server, namespace: "copies")
    }

    /// A consumer of partition 0, and what it says.
    private struct Running {
        let consumer: ShardConsumer
        let lines: LogLines
    }

    private func start(_ cluster: ShardFixture, in data: DataFolder? = nil, host: String, owner: String) -> Running {
        let lines = LogLines()
        let consumer = ShardConsumer(
            ShardConsumer.Configuration(
                link: access.link, names: access.names, host: host, owner: owner,
                idempotencyRetention: IdempotencyRetention(milliseconds: 1_000_000)),
            shards: [(data ?? cluster.folder).shard(0, of: cluster.topology)],
            logger: Logger(label: "test") { _ in lines.handler })
        return Running(consumer: consumer, lines: lines)
    }

    private func push(_ batch: [UInt8]) throws {
        let key = access.names.group(of: PartitionID(epoch: 1, number: 0))
        var command = RedisCommand("RPUSH", key.queue)
        command.append(batch)
        _ = try server.connect().command(command)
    }

    private func watermark(_ data: DataFolder, _ cluster: ShardFixture) throws -> UInt64? {
        let reader = try ShardReader(at: data.shard(0, of: cluster.topology).path)
        return try reader.records(of: reader.identity.partition)[ShardFixture.producer]?.watermark
    }

    private func copy(_ cluster: ShardFixture, to name: String) -> DataFolder {
        TestProgram.run("/bin/cp", ["-a", cluster.folder.path, "\(folder.path)/\(name)"])
        return DataFolder("\(folder.path)/\(name)")
    }

    /// A copy waits as long as the other works, on this host and from another, and touches neither file nor queue.
    @Test(arguments: ["here", "elsewhere"])
    func aSecondCopyWaits(host: String) throws {
        var cluster = try ShardFixture("\(folder.path)/data", partitions: 1, access)
        let copy = copy(cluster, to: "copy")
        let first = start(cluster, host: "here", owner: "first:1")
        defer { _ = first.consumer.stop() }  // it did not fail, as is checked below
        #expect(waitUntil { first.lines.contains("consuming") })
        let second = start(cluster, in: copy, host: host, owner: "second:2")
        defer { _ = second.consumer.stop() }  // as above
        let waiting =
            "the lease is held by first:1, a consumer on another host or of another copy of this shard file: "
            + "only one of the files can be the shard"
        #expect(waitUntil { second.lines.contains(waiting) }, "\(second.lines.all)")
        for _ in 1...20 {
            try push(cluster.batch([(Array("k".utf8), 1)], 0))
        }
        #expect(try waitUntil { try watermark(cluster.folder, cluster) == 20 })
        #expect(try watermark(copy, cluster) == nil)
        #expect(first.lines.count("consuming") == 1, "the first was disturbed: \(first.lines.all)")
        #expect(first.consumer.isRunning && second.consumer.isRunning)
    }

    /// When the first has ended, the copy gets the lease, and is refused because it lacks what the first committed.
    @Test func aSecondCopyIsRefusedLater() throws {
        var cluster = try ShardFixture("\(folder.path)/data", partitions: 1, access)
        let copy = copy(cluster, to: "copy")
        let first = start(cluster, host: "here", owner: "first:1")
        for _ in 1...3 {
            try push(cluster.batch([(Array("k".utf8), 1)], 0))
        }
        let group = ClusterKeys(connection: try server.connect(), names: access.names)
        let partition = PartitionID(epoch: 1, number: 0)
        #expect(try waitUntil { try group.watermarks(of: partition) == [ShardFixture.producer: 3] })
        #expect(first.consumer.stop() == nil)
        let second = start(cluster, in: copy, host: "elsewhere", owner: "second:2")
        #expect(waitUntil { !second.consumer.isRunning })
        let failure = try #require(second.consumer.stop())
        #expect(failure.code == .configuration)
        #expect(
            failure.sentence == "\(copy.shard(0, of: cluster.topology).path): the file is older than its queue, these "
                + "batches (producer, sequences) were committed once and are missing: "
                + "000000000000f00d0000000000000001 1-3")
        #expect(
            failure.advice
                == "put back the newest copy of the file; if a consumer elsewhere works on another copy, that "
                + "one is the newest; if there is none any more, `tallymill repair --accept-loss "
                + "e1.p0/000000000000f00d0000000000000001:1-3` goes on without them")
        // The first goes on as if nothing had been.
        let again = start(cluster, host: "here", owner: "first:3")
        try push(cluster.batch([(Array("k".utf8), 1)], 0))
        #expect(try waitUntil { try watermark(cluster.folder, cluster) == 4 })
        #expect(again.consumer.stop() == nil)
    }

    /// The same file by way of another path is the same file: its lock refuses, not the lease.
    @Test func anotherPathToTheSameFile() throws {
        let cluster = try ShardFixture("\(folder.path)/data", partitions: 1, access)
        TestProgram.run("/bin/ln", ["-s", cluster.folder.path, "\(folder.path)/link"])
        let file = try cluster.folder.shard(0, of: cluster.topology).open()
        let link = DataFolder("\(folder.path)/link").shard(0, of: cluster.topology)
        let failure = #expect(throws: Failure.self) { try link.open() }
        #expect(failure?.code == .locked)
        let name = file.lockName
        #expect(name.split(separator: ":").count == 2)
    }
}

/// What a consumer logs.
private final class LogLines: Sendable {
    private let lines = Mutex<[String]>([])

    var all: [String] { lines.withLock { $0 } }
    func contains(_ text: String) -> Bool { all.contains { $0.contains(text) } }
    func count(_ text: String) -> Int { all.count { $0.hasPrefix(text) } }

    var handler: any LogHandler { Handler(lines: self) }

    private struct Handler: LogHandler {
        let lines: LogLines
        var metadata: Logger.Metadata = [:]
        var logLevel = Logger.Level.trace

        subscript(metadataKey key: String) -> Logger.Metadata.Value? {
            get { metadata[key] }
            set { metadata[key] = newValue }
        }

        func log(event: LogEvent) {
            let fields = (event.metadata ?? [:]).map { "\($0.key)=\($0.value)" }.sorted().joined(separator: " ")
            lines.lines.withLock { $0.append("\(event.message) \(fields)") }
        }
    }
}
