// What the tests of the queues share: one server for all tests that do not hurt it, a namespace for each, batches of
// any size, and the comparison of a key group before and after a refusal.

import Glibc
import RedisQueue
import Synchronization
import TestSupport
import Testing

@testable import TallyCore

/// One cluster's keys on a server, with a connection for each side.
struct Scene {
    static let partition = PartitionID(epoch: 1, number: 0)
    static let shard = ShardUUID(Bytes16(high: 0x0123_4567_89AB_CDEF, low: 0xFEDC_BA98_7654_3210))
    private static let sharedServer = Mutex<RedisServer?>(nil)
    private static let scenes = Atomic<Int>(0)

    let server: RedisServer
    let names: KeyNames
    /// For commands that no side sends.
    let connection: RedisConnection
    let keys: ClusterKeys
    let producer: ProducerQueue
    let queue: PartitionQueue

    /// A server that no test may stop, kill or configure.
    static func shared() throws -> RedisServer {
        try sharedServer.withLock { server in
            if let server { return server }
            let started = try RedisServer()
            server = started
            return started
        }
    }

    /// - Parameter creates: whether the partition's key group exists already.
    init(on server: RedisServer? = nil, creates: Bool = true) throws {
        let server = try server ?? Self.shared()
        self.server = server
        names = try KeyNames(namespace: "scene-\(Self.scenes.add(1, ordering: .relaxed).newValue)")
        connection = try server.connect()
        _ = try FunctionLibrary.load(into: connection)  // another scene may have loaded it
        keys = ClusterKeys(connection: connection, names: names)
        producer = try ProducerQueue(connection: try server.connect(), names: names)
        queue = PartitionQueue(connection: try server.connect(), names: names, partition: Self.partition)
        if creates { #expect(try keys.create(Self.partition, shard: Self.shard) == .created) }
    }

    /// One push, which must be answered.
    func push(
        _ batch: Batch, floor: UInt64 = 0, limitBytes: Int = Limits.queueBytes, topology: Topology = .ofTests
    ) throws -> PushReply {
        let landed = producer.deliver([.push(batch, floor: floor, limitBytes: limitBytes, topology: topology)])
        guard landed.answers.count == 1, case .push(let reply) = landed.answers[0] else {
            throw Unanswered(text: "\(landed)")
        }
        return reply
    }

    static func heartbeat(_ stream: StreamID, floor: UInt64 = 0, topology: Topology = .ofTests) -> QueueCommand {
        .heartbeat(stream, floor: floor, topology: topology)
    }

    func dump(_ partition: PartitionID = partition) throws -> KeyGroupDump {
        try KeyGroupDump(partition, names: names, over: connection)
    }

    /// The serialized values of all four keys, whatever their types.
    func image() throws -> [RedisReply] {
        try names.group(of: Self.partition).all.map { try connection.command(RedisCommand("DUMP", $0)) }
    }

    /// Runs `body`, which must leave the partition's keys as they are.
    func expectUnchanged(
        _ location: SourceLocation = #_sourceLocation, _ body: () throws -> Void
    ) throws {
        let before = try image()
        try body()
        #expect(try image() == before, sourceLocation: location)
    }

    /// Asks for something that must be answered with `expected` and change nothing.
    func expectUnchanged<Reply: Equatable>(
        _ expected: Reply, _ location: SourceLocation = #_sourceLocation, _ ask: () throws -> Reply
    ) throws {
        try expectUnchanged(location) { () throws in #expect(try ask() == expected, sourceLocation: location) }
    }

    func claim() throws -> Claim {
        guard
            case .granted(let claim) = try queue.claim(
                host: "host-a", owner: "a", milliseconds: 60_000, topology: .ofTests)
        else {
            throw Unanswered(text: "the lease is not granted")
        }
        return claim
    }

    /// Without Redis' time.
    func peeked(skip: Int = 0, bytes: Int = 1 << 20, batches: Int = 1000) throws -> Peeked {
        guard case .batches(let peeked) = try queue.peek(skip: skip, bytes: bytes, batches: batches) else {
            throw Unanswered(text: "nothing to peek at")
        }
        return Peeked(
            shard: peeked.shard, sealed: peeked.sealed, batches: peeked.batches, length: peeked.length,
            behind: peeked.behind, time: 0)
    }

    /// Raises `applied`, as a consumer does that looked into its file.
    func raise(_ applied: [ProducerID: UInt64], token: UInt64) throws {
        #expect(try queue.trim(TrimRequest(token: token, committed: [], applied: applied)) == .trimmed(batches: 0))
    }

    /// A function of the library with the keys of the partition and these arguments, as any release may call it.
    func call(
        _ function: String, on partition: PartitionID = partition, over other: RedisConnection? = nil,
        _ arguments: [[UInt8]]
    ) throws -> RedisReply {
        var command = RedisCommand("FCALL", "\(FunctionLibrary.name)_\(function)", "4")
        for key in names.group(of: partition).all { command.append(key) }
        for argument in arguments { command.append(argument) }
        return try (other ?? connection).command(command)
    }
}

struct Unanswered: Error {
    let text: String
}

/// Batches of one stream, dense from 1, each of exactly `bytes` bytes.
struct Stream {
    let id: StreamID
    let bytes: Int
    private let history: UInt64

    /// - Parameter history: another one stands for another process that uses the same id.
    init(_ partition: PartitionID = Scene.partition, producer: UInt64 = 1, bytes: Int = 200, history: UInt64 = 0) {
        self.history = history
        id = StreamID(partition: partition, producer: ProducerID(Bytes16(high: producer, low: ~producer)))
        self.bytes = bytes
    }

    init(_ id: StreamID) {
        self.id = id
        bytes = 200
        history = 0
    }

    var producer: ProducerID { id.producer }

    subscript(sequence: UInt64) -> Batch {
        let id = BatchID(stream: id, sequence: sequence)
        let header = BatchHeader(
            id: id, frozenAt: 1_700_000_000_000 + sequence, cumulative: .zero, entries: 0, groups: 0, origin: nil)
        var content: [UInt8] = []
        content.reserveCapacity(bytes)
        header.append(to: &content, length: bytes)
        while content.count < bytes { content.append(UInt8(truncatingIfNeeded: content.count &* 31)) }
        return Batch(id: id, bytes: content, chain: chain(sequence))
    }

    /// Redis does not know how a history is made: any number does that belongs to the stream and the sequence alone.
    func chain(_ sequence: UInt64) -> BatchChain {
        func link(_ sequence: UInt64) -> UInt64 { sequence == 0 ? 0 : (sequence &* 0x9E37_79B9_7F4A_7C15) ^ history }
        return BatchChain(before: sequence == 0 ? 0 : link(sequence - 1), through: link(sequence))
    }

    /// The answer to a push of what Redis has, which is `last` of this stream.
    func duplicate(last: UInt64, applied: UInt64 = 0) -> PushReply {
        .duplicate(last: last, chain: chain(last).through, applied: applied)
    }
}

extension Batch {
    /// Its push into a list that is never full.
    var pushed: QueueCommand { .push(self, floor: 0, limitBytes: 1 << 40, topology: .ofTests) }
}

extension ClusterKeys {
    /// As a new cluster does: of nobody's watermarks.
    func create(_ partition: PartitionID, shard: ShardUUID) throws(RedisError) -> CreateReply {
        try create(partition, shard: shard, topology: .ofTests, applied: [:])
    }
}

/// The code with which Redis refuses what `body` asks for, nil if it does not.
func refusalCode(_ body: () throws -> Void) throws -> String? {
    do {
        try body()
        return nil
    } catch RedisError.server(let code, _) {
        return code
    }
}

extension ProducerQueue {
    /// A whole flight, as an event loop would fly it; given up when Redis is silent for so long.
    func deliver(_ commands: [QueueCommand], silenceMilliseconds: Int32 = 5_000) -> Landed {
        if let landed = send(commands) { return landed }
        while true {
            var entry = pollfd(fd: descriptor, events: Int16(isWriting ? POLLIN | POLLOUT : POLLIN), revents: 0)
            if poll(&entry, 1, silenceMilliseconds) <= 0 {
                if let landed = giveUp(afterMilliseconds: UInt64(silenceMilliseconds)) { return landed }
            } else if let landed = Int32(entry.revents) & POLLOUT != 0 ? write() : read() {
                return landed
            }
        }
    }
}
