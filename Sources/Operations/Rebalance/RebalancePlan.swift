// What a change of the number of partitions would do, found out without changing anything: what moves, what disk it
// needs, how long it takes by a short sample, and how long the queues can hold what arrives meanwhile.

import Glibc
import RedisQueue
public import ServiceKit
import ShardConsumer
import ShardStore
public import TallyCore

/// A dry run of a rebalance.
public struct RebalancePlan: Sendable {
    public let topology: Topology
    /// K'.
    public let partitions: Int
    public let disk: RebalanceDisk
    /// nil for an empty cluster.
    public let milliseconds: Int?
    /// Batches that wait in the queues and will be drained.
    public let batches: Int
    /// How long the new queues hold what arrives, at the rate of one second; nil if nothing arrives.
    public let holdMilliseconds: Int?
    public let consumers: [ConsumerAtWork]
    /// The epoch that it would open.
    public let epoch: UInt32
    /// Whether a web node waits for it, which has seen an epoch that the cluster does not know of.
    public let isAwaited: Bool

    private static let sampleRows = 200_000

    /// - Parameters:
    ///   - queueBytes: what a list may hold.
    ///   - measuresRate: whether to look for a second at what arrives.
    /// - Throws: 78 if there is no ready cluster here, 69; whatever is wrong with a shard.
    public init(
        _ folder: DataFolder, _ access: RedisAccess, to partitions: Int, queueBytes: Int, measuresRate: Bool = true
    ) throws(Failure) {
        topology = try folder.readyClusterFile().topology
        try access.requireReachable()
        self.partitions = partitions
        disk = try RebalanceDisk(folder, topology, to: partitions)
        let keys = disk.keys
        milliseconds = try disk.largestShard.map { path throws(Failure) in
            Int(Double(keys) / (try Self.rowsPerSecond(path) * Double(Limits.buildThreads)) * 1_000)
        }
        let redis = try RedisSample(access, topology, measuresRate: measuresRate)
        batches = redis.batches
        epoch = redis.noted.next
        isAwaited = redis.noted.isAwaited
        consumers = try ConsumerAtWork.find(topology, in: folder, leases: redis.leases)
        holdMilliseconds =
            redis.bytesPerSecond > 0 ? Int(Double(queueBytes * partitions) / redis.bytesPerSecond * 1_000) : nil
    }

    /// Reads the first rows of a shard and hashes their keys; building a shard costs about three times that.
    private static func rowsPerSecond(_ path: String) throws(Failure) -> Double {
        let start = MonotonicClock.nanoseconds()
        let rows = try onStore { () throws(StoreError) in
            let cursor = try ShardReader(at: path).counters()
            var rows = 0
            var mixed: UInt64 = 0
            while rows < sampleRows, try cursor.next() {
                mixed ^= XXH64.hash(cursor.key)
                rows += 1
            }
            return mixed == 1 ? rows + 1 : rows
        }
        let seconds = Double(max(1, MonotonicClock.nanoseconds() - start)) / 1e9
        return Double(rows) / (seconds * 4)
    }
}

/// The size of a change, and the room there is.
public struct RebalanceDisk: Sendable {
    public let keys: Int
    /// Of all shards.
    public let bytes: Int
    /// Keys that get another shard: about so many, by the jump function.
    public let keysMoving: Int
    /// What the new files and the runs between them take at most.
    public let needed: Int
    public let free: Int
    /// nil if no shard has a key.
    let largestShard: String?

    init(_ folder: DataFolder, _ topology: Topology, to partitions: Int) throws(Failure) {
        var keys = 0
        var bytes = 0
        var largest: (path: String, keys: Int)?
        for partition in topology.partitionIDs {
            let location = folder.shard(partition.number, of: topology)
            let statistics = try onStore { () throws(StoreError) in
                try ShardReader(at: location.path, expecting: location.expected).statistics()
            }
            keys += statistics.keys
            bytes += statistics.fileBytes
            if statistics.keys > largest?.keys ?? 0 { largest = (location.path, statistics.keys) }
        }
        let moving = Self.movingFraction(from: topology.partitions, to: partitions)
        self.keys = keys
        self.bytes = bytes
        keysMoving = Int((Double(keys) * moving).rounded())
        needed = bytes + bytes / 10 + Int(Double(bytes) * moving) + partitions * 64 << 10
        free = try Folder.freeBytes(folder.path)
        largestShard = largest?.path
    }

    /// The share of keys that jump hash gives another number.
    static func movingFraction(from old: Int, to new: Int) -> Double {
        1 - Double(min(old, new)) / Double(max(old, new))
    }

    public var bytesMoving: Int { keys == 0 ? 0 : Int(Double(bytes) * Double(keysMoving) / Double(keys)) }
}

/// What the queues of an epoch hold.
struct RedisSample {
    private(set) var batches = 0
    private(set) var leases: [UInt32: Lease] = [:]
    let noted: NotedEpoch
    /// What enters Redis, over one second; an upper bound of what enters the queues.
    private(set) var bytesPerSecond = 0.0

    init(_ access: RedisAccess, _ topology: Topology, measuresRate: Bool = false) throws(Failure) {
        let redis = ToolRedis(access)
        noted = try redis.look { keys throws(Failure) in try NotedEpoch(topology, keys) }
        for partition in topology.partitionIDs {
            guard case .group(let group) = try redis.call({ keys throws(RedisError) in try keys.inspect(partition) })
            else { continue }
            batches += group.length
            leases[partition.number] = group.lease
        }
        if measuresRate {
            let before = try redis.call { keys throws(RedisError) in try keys.bytesReceived() }
            usleep(1_000_000)  // a rate needs a time
            let after = try redis.call { keys throws(RedisError) in try keys.bytesReceived() }
            bytesPerSecond = after > before ? Double(after - before) : 0  // it may have been started anew between them
        }
    }
}

extension RebalancePlan {
    public var json: String {
        let time = milliseconds.map { "\($0)" } ?? "null"
        let hold = holdMilliseconds.map { "\($0)" } ?? "null"
        let running = consumers.map {
            #"{"partition":\#($0.partition),"who":\#(JSONText.quote($0.who)),"stop":\#(JSONText.quote($0.command))}"#
        }
        return #"{"epoch":\#(topology.epoch),"partitions":\#(topology.partitions),"new_partitions":\#(partitions),"#
            + #""keys":\#(disk.keys),"bytes":\#(disk.bytes),"keys_moving":\#(disk.keysMoving),"#
            + #""bytes_moving":\#(disk.bytesMoving),"#
            + #""disk_needed":\#(disk.needed),"disk_free":\#(disk.free),"duration_ms":\#(time),"batches":\#(batches),"#
            + #""queues_hold_ms":\#(hold),"consumers":[\#(running.joined(separator: ","))]}"#
    }

    /// Lines for a person.
    public var text: String {
        var lines = [
            "epoch \(topology.epoch), \(Humanized.count(topology.partitions, "partition")) -> "
                + "epoch \(epoch), \(Humanized.count(partitions, "partition"))",
            "  keys     \(Humanized.count(disk.keys)) (\(Humanized.bytes(disk.bytes))); about "
                + "\(Humanized.count(disk.keysMoving)) (\(Humanized.bytes(disk.bytesMoving))) get another shard",
            "  disk     \(Humanized.bytes(disk.needed)) needed, \(Humanized.bytes(disk.free)) free"
                + (disk.needed > disk.free ? ": NOT ENOUGH" : "; the old files stay until `tallymill rebalance purge`"),
            "  time     " + (milliseconds.map { "about \(Humanized.duration(milliseconds: max(100, $0)))" } ?? "none"),
            "  queues   \(Humanized.batches(batches)) to drain; "
                + (holdMilliseconds.map {
                    "at the present rate they hold what arrives for "
                        + Humanized.duration(milliseconds: min($0, 365 * 86_400_000))
                } ?? "nothing arrives, or it was not measured"),
        ]
        if !consumers.isEmpty {
            lines.append("  running  consumers of " + consumers.map { "\($0.partition)" }.joined(separator: ", "))
        }
        return lines.joined(separator: "\n") + "\n"
    }
}
