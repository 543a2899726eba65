// What waits in Redis, asked again and again over one connection: `status` without the rest.

import RedisQueue
public import ServiceKit
public import TallyCore

/// A look at the lists of all partitions together.
public struct Backlog: Hashable, Sendable {
    /// Batches in the lists.
    public let batches: Int
    /// Age of the oldest batch; nil if there is none.
    public let oldestSeconds: Double?
}

/// Looks at the lists, and connects again when the connection was lost. Owned by one thread.
public final class BacklogProbe {
    private let topology: Topology
    private let access: RedisAccess
    private var keys: ClusterKeys?

    public init(_ topology: Topology, _ access: RedisAccess) {
        self.topology = topology
        self.access = access
    }

    /// - Throws: 69 if Redis is unreachable, 78 if it is not fit or has no keys for a partition.
    public func look() throws(Failure) -> Backlog {
        if keys?.isConnected != true {
            keys = ClusterKeys(connection: try access.connect(waitingMilliseconds: 0), names: access.names)
        }
        guard let keys else { preconditionFailure("connected without keys") }
        var batches = 0
        var oldest: Double?
        for partition in topology.partitionIDs {
            guard case .group(let group) = try onRedis({ () throws(RedisError) in try keys.inspect(partition) }) else {
                throw Failure(
                    .configuration, "partition \(partition.number) has no keys in Redis",
                    advice: "`tallymill repair` makes them.")
            }
            batches += group.length
            if let age = Status.oldestSeconds(group.head) { oldest = max(oldest ?? 0, age) }
        }
        return Backlog(batches: batches, oldestSeconds: oldest)
    }
}
