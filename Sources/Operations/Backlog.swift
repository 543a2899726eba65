// What waits in Redis, asked again and again over one connection: `status` without the rest.

import RedisQueue
public import ServiceKit
public import TallyCore

/// A look at the list of one partition.
public struct QueueLook: Hashable, Sendable {
    public let partition: UInt32
    /// Batches in the list.
    public let batches: Int
    /// Bytes of them.
    public let bytes: Int
    /// Age of the oldest batch; nil if there is none.
    public let oldestSeconds: Double?
    /// Who holds the lease; nil if nobody.
    public let owner: String?
    /// Producers that were refused because the shard seems to lack what they have released.
    public let behind: Int
}

/// A look at the lists of all partitions together.
public struct Backlog: Hashable, Sendable {
    /// Batches in the lists.
    public let batches: Int
    /// Age of the oldest batch; nil if there is none.
    public let oldestSeconds: Double?

    public init(_ queues: [QueueLook]) {
        batches = queues.reduce(0) { $0 + $1.batches }
        oldestSeconds = queues.compactMap(\.oldestSeconds).max()
    }
}

/// Looks at lists, and connects again when the connection was lost. Owned by one thread.
public final class BacklogProbe {
    private let access: RedisAccess
    private var keys: ClusterKeys?

    public init(_ access: RedisAccess) {
        self.access = access
    }

    /// Whatever the settings of Redis: a look counts nothing.
    ///
    /// - Throws: 69 if Redis is unreachable, 78 if it refuses us or has no keys for a partition.
    public func look(at partitions: [PartitionID]) throws(Failure) -> [QueueLook] {
        let keys = try onRedis { () throws(RedisError) in try connected() }
        var looks: [QueueLook] = []
        for partition in partitions {
            guard case .group(let group) = try onRedis({ () throws(RedisError) in try keys.inspect(partition) }) else {
                throw Failure(
                    .configuration, "partition \(partition.number) has no keys in Redis",
                    advice: "`tallymill repair` makes them.")
            }
            looks.append(
                QueueLook(
                    partition: partition.number, batches: group.length, bytes: group.bytes,
                    oldestSeconds: Status.oldestSeconds(group.head), owner: group.lease?.owner,
                    behind: group.behind.count))
        }
        return looks
    }

    private func connected() throws(RedisError) -> ClusterKeys {
        if let keys, try keys.leadOn() { return keys }
        let made = try ClusterKeys(toLookWith: access)
        keys = made
        return made
    }
}

extension ClusterKeys {
    /// A connection for looks, whatever the settings of Redis, also to a replica.
    convenience init(toLookWith access: RedisAccess) throws(RedisError) {
        self.init(connection: try RedisConnection(access.link), names: access.names)
        _ = try leadOn()  // it is new: whatever it is, it is asked
    }
}
