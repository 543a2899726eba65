// The state of a key group as it lies in Redis, for comparisons: before and after a refusal, model and reality.

public import RedisQueue
public import TallyCore

/// Everything in the four keys of a partition.
public struct KeyGroupDump: Hashable, Sendable {
    public var queue: [[UInt8]] = []
    public var seqs: [ProducerID: UInt64] = [:]
    public var applied: [ProducerID: UInt64] = [:]
    /// Empty if there is no group.
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
        seqs = try Self.watermarks(parts[1])
        applied = try Self.watermarks(parts[2])
        for (name, value) in try Self.pairs(parts[3]) {
            meta[String(decoding: name, as: UTF8.self)] = String(decoding: value, as: UTF8.self)
        }
    }

    private static func watermarks(_ reply: RedisReply) throws(RedisError) -> [ProducerID: UInt64] {
        var watermarks: [ProducerID: UInt64] = [:]
        for (name, value) in try pairs(reply) {
            guard let producer = Bytes16(name), let number = UInt64(String(decoding: value, as: UTF8.self)) else {
                throw .protocolViolation("a hash of watermarks holds \(name): \(value)")
            }
            watermarks[ProducerID(producer)] = number
        }
        return watermarks
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
