// A look at a key group that needs no function library: what a plan is made from before anything is loaded or changed.
// Its commands are not one atomic read, which a plan does not need.

public import TallyCore

/// What is left of a key group, or all of it.
public struct Glance: Hashable, Sendable {
    /// What `meta` says; nil if there is none, and with it no group.
    public let group: Group?
    /// Batches in the list.
    public let length: Int
    /// Whether keys of the group are there that only come with `meta`.
    public let hasRest: Bool

    public struct Group: Hashable, Sendable {
        /// The shard file that the group feeds; nil if `meta` names none.
        public let shard: ShardUUID?
        public let sealed: Bool
        /// Bytes of the batches in the list.
        public let bytes: Int
    }
}

extension ClusterKeys {
    /// Looks at the keys of a partition, whatever is there.
    public func glance(_ partition: PartitionID) throws(RedisError) -> Glance {
        let group = names.group(of: partition)
        let fields = try connection.command(RedisCommand("HMGET", group.meta, "state", "shard", "bytes"))
        guard case .array(let values) = fields, values.count == 3 else {
            throw .protocolViolation("HMGET \(group.meta) answered \(fields)")
        }
        let reply = try connection.command(RedisCommand("LLEN", group.queue))
        guard case .integer(let length) = reply, (0...Int64(Limits.sequenceMax)).contains(length) else {
            throw .protocolViolation("LLEN \(group.queue) answered \(reply)")
        }
        guard let state = values[0].text else {
            let others = try connection.command(RedisCommand("EXISTS", group.queue, group.seqs, group.applied))
            return Glance(group: nil, length: Int(length), hasRest: others != .integer(0))
        }
        return Glance(
            group: Glance.Group(
                shard: values[1].text.flatMap { ShardUUID($0) }, sealed: state == "sealed",
                bytes: values[2].text.flatMap { UInt64($0) }.map { Int(min($0, Limits.sequenceMax)) } ?? 0),
            length: Int(length), hasRest: false)
    }
}
