// `report`: the unified view of all shards of the current epoch.
//
// It reads the cluster file and the shard files and nothing else, while consumers run or not. Each shard is one
// snapshot; between shards there is none, so a report taken under load shows each key as of some moment during it.
// A shard that cannot be read makes the report partial, visibly.

public import ServiceKit
public import ShardStore
public import TallyCore

/// What to report.
public struct ReportQuery: Sendable {
    /// Only these keys, if there are any.
    public var keys: [[UInt8]] = []
    public var prefix: [UInt8] = []
    /// Only the largest so many, by value.
    public var top: Int?
    /// Not more than so many, in byte order of the keys.
    public var limit: Int?

    public init() {}
}

/// The shards of one epoch, opened for reading.
public struct Report {
    /// A shard that could be read.
    public struct Shard {
        public let partition: UInt32
        public let path: String
        public let totals: ShardReader.Totals
        public let lastCommitMilliseconds: UInt64?
        let reader: ShardReader
    }

    /// A shard that could not.
    public struct Missing: Sendable {
        public let partition: UInt32
        public let reason: Failure
    }

    public let topology: Topology
    public private(set) var shards: [Shard] = []
    public private(set) var missing: [Missing] = []
    private let query: ReportQuery
    /// Those of the query's keys that exist, in byte order.
    private var found: [ShardReader.Counter] = []

    /// Opens all shards and adds up what the query selects.
    ///
    /// - Throws: 78 if there is no cluster in the folder.
    public init(_ folder: DataFolder, _ query: ReportQuery) throws(Failure) {
        topology = try folder.readyClusterFile().topology
        self.query = query
        for partition in topology.partitionIDs {
            let path = folder.shardPath(partition, of: topology.partitions)
            do throws(StoreError) {
                shards.append(try open(partition, path))
            } catch {
                missing.append(Missing(partition: partition.number, reason: Failure(error)))
            }
        }
        found.sort { $0.key.lexicographicallyPrecedes($1.key) }
    }

    private mutating func open(_ partition: PartitionID, _ path: String) throws(StoreError) -> Shard {
        let reader = try ShardReader(path)
        try reader.identity.expect(
            cluster: topology.cluster, partition: partition, partitions: topology.partitions, path: path)
        let totals: ShardReader.Totals
        if query.keys.isEmpty {
            totals = try reader.totals(prefix: query.prefix)
        } else {
            totals = try look(for: query.keys, in: reader, partition)
        }
        return Shard(
            partition: partition.number, path: path, totals: totals,
            lastCommitMilliseconds: try reader.lastCommitMilliseconds(), reader: reader)
    }

    private mutating func look(
        for keys: [[UInt8]], in reader: ShardReader, _ partition: PartitionID
    ) throws(StoreError) -> ShardReader.Totals {
        var totals = ShardReader.Totals(keys: 0, total: 0)
        for key in Set(keys) where topology.partitioner.partition(ofHash: XXH64.hash(key)) == Int(partition.number) {
            guard let counter = try reader.counter(key) else { continue }
            found.append(counter)
            totals.keys += 1
            totals.total += Int128(counter.value)
        }
        return totals
    }

    public var isPartial: Bool { !missing.isEmpty }

    /// Over all shards that could be read.
    public var totals: ShardReader.Totals {
        shards.reduce(into: ShardReader.Totals(keys: 0, total: 0)) { sum, shard in
            sum.keys += shard.totals.keys
            sum.total += shard.totals.total
        }
    }

    /// Calls `body` with each selected counter, in byte order of the keys, or by value with `top`.
    ///
    /// - Throws: 65 or 74 if a shard fails while it is read.
    public func forEachCounter(_ body: (ShardReader.Counter) -> Void) throws(Failure) {
        do throws(StoreError) {
            if let top = query.top {
                for counter in try largest(top) { body(counter) }
            } else if !query.keys.isEmpty {
                for counter in found.prefix(query.limit ?? .max) { body(counter) }
            } else {
                var merge = try ShardMerge(try shards.map { shard throws(StoreError) in
                    try shard.reader.cursor(prefix: query.prefix)
                })
                var left = query.limit ?? .max
                while left > 0, let counter = try merge.next() {
                    body(counter)
                    left -= 1
                }
            }
        } catch {
            throw Failure(error)
        }
    }

    private func largest(_ count: Int) throws(StoreError) -> [ShardReader.Counter] {
        var counters = found
        if query.keys.isEmpty {
            for shard in shards { counters += try shard.reader.largest(count, prefix: query.prefix) }
        }
        counters.sort { $0.value != $1.value ? $0.value > $1.value : $0.key.lexicographicallyPrecedes($1.key) }
        return Array(counters.prefix(min(count, query.limit ?? .max)))
    }
}
