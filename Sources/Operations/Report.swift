// `report`: the unified view of all shards of the current epoch, or of the one before while its shards are being made.
//
// It reads the cluster file and the shard files and nothing else, while consumers run or not. Each shard is one
// snapshot; between shards there is none, so a report taken under load shows each key as of some moment during it.
// A shard that cannot be read makes the report partial, visibly.

public import ServiceKit
import ShardConsumer
public import ShardStore
public import TallyCore

/// What to report.
public struct ReportQuery: Sendable {
    /// Only these keys, if there are any.
    public var keys: [Key] = []
    public var prefix: [UInt8] = []
    /// Only the largest so many, by value.
    public var top: Int?
    /// Not more than so many, in byte order of the keys.
    public var limit: Int?

    public init() {}
}

/// A key and its sum.
public struct ReportedCounter: Hashable, Sendable {
    public let key: [UInt8]
    public let value: Int64
}

/// The shards of one epoch, opened for reading.
public struct Report {
    /// A shard that could be read.
    public struct Shard {
        public let partition: UInt32
        public let path: String
        public let totals: ShardTotals
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
    private var found: [ReportedCounter] = []

    /// Opens all shards and adds up what the query selects.
    ///
    /// - Throws: 78 if there is no cluster in the folder.
    public init(_ folder: DataFolder, _ query: ReportQuery) throws(Failure) {
        topology = try folder.countedTopology()
        self.query = query
        for partition in topology.partitionIDs {
            let location = folder.shard(partition.number, of: topology)
            do throws(Failure) {
                let shard = try onStore { () throws(StoreError) in try open(location) }
                shards.append(shard)
            } catch {
                missing.append(Missing(partition: partition.number, reason: error))
            }
        }
        found.sort { $0.key.lexicographicallyPrecedes($1.key) }
    }

    private mutating func open(_ location: ShardLocation) throws(StoreError) -> Shard {
        let reader = try ShardReader(at: location.path, expecting: location.expected)
        return Shard(
            partition: location.partition.number, path: location.path,
            totals: query.keys.isEmpty
                ? try reader.totals(prefix: query.prefix) : try look(in: reader, location.partition),
            lastCommitMilliseconds: try reader.lastCommitMilliseconds(), reader: reader)
    }

    /// Looks up those of the query's keys that belong into this shard.
    private mutating func look(in reader: ShardReader, _ partition: PartitionID) throws(StoreError) -> ShardTotals {
        let partitioner = topology.partitioner
        let keys = Set(query.keys).filter { partitioner.partition(of: $0) == Int(partition.number) }.sorted()
        var counters: [ReportedCounter] = []
        for (key, value) in zip(keys, try reader.values(of: keys)) {
            if let value { counters.append(ReportedCounter(key: key.bytes, value: value)) }
        }
        found += counters
        return ShardTotals(keys: counters.count, sum: counters.reduce(0) { $0 + Int128($1.value) })
    }

    public var isPartial: Bool { !missing.isEmpty }

    /// The query's keys that are in no shard that could be read, in byte order, each once.
    public var unknownKeys: [Key] {
        let known = Set(found.map(\.key))
        return Set(query.keys).filter { !known.contains($0.bytes) }.sorted()
    }

    /// Over all shards that could be read.
    public var totals: ShardTotals {
        ShardTotals(
            keys: shards.reduce(0) { $0 + $1.totals.keys }, sum: shards.reduce(0) { $0 + $1.totals.sum })
    }

    /// Calls `body` with each selected counter, in byte order of the keys, or by value with `top`.
    ///
    /// - Throws: 65 or 74 if a shard fails while it is read.
    public func forEachCounter(_ body: (ReportedCounter) -> Void) throws(Failure) {
        if let top = query.top {
            for counter in try largest(top) { body(counter) }
        } else if !query.keys.isEmpty {
            for counter in found.prefix(query.limit ?? .max) { body(counter) }
        } else {
            try onStore { () throws(StoreError) in try merge(body) }
        }
    }

    private func merge(_ body: (ReportedCounter) -> Void) throws(StoreError) {
        var merge = try ShardMerge(
            try shards.map { shard throws(StoreError) in try shard.reader.counters(prefix: query.prefix) })
        var left = query.limit ?? .max
        while left > 0, let counter = merge.current {
            body(ReportedCounter(key: Array(counter.key), value: counter.value))
            left -= 1
            try merge.advance()
        }
    }

    private func largest(_ count: Int) throws(Failure) -> [ReportedCounter] {
        var counters = found
        if query.keys.isEmpty {
            try onStore { () throws(StoreError) in
                for shard in shards {
                    counters += try shard.reader.largest(count, prefix: query.prefix).map {
                        ReportedCounter(key: $0.key, value: $0.value)
                    }
                }
            }
        }
        counters.sort { $0.value != $1.value ? $0.value > $1.value : $0.key.lexicographicallyPrecedes($1.key) }
        return Array(counters.prefix(min(count, query.limit ?? .max)))
    }
}
