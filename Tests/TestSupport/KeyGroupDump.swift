// The state of a key group as it lies in Redis, for comparisons: before and after a refusal, model and reality.

public import RedisQueue
public import TallyCore

/// Everything in the four keys of a partition.
public struct KeyGroupDump: Hashable, Sendable {
    public var queue: [[UInt8]] = []
    public var seqs: [ProducerID: UInt64] = [:]
    /// The history of each stream through its last sequence, where it is known.
    public var chains: [ProducerID: UInt64] = [:]
    public var applied: [ProducerID: UInt64] = [:]
    /// By producer, the floor with which it was refused.
    public var behind: [ProducerID: UInt64] = [:]
    /// The same of streams of earlier epochs, and the watermarks of such streams in `applied`.
    public var earlierBehind: [StreamID: UInt64] = [:]
    public var earlierApplied: [StreamID: UInt64] = [:]
    /// Without `behind` and `earlier`. Empty if there is no group.
    public var meta: [String: String] = [:]

    /// What is found where there is no group.
    public static let none = KeyGroupDump()

    private init() {}

    /// Reads the group as one transaction.
    public init(_ partition: PartitionID, names: KeyNames, over connection: RedisConnection) throws(RedisError) {
        let group = names.group(of: partition)
        try connection.send(RedisCommand("MULTI"))
        try connection.send(RedisCommand("LRANGE", group.queue, "0", "-1"))
        for key in [group.seqs, group.applied, group.meta] { try connection.send(RedisCommand("HGETALL", key)) }
        try connection.send(RedisCommand("EXEC"))
        var reply = RedisReply.null
        for _ in 0..<6 { reply = try connection.receive() }
        guard case .array(let parts) = reply, parts.count == 4, case .array(let entries) = parts[0] else {
            throw .protocolViolation("EXEC answered \(reply)")
        }
        queue = entries.map { $0.content }
        try readSeqs(parts[1])
        try readApplied(parts[2])
        for (name, value) in try Self.pairs(parts[3]) {
            if name == Array("behind".utf8) {
                try readBehind(value)
                continue
            }
            if name == Array("earlier".utf8) {
                try readEarlier(value)
                continue
            }
            meta[String(decoding: name, as: UTF8.self)] = String(decoding: value, as: UTF8.self)
        }
    }

    /// Decimal digits, and unless an earlier release wrote them a blank and the chain.
    private mutating func readSeqs(_ reply: RedisReply) throws(RedisError) {
        for (name, value) in try Self.pairs(reply) {
            let digits = value.prefix { $0 != UInt8(ascii: " ") }
            guard let producer = Bytes16(name), let last = UInt64(String(decoding: digits, as: UTF8.self)),
                value.count == digits.count || value.count == digits.count + 9
            else { throw .protocolViolation("seqs holds \(name): \(value)") }
            seqs[ProducerID(producer)] = last
            if value.count > digits.count { chains[ProducerID(producer)] = Self.integer(value.suffix(8)) }
        }
    }

    private mutating func readBehind(_ records: [UInt8]) throws(RedisError) {
        for start in stride(from: 0, to: records.count, by: 24) {
            guard start + 24 <= records.count, let producer = Bytes16(records[start..<start + 16]),
                behind.updateValue(Self.integer(records[start + 16..<start + 24]), forKey: ProducerID(producer)) == nil
            else { throw .protocolViolation("behind holds \(records)") }
        }
    }

    private mutating func readEarlier(_ records: [UInt8]) throws(RedisError) {
        for start in stride(from: 0, to: records.count, by: 32) {
            guard start + 32 <= records.count, let stream = Self.stream(records[start..<start + 24]),
                earlierBehind.updateValue(Self.integer(records[start + 24..<start + 32]), forKey: stream) == nil
            else { throw .protocolViolation("earlier holds \(records)") }
        }
    }

    /// Producer, epoch, partition.
    private static func stream(_ name: ArraySlice<UInt8>) -> StreamID? {
        guard name.count == 24, let producer = Bytes16(name.prefix(16)) else { return nil }
        let partition = PartitionID(
            epoch: UInt32(integer(name.dropFirst(16).prefix(4))), number: UInt32(integer(name.suffix(4))))
        return StreamID(partition: partition, producer: ProducerID(producer))
    }

    private static func integer(_ bytes: ArraySlice<UInt8>) -> UInt64 {
        bytes.reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    private mutating func readApplied(_ reply: RedisReply) throws(RedisError) {
        for (name, value) in try Self.pairs(reply) {
            let number = UInt64(String(decoding: value, as: UTF8.self))
            if let number, let producer = Bytes16(name) {
                applied[ProducerID(producer)] = number
            } else if let number, let stream = Self.stream(name[...]) {
                earlierApplied[stream] = number
            } else {
                throw .protocolViolation("a hash of watermarks holds \(name): \(value)")
            }
        }
    }

    private static func pairs(_ reply: RedisReply) throws(RedisError) -> [([UInt8], [UInt8])] {
        guard case .array(let elements) = reply else { throw .protocolViolation("HGETALL answered \(reply)") }
        return stride(from: 0, to: elements.count - 1, by: 2).map {
            (elements[$0].content, elements[$0 + 1].content)
        }
    }
}

extension RedisReply {
    fileprivate var content: [UInt8] {
        if case .bytes(let bytes) = self { bytes } else { [] }
    }
}
