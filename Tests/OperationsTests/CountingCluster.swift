// A cluster in one process: a real Redis, real shard files, the real producer and the apply rules, step by step in a
// test's hand. It is what `verify` and `audit` look at, before and after something is planted.

import ClusterSupport
import Glibc
import Logging
import RedisQueue
import ServiceKit
import ShardConsumer
import ShardStore
import Synchronization
import TestSupport
import Testing

@testable import Operations
@testable import TallyCore

/// A cluster of one test, in a folder and a namespace of its own.
final class CountingCluster {
    private static let sharedServer = Mutex<RedisServer?>(nil)
    private static let made = Atomic<Int>(0)

    let server: RedisServer
    let folder: DataFolder
    let access: RedisAccess
    private(set) var topology: Topology
    /// For commands that no part of the product sends.
    let redis: RedisConnection
    private let temporary: TestFolder

    init(partitions: Int = 4, on server: RedisServer? = nil) throws {
        let server = try server ?? Self.shared()
        self.server = server
        let number = Self.made.add(1, ordering: .relaxed).newValue
        temporary = try TestFolder("operations")
        folder = DataFolder(temporary.path + "/data")
        access = try RedisAccess(
            url: "unix://\(server.socket)", passwordFile: nil, namespace: "cluster-\(number)", clientName: "test",
            allowVolatile: false)
        topology = try Initializer(folder: folder, access: access).run(partitions: partitions, otherwise: 1).topology
        redis = try server.connect()
    }

    deinit { temporary.remove() }

    /// A server that no test may stop or turn back.
    private static func shared() throws -> RedisServer {
        try sharedServer.withLock { server in
            if let server { return server }
            let started = try RedisServer()
            server = started
            return started
        }
    }

    func path(_ partition: UInt32) -> String { folder.shard(partition, of: topology).path }

    func group(_ partition: UInt32) -> KeyGroup {
        access.names.group(of: PartitionID(epoch: topology.epoch, number: partition))
    }

    /// The first keys `k0`, `k1`, ... of a partition.
    func keys(in partition: UInt32, count: Int = 1) -> [String] {
        let all = (0...).lazy.map { "k\($0)" }
        return Array(all.filter { self.partition(of: $0) == partition }.prefix(count))
    }

    func partition(of key: String) -> UInt32 {
        UInt32(topology.partitioner.partition(ofHash: XXH64.hash(Array(key.utf8))))
    }

    // MARK: Consuming

    /// Applies and trims everything that lies in the lists.
    func consume() throws {
        for number in 0..<UInt32(topology.partitions) { try consume(number) }
    }

    /// - Parameter trims: false leaves what was committed in the list.
    func consume(_ number: UInt32, trims: Bool = true) throws {
        let location = folder.shard(number, of: topology)
        let file = try location.open()
        let queue = PartitionQueue(
            connection: try server.connect(), names: access.names, partition: location.partition)
        guard
            case .granted(let claim) = try queue.claim(
                host: "host", owner: "test", milliseconds: 60_000, topology: .ofTests)
        else {
            throw HarnessError("no lease for partition \(number)")
        }
        while case .batches(let peeked) = try queue.peek(bytes: 1 << 20, batches: 100), !peeked.batches.isEmpty {
            guard case .commit(let applied) = try file.apply(peeked.batches, timeMilliseconds: 1_700_000_000_000) else {
                throw HarnessError("partition \(number) does not apply")
            }
            if !trims { break }
            let request = TrimRequest(token: claim.token, committed: applied.committed, applied: applied.watermarks)
            #expect(try queue.trim(request) == .trimmed(batches: applied.committed.count))
        }
        try file.checkpoint()
        #expect(try queue.release(token: claim.token) == .ok)
    }

    // MARK: Epochs

    /// Another number of partitions, with the product's own steps.
    func rebalance(to partitions: Int) throws {
        try change { rebalance throws(Failure) in try rebalance.run(to: partitions) }
    }

    func resume() throws {
        try change { rebalance throws(Failure) in _ = try rebalance.resume() }  // there is something
    }

    private func change(_ body: (Rebalance) throws(Failure) -> Void) throws {
        let rebalance = Rebalance(
            folder, access, logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, stopRequest: StopRequest(),
            tell: { _ in })
        let lock = try folder.lockForChange()
        defer { withExtendedLifetime(lock) {} }
        try body(rebalance)
        topology = try #require(try folder.readClusterFile()).topology
    }

    // MARK: Going back in time

    /// A file and the keys of its partition as they were.
    struct Moment {
        let partition: UInt32
        let file: [UInt8]
        let keys: [(name: String, dump: [UInt8])]
    }

    func moment(_ partition: UInt32) throws -> Moment {
        try foldLog(partition)
        var keys: [(name: String, dump: [UInt8])] = []
        for name in group(partition).all {
            if case .bytes(let dump) = try command("DUMP", name) { keys.append((name, dump)) }
        }
        return Moment(partition: partition, file: try #require(Files.read(path(partition))), keys: keys)
    }

    func putBack(file moment: Moment) throws {
        for end in ["", "-wal", "-shm"] { unlink(path(moment.partition) + end) }
        try Files.write(moment.file, to: path(moment.partition))
        // As a consumer would open it, which makes the log's files.
        try folder.shard(moment.partition, of: topology).open().checkpoint()
    }

    func putBack(keys moment: Moment) throws {
        for name in group(moment.partition).all { try command("DEL", name) }
        for key in moment.keys { try command("RESTORE", key.name, "0", bytes: key.dump) }
    }

    /// What `repair` does with these options: its plan, what it will not mend, what it has done, and how it ended.
    func repair(
        accepting choices: String..., collects: Bool = false, telling: @escaping (String) -> Void = { _ in }
    ) throws -> (plan: [String], unmended: [String], done: [String], failure: Failure?) {
        var options = Repair.Options()
        options.collects = collects
        options.patience = .short
        options.clientWait.milliseconds = 0
        options.accepted = try choices.map { text throws(Failure) in try LossChoice(text) }
        var done: [String] = []
        do throws(Failure) {
            let repair = try Repair(folder, access, options)
            do throws(Failure) {
                try repair.run { line in
                    telling(line)
                    done.append(line)
                }
                return (repair.plan, repair.unmended, done, nil)
            } catch {
                return (repair.plan, repair.unmended, done, error)
            }
        } catch {
            return ([], [], [], error)
        }
    }

    // MARK: Planting

    /// Changes a shard file with SQLite's own shell.
    func alter(_ partition: UInt32, _ sql: String) throws {
        let result = try Command.run("/usr/bin/sqlite3", ["-batch", path(partition), sql])
        if result.code != 0 { throw HarnessError("sqlite3: \(result.errorText)") }
    }

    /// What SQLite's shell prints.
    func ask(_ partition: UInt32, _ sql: String) throws -> String {
        let result = try Command.run("/usr/bin/sqlite3", ["-readonly", "-batch", path(partition), sql])
        return result.outputText.split(separator: "\n").joined(separator: "\n")
    }

    /// Moves everything into the file itself, and none of it is left in the log.
    func foldLog(_ partition: UInt32) throws {
        try alter(partition, "PRAGMA wal_checkpoint(TRUNCATE)")
    }

    func flip(_ partition: UInt32, at offset: Int) throws {
        let descriptor = open(path(partition), O_RDWR)
        defer { close(descriptor) }
        var byte: UInt8 = 0
        #expect(pread(descriptor, &byte, 1, offset) == 1)
        byte ^= 0xFF
        #expect(pwrite(descriptor, &byte, 1, offset) == 1)
    }

    @discardableResult
    func command(_ words: String..., bytes: [UInt8]? = nil) throws -> RedisReply {
        var command = RedisCommand(words[0])
        for word in words.dropFirst() { command.append(word) }
        if let bytes { command.append(bytes) }
        return try redis.command(command)
    }

    /// An entry of a list.
    func entry(_ partition: UInt32, _ index: Int) throws -> [UInt8] {
        guard case .bytes(let bytes) = try command("LINDEX", group(partition).queue, "\(index)") else {
            throw HarnessError("no entry \(index) in partition \(partition)")
        }
        return bytes
    }

    /// Deletes an entry of a list and leaves everything else, as a careless hand would.
    func removeEntry(_ partition: UInt32, _ index: Int) throws {
        try command("LREM", group(partition).queue, "1", bytes: entry(partition, index))
    }

    // MARK: Looking

    func verify(offline: Bool = false) throws -> Verification {
        try Verification(folder, offline ? nil : access)
    }

    func audit(nodes: [NodeLedger] = []) throws -> Audit {
        try Audit(folder, access, nodes: { () throws(Failure) in nodes })
    }

    /// Findings as `place: sentence`, with the places of this cluster cut to what is the same in every run.
    func sentences(_ findings: [Finding]) -> [String] {
        findings.map { finding in
            "\(finding.severity == .note ? "note " : "")\(finding.place): \(finding.what)"
                .replacing(folder.path + "/", with: "").replacing(folder.path, with: "data")
                .replacing(access.names.namespace + ":", with: "")
        }
    }
}

/// One producer of a web node and its connection.
final class CountingNode {
    private(set) var producer: Producer
    private let queue: ProducerQueue
    private var now: UInt64 = 1_000
    /// Its batches are of 2023, whatever Redis' clock says.
    private let isOfThePast: Bool

    init(_ cluster: CountingCluster, id: UInt64, isOfThePast: Bool = false) throws {
        self.isOfThePast = isOfThePast
        producer = Producer(
            id: ProducerID(Bytes16(high: 0xF00D, low: id)), configuration: Producer.Configuration(),
            clock: RedisClock(guess: 1_700_000_000_000, at: now))
        queue = try ProducerQueue(connection: try cluster.server.connect(), names: cluster.access.names)
        producer.connection(isUp: true, now: now)
        fly()
        if producer.topology == nil { throw HarnessError("the node has read no topology") }
    }

    var name: String { "\(producer.id)" }
    var ledger: ProducerLedger { producer.ledger(loop: 0, of: 1) }

    func admit(_ increments: KeyValuePairs<String, Int64>, idempotencyKey: String? = nil) throws {
        #expect(try admit(increments, level: .memory, idempotencyKey: idempotencyKey) == nil)
    }

    /// For a client that waits.
    func admit(
        _ increments: KeyValuePairs<String, Int64>, level: Level, idempotencyKey: String? = nil
    ) throws -> Ticket? {
        var buffer = IncrementBuffer()
        for (key, delta) in increments {
            #expect(Array(key.utf8).withUnsafeBytes { buffer.append(key: $0, delta: delta) } == nil)
        }
        return try producer.admit(
            buffer, level: level, idempotencyKey: idempotencyKey.map { Array($0.utf8) }, now: now)
    }

    /// What clients are told since the last call.
    func acknowledged() -> [Acknowledgement] {
        var acknowledged: [Acknowledgement] = []
        producer.takeAcknowledged(into: &acknowledged)
        return acknowledged
    }

    /// The client's wait runs out: what it is told.
    func runOut(_ ticket: Ticket) -> Level? { producer.abandon(ticket) }

    /// One push for each call and partition.
    func post(_ increments: KeyValuePairs<String, Int64>, idempotencyKey: String? = nil) throws {
        try admit(increments, idempotencyKey: idempotencyKey)
        fly()
    }

    /// One flight.
    func fly() {
        now += 10_000
        let commands = producer.nextFlight(now: now)
        if commands.isEmpty { return }
        var landed = queue.send(commands)
        while landed == nil {
            var entry = pollfd(
                fd: queue.descriptor, events: Int16(queue.isWriting ? POLLIN | POLLOUT : POLLIN), revents: 0)
            if poll(&entry, 1, 5_000) <= 0 {
                landed = queue.giveUp(afterMilliseconds: 5_000)
            } else {
                landed = Int32(entry.revents) & POLLOUT != 0 ? queue.write() : queue.read()
            }
        }
        guard let landed else { return }
        for (command, answer) in zip(landed.commands, landed.answers) where !(isOfThePast && command == .readTime) {
            producer.received(answer, to: command, now: now)
        }
        producer.flightEnded()
    }
}
