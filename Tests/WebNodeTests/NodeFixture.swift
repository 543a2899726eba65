// A web node in this process before a real Redis with a cluster of two partitions, and what it logs.

import ClusterSupport
import HTTPFront
import Logging
import RedisQueue
import ServiceKit
import Synchronization
import TestSupport
import Testing

@testable import TallyCore
@testable import WebNode

/// Lines of a log, as `level message {reason}`.
final class Lines: Sendable {
    private let lines = Mutex<[String]>([])

    var all: [String] { lines.withLock { $0 } }
    func add(_ line: String) { lines.withLock { $0.append(line) } }
    func count(_ line: String) -> Int { all.count { $0 == line } }
}

/// Keeps what is logged.
private struct Recorder: LogHandler {
    let lines: Lines
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.info

    init(_ lines: Lines) { self.lines = lines }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        let details = (event.metadata ?? [:]).filter { ["reason", "partition"].contains($0.key) }
        let text = details.sorted { $0.key < $1.key }.map { "\($0.value)" }.joined(separator: ": ")
        lines.add("\(event.level) \(event.message)" + (text.isEmpty ? "" : ": \(text)"))
    }
}

/// A node of one test.
final class NodeFixture {
    let server: RedisServer
    /// For what no part of the product sends.
    let redis: RedisConnection
    let names: KeyNames
    let node: WebNode
    let lines = Lines()
    private let keys: ClusterKeys
    private var isEnded = false

    init(_ options: [String] = [], allowVolatile: Bool = false, loops: Int = 1) throws {
        server = try RedisServer(options)
        redis = try server.connect()
        names = try KeyNames(namespace: "web")
        keys = ClusterKeys(connection: redis, names: names)
        let topology = Topology(cluster: .ofTests, epoch: 1, partitions: 2)
        #expect(try FunctionLibrary.load(into: redis) == .loaded)
        for partition in topology.partitionIDs {
            let shard = ShardUUID(Bytes16(high: 7, low: UInt64(partition.number)))
            _ = try keys.create(partition, shard: shard, topology: .ofTests, applied: [:])  // a new Redis: made
        }
        _ = try keys.publish(topology)  // as above
        var link = server.link()
        link.allowVolatile = allowVolatile
        let recorder = Recorder(lines)
        node = try WebNode.start(
            WebNode.Configuration(
                address: Endpoint(host: "127.0.0.1", port: 0), eventLoops: loops, http: HTTPLimits(),
                producer: Producer.Configuration(), link: link, names: names),
            logger: Logger(label: "web") { _ in recorder })
    }

    deinit { if !isEnded { node.abandon() } }

    var port: UInt16 { UInt16(node.address.port) }

    func abandon() {
        isEnded = true
        node.abandon()
    }

    /// Stops it in order; what was admitted has to be in Redis already.
    func stop() {
        isEnded = true
        node.drain()
        #expect(waitUntil { node.isDrained })
        #expect(node.finish().isEmpty)
    }

    // MARK: Asking

    func readiness() -> HTTPAnswer? { Loopback.ask(port, .get("/readyz")) }

    func isReady() -> Bool { readiness()?.status == 200 }

    /// - Returns: status and body; 0 if there was no answer.
    func post(_ key: String, level: String = "queued", wait: Int = 5) -> (Int, String) {
        Self.post(port, key, level: level, wait: wait)
    }

    static func post(_ port: UInt16, _ key: String, level: String = "queued", wait: Int = 5) -> (Int, String) {
        var request = HTTPRequest("/increment?level=\(level)&key=\(key)&value=1")
        request.headers = [("Prefer", "wait=\(wait)")]
        let answer = Loopback.ask(port, request)
        return (answer?.status ?? 0, answer?.text ?? "")
    }

    /// The first keys `k0`, `k1`, ... of a partition.
    func key(in partition: Int) -> String {
        let partitioner = Partitioner(partitions: 2)
        for number in 0... where partitioner.partition(ofHash: XXH64.hash(Array("k\(number)".utf8))) == partition {
            return "k\(number)"
        }
        return ""
    }

    /// Of all loops: connections go to them in turn.
    func producers(_ loops: Int) -> Set<ProducerID> {
        var ids: Set<ProducerID> = []
        _ = waitUntil {
            let answer = Loopback.ask(port, .get("/ledger"))
            let name = answer.flatMap { (try? JSONTree($0.body))?["producer"]?.text }  // asked again until the bound
            if let id = name.flatMap({ Bytes16($0) }) { ids.insert(ProducerID(id)) }
            return ids.count == loops
        }
        return ids
    }

    var producer: ProducerID { producers(1).first ?? ProducerID(Bytes16(high: 0, low: 0)) }

    // MARK: Redis

    func command(_ words: String...) throws {
        var command = RedisCommand(words[0])
        for word in words.dropFirst() { command.append(word) }
        _ = try redis.command(command)  // what matters is that it is no error
    }

    func set(_ name: String, _ value: String) throws { try command("CONFIG", "SET", name, value) }

    func group(_ partition: UInt32) -> KeyGroup { names.group(of: PartitionID(epoch: 1, number: partition)) }

    func length(_ partition: UInt32) throws -> RedisReply {
        try redis.command(RedisCommand("LLEN", group(partition).queue))
    }
}
