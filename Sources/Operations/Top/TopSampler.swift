// Takes the readings of `top`: Redis over one connection, the shards of this host, the web nodes by a question that the
// caller brings along. Whatever fails leaves its numbers empty and a sentence, and is tried again at the next reading.

import RedisQueue
public import ServiceKit
import ShardConsumer
import ShardStore
import TallyCore

/// Reads a cluster again and again. Owned by one thread, for whose calls it blocks.
public final class TopSampler {
    /// The longest silence of Redis before its numbers are missing from a reading.
    public static let patienceMilliseconds: UInt64 = 1_000

    private let folder: DataFolder
    private let access: () throws(Failure) -> RedisAccess
    private let nodes: () -> ([TopReading.Node], [String])
    private var keys: ClusterKeys?

    /// - Parameters:
    ///   - access: the way to Redis, asked for whenever there is no connection: the socket of an `up` comes and goes.
    ///   - nodes: asks the web nodes; what they say, and why one does not.
    public init(
        _ folder: DataFolder, access: @escaping () throws(Failure) -> RedisAccess,
        nodes: @escaping () -> ([TopReading.Node], [String])
    ) {
        self.folder = folder
        self.access = access
        self.nodes = nodes
    }

    /// Looks at everything. Takes as long as who is asked takes, a second or two for each that does not answer.
    public func read() -> TopReading {
        var problems: [String] = []
        var file: ClusterFile?
        do throws(Failure) {
            file = try folder.readClusterFile()
        } catch {
            problems.append(error.sentence)
        }
        var reading = TopReading(
            monotonicMilliseconds: MonotonicClock.milliseconds(), wallMilliseconds: WallClock.milliseconds())
        reading.topology = file?.topology
        reading.problems = problems
        readRedis(&reading)
        if reading.topology == nil, keys != nil { reading.problems.append("there is no cluster in \(folder.path)") }
        if file?.state == .building, let epoch = file?.topology.epoch {
            reading.problems.append("epoch \(epoch) is being built: consumers stand still meanwhile")
        } else {
            readShards(&reading)
        }
        let (nodes, silent) = nodes()
        reading.nodes = nodes
        for sentence in silent where !reading.problems.contains(sentence) { reading.problems.append(sentence) }
        return reading
    }

    // MARK: Redis

    private func readRedis(_ reading: inout TopReading) {
        do throws(Failure) {
            let keys = try connected()
            if reading.topology == nil {
                reading.topology = try onRedis { () throws(RedisError) in try keys.readTopology() }
            }
            var missing: [UInt32] = []
            for partition in reading.topology?.partitionIDs ?? [] {
                var row = TopReading.Partition(number: partition.number)
                if case .group(let group) = try onRedis({ () throws(RedisError) in try keys.inspect(partition) }) {
                    row.take(group)
                } else {
                    missing.append(partition.number)
                }
                reading.partitions.append(row)
            }
            if !missing.isEmpty {
                reading.problems.append("\(QueueChecks.named(missing)) no keys in Redis: `tallymill repair` makes them")
            }
        } catch {
            if keys?.isConnected == false { keys = nil }
            reading.problems.append(error.sentence)
            reading.partitions = (reading.topology?.partitionIDs ?? []).map { TopReading.Partition(number: $0.number) }
        }
    }

    private func connected() throws(Failure) -> ClusterKeys {
        if let keys, try onRedis({ () throws(RedisError) in try keys.leadOn() }) { return keys }
        keys = nil
        var access = try access()
        access.link.connectMilliseconds = Self.patienceMilliseconds
        access.link.commandMilliseconds = Self.patienceMilliseconds
        let made = try onRedis { () throws(RedisError) in try ClusterKeys(toLookWith: access) }
        keys = made
        return made
    }

    // MARK: Shards

    private func readShards(_ reading: inout TopReading) {
        guard let topology = reading.topology else { return }
        var missing: [UInt32] = []
        for index in reading.partitions.indices {
            let location = folder.shard(reading.partitions[index].number, of: topology)
            if Folder.isMissing(location.path) {
                missing.append(location.partition.number)
                continue
            }
            do throws(Failure) {
                try onStore { () throws(StoreError) in
                    let reader = try ShardReader(at: location.path, expecting: location.expected)
                    let records = try reader.records(of: location.partition)
                    reading.partitions[index].counted = records.values.reduce(0) { $0 &+ $1.through.increments }
                    reading.partitions[index].lastCommitMilliseconds = try reader.lastCommitMilliseconds()
                }
            } catch {
                reading.problems.append(error.sentence)
            }
        }
        if !missing.isEmpty {
            reading.problems.append("\(QueueChecks.named(missing)) no shard in \(folder.path)")
        }
    }
}

extension TopReading.Partition {
    fileprivate mutating func take(_ group: Inspection) {
        batches = group.length
        bytes = group.bytes
        lagMilliseconds = group.length == 0 ? 0 : Status.oldestSeconds(group.head).map { Int($0 * 1_000) }
        if let lease = group.lease, lease.isLive { owner = lease.owner }
    }
}
