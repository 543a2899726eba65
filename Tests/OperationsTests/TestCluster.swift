// A cluster inside the test's process: a Redis of its own, which the test may hurt, a data folder, and consumers on
// threads. A second epoch is made by hand, step by step as PROTOCOL.md says, with as many partitions as the first: so
// every key stays in the partition of its number, and the shards can be copied row by row.

import Glibc
import Logging
import Operations
import RedisQueue
import ServiceKit
import ShardConsumer
import ShardStore
import TestSupport
import Testing

@testable import TallyCore

final class TestCluster {
    let server: RedisServer
    let folder: DataFolder
    let access: RedisAccess
    private var consumers: ShardConsumer?

    /// A cluster of one epoch, without consumers.
    init(partitions: Int = 2) throws {
        var template = Array("/tmp/tallymill-operations-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        folder = DataFolder(String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self))
        server = try RedisServer(["--maxmemory-policy", "noeviction"])
        access = try RedisAccess(
            url: "unix://\(server.socket)", passwordFile: nil, namespace: "test", clientName: "test",
            allowVolatile: false)
        _ = try Initializer(folder: folder, access: access).run(partitions: partitions, otherwise: partitions)
    }

    deinit {
        stopConsumers()
        Spawn.run("rm", "-rf", folder.path)
    }

    var file: ClusterFile {
        get throws { try #require(try folder.readClusterFile()) }
    }

    var topology: Topology {
        get throws { try file.topology }
    }

    // MARK: Consumers

    func startConsumers() throws {
        let topology = try topology
        let configuration = ShardConsumer.Configuration(
            link: access.link, names: access.names, host: "test-host", owner: "test-consumer",
            idempotencyRetention: IdempotencyRetention(milliseconds: 3_600_000))
        consumers = ShardConsumer(
            configuration, shards: topology.partitionIDs.map { folder.shard($0.number, of: topology) },
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }

    func stopConsumers() {
        if let failure = consumers?.stop() { Issue.record("a consumer failed: \(failure)") }
        consumers = nil
    }

    /// All counters of the current epoch.
    func counters() throws -> [String: Int64] {
        var counters: [String: Int64] = [:]
        let report = try Report(folder, ReportQuery())
        #expect(report.missing.isEmpty)
        try report.forEachCounter { counters[String(decoding: $0.key, as: UTF8.self)] = $0.value }
        return counters
    }

    // MARK: Redis

    func keys() throws -> ClusterKeys {
        ClusterKeys(connection: try server.connect(), names: access.names)
    }

    @discardableResult
    func redis(_ arguments: String...) throws -> RedisReply {
        var command = RedisCommand()
        for argument in arguments { command.append(argument) }
        return try server.connect().command(command)
    }

    func group(_ partition: PartitionID) throws -> KeyGroupDump {
        try KeyGroupDump(partition, names: access.names, over: try server.connect())
    }

    /// Puts an entry behind those of a list, as a push or a rollback would.
    func append(_ batch: [UInt8], to partition: PartitionID) throws {
        var command = RedisCommand("RPUSH", access.names.group(of: partition).queue)
        command.append(batch)
        _ = try server.connect().command(command)  // the new length
        try redis("HINCRBY", access.names.group(of: partition).meta, "bytes", "\(batch.count)")
    }

    // MARK: Epochs

    /// Changes the epoch: what the consumers have counted is carried over. They must be stopped.
    ///
    /// - Parameter ready: false leaves it after the new key groups and the topology.
    func changeEpoch(ready: Bool = true) throws {
        let old = try file
        let change = EpochChange(from: old, to: old.topology.partitions, id: nil)
        try write(change.building)
        let keys = try keys()
        let new = change.building.topology
        for partition in new.partitionIDs {
            let uuid = ShardUUID(derivedFor: partition, of: new.cluster)
            _ = try keys.create(partition, shard: uuid, topology: new, applied: [:])  // new
        }
        #expect(try keys.publish(new) == .published)
        for partition in old.topology.partitionIDs { #expect(try keys.seal(partition) == .sealed) }
        guard ready else { return }
        for number in 0..<UInt32(new.partitions) {
            try folder.shard(number, of: old.topology).open().retire()
        }
        mkdir(folder.epochPath(new.epoch), 0o755)
        for number in 0..<UInt32(new.partitions) { try carry(number, old.topology, new) }
        var file = change.building
        file.state = .ready
        try write(file)
    }

    private func carry(_ number: UInt32, _ old: Topology, _ new: Topology) throws {
        let partition = PartitionID(epoch: new.epoch, number: number)
        let path = folder.shard(number, of: new).path
        try ShardFile.create(
            at: path,
            identity: ShardIdentity(
                cluster: new.cluster, partition: partition, partitions: new.partitions,
                uuid: ShardUUID(derivedFor: partition, of: new.cluster)),
            timeMilliseconds: 1)
        var statements = ""
        for other in 0..<UInt32(old.partitions) {
            statements += "ATTACH '\(folder.shard(other, of: old).path)' AS old;"
            statements += "INSERT INTO applied SELECT * FROM old.applied;"
            if other == number {
                statements += "INSERT INTO counters SELECT * FROM old.counters;"
                statements += "INSERT INTO dead_letter SELECT * FROM old.dead_letter;"
            }
            statements += "DETACH old;"
        }
        Spawn.run("sqlite3", path, statements)
    }

    func write(_ file: ClusterFile) throws {
        try AtomicFile.write(Array(file.json.utf8), to: folder.clusterFilePath)
    }
}

/// Increments, one each.
func increments(_ list: [(String, Int64)]) -> IncrementBuffer {
    var buffer = IncrementBuffer()
    for (key, delta) in list {
        let refusal = Array(key.utf8).withUnsafeBytes { buffer.append(key: $0, delta: delta) }
        precondition(refusal == nil, "\(key) is no key")
    }
    return buffer
}

extension Courier {
    /// Hands over increments of a test.
    @discardableResult
    func deliver(_ list: [(String, Int64)], idempotencyKey: String? = nil) throws(Failure) -> Ticket? {
        try deliver(increments(list), idempotencyKey: idempotencyKey.map { Array($0.utf8) })
    }
}

extension Courier.Patience {
    /// For what is expected to be given up.
    static let short: Courier.Patience = {
        var patience = Courier.Patience()
        patience.stalledMilliseconds = 3_000
        patience.unattendedMilliseconds = 1_500
        return patience
    }()
}

/// A batch as a node of `partition`'s epoch would have frozen it.
///
/// - Parameter before: what the producer put into the partition earlier.
func batch(
    _ entries: [(String, Int64)], producer: UInt64, sequence: UInt64 = 1, before: Amount = .zero,
    of partition: PartitionID
) -> [UInt8] {
    let id = ProducerID(Bytes16(high: 0xF00D, low: producer))
    var writer = BatchWriter(
        stream: StreamID(partition: partition, producer: id), nextSequence: sequence, cumulative: before, frozenAt: 7,
        origin: nil, limitBytes: .max, sizeHint: 1 << 10)
    for (key, delta) in entries {
        Array(key.utf8).withUnsafeBytes { writer.append(key: $0, increments: 1, sum: delta) }
    }
    return writer.finish()[0].bytes
}

/// A key of a partition.
func key(_ name: String, in partition: UInt32, of partitions: Int) -> String {
    let partitioner = Partitioner(partitions: partitions)
    for number in 0... {
        let text = "\(name)-\(number)"
        if UInt32(partitioner.partition(ofHash: XXH64.hash(Array(text.utf8)))) == partition { return text }
    }
    preconditionFailure("no key in partition \(partition)")
}

/// What `body` fails with; records an issue if it does not.
func failure(_ location: SourceLocation = #_sourceLocation, _ body: () throws(Failure) -> Void) -> Failure? {
    do throws(Failure) {
        try body()
        Issue.record("it did not fail", sourceLocation: location)
        return nil
    } catch {
        return error
    }
}
