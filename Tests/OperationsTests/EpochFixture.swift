// Epochs on disk, without Redis: shards that are filled by batches, retired and rebuilt, and beside them what they must
// hold as plain dictionaries.

import Glibc
import Operations
import ServiceKit
import ShardConsumer
import ShardStore
import Testing

@testable import TallyCore

/// A data folder whose epochs follow one another.
final class EpochFixture {
    struct Row: Hashable {
        var value: Int64
        var updated: UInt64
    }

    let folder: DataFolder
    private(set) var topology: Topology
    /// What the counters must be.
    var counters: [[UInt8]: Row] = [:]
    private var producers: UInt64 = 0

    static let cluster = ClusterID(Bytes16(high: 0xC1, low: 7))

    /// Epoch 1, empty.
    init(partitions: Int) throws {
        var template = Array("/tmp/tallymill-epochs-XXXXXX".utf8CString)
        try #require(mkdtemp(&template) != nil)
        folder = DataFolder(String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self))
        topology = Topology(cluster: Self.cluster, epoch: 1, partitions: partitions)
        try #require(mkdir(folder.epochPath(1), 0o750) == 0)
        for location in locations {
            try ShardFile.create(at: location.path, identity: identity(location.partition), timeMilliseconds: 1)
        }
    }

    deinit { Shell.run("rm -rf \(folder.path)") }

    var locations: [ShardLocation] { topology.partitionIDs.map { folder.shard($0.number, of: topology) } }

    private func identity(_ partition: PartitionID) -> ShardIdentity {
        ShardIdentity(
            cluster: Self.cluster, partition: partition, partitions: topology.partitions,
            uuid: ShardUUID(derivedFor: partition, of: Self.cluster))
    }

    func path(_ number: Int) -> String { locations[number].path }

    /// Where a key belongs.
    func number(of key: [UInt8]) -> Int { topology.partitioner.partition(ofHash: XXH64.hash(key)) }

    // MARK: Filling

    /// Adds to counters as consumers do: one new producer a shard.
    func add(_ deltas: [[UInt8]: Int64], time: UInt64) throws {
        var byShard: [Int: [[UInt8]: Int64]] = [:]
        for (key, delta) in deltas {
            byShard[number(of: key), default: [:]][key] = delta
            let old = counters[key]?.value ?? 0
            counters[key] = Row(value: old + delta, updated: time)
        }
        for (number, deltas) in byShard {
            try apply(to: number, time: time) { writer in
                for (key, delta) in deltas { key.withUnsafeBytes { writer.append(key: $0, increments: 1, sum: delta) } }
            }
        }
    }

    /// Applies one batch of a new producer; returns its stream.
    @discardableResult
    func apply(
        to number: Int, time: UInt64, origin: BatchID? = nil, damaged: Bool = false, _ fill: (inout BatchWriter) -> Void
    ) throws -> StreamID {
        producers += 1
        let partition = topology.partitionIDs[number]
        let stream = StreamID(partition: partition, producer: ProducerID(Bytes16(high: 0xF00D, low: producers)))
        var writer = BatchWriter(
            stream: stream, nextSequence: 1, cumulative: .zero, frozenAt: time, origin: origin, limitBytes: .max,
            sizeHint: 1 << 10)
        fill(&writer)
        var batch = writer.finish()[0].bytes
        if damaged { batch[batch.count - 1] ^= 0xFF }
        let shard = try locations[number].open()
        guard case .commit = try shard.apply([batch], timeMilliseconds: time) else {
            throw Failure(.failure, "the batch was not committed")
        }
        return stream
    }

    // MARK: Rebuilding

    func retire() throws {
        for location in locations { try location.open().retire() }
    }

    func build(
        to partitions: Int, importing: EpochBuild.Import? = nil, knownImports: [Bytes16] = [], time: UInt64 = 9_000
    ) -> EpochBuild {
        let next = Topology(cluster: Self.cluster, epoch: topology.epoch + 1, partitions: partitions)
        return EpochBuild(
            from: locations, to: next, staging: folder.stagingPath(next.epoch), importing: importing,
            knownImports: knownImports, timeMilliseconds: time)
    }

    /// Retires the shards, builds the next epoch and goes over to it.
    @discardableResult
    func rebuild(
        to partitions: Int, importing: EpochBuild.Import? = nil, knownImports: [Bytes16] = []
    ) throws -> EpochBuild.Outcome {
        try retire()
        let outcome = try build(to: partitions, importing: importing, knownImports: knownImports).run()
        let epoch = topology.epoch + 1
        try #require(rename(folder.stagingPath(epoch), folder.epochPath(epoch)) == 0)
        topology = Topology(cluster: Self.cluster, epoch: epoch, partitions: partitions)
        return outcome
    }

    // MARK: Looking

    /// Every counter of every shard, each where it belongs and nowhere else.
    func found() throws -> [[UInt8]: Row] {
        var found: [[UInt8]: Row] = [:]
        for (number, location) in locations.enumerated() {
            let reader = try ShardReader(at: location.path, expecting: location.expected)
            let cursor = try reader.counters()
            while try cursor.next() {
                let key = Array(cursor.key)
                #expect(self.number(of: key) == number)
                #expect(found[key] == nil)
                found[key] = Row(value: cursor.value, updated: cursor.updatedMilliseconds)
            }
        }
        return found
    }

    /// Each shard's ledger: its counters are what it started with and what was applied to it. Returns all increments.
    func checkLedgers() throws -> UInt64 {
        var increments: UInt64 = 0
        for location in locations {
            let reader = try ShardReader(at: location.path, expecting: location.expected)
            let (start, applied) = (try reader.start(), try reader.ownApplied())
            let totals = try reader.totals()
            #expect(totals.sum == start.carried.sum + start.imported.sum + applied.sum)
            #expect(try reader.statistics().total == totals.sum)
            #expect(try reader.statistics().keys == totals.keys)
            increments += start.carried.increments + start.imported.increments + applied.increments
        }
        return increments
    }

    func rows(of table: CarriedTable, in number: Int) throws -> Set<CarriedRow> {
        let cursor = try ShardReader(at: path(number)).rows(of: table)
        var rows: Set<CarriedRow> = []
        while let row = try cursor.next() { rows.insert(row) }
        return rows
    }
}

/// Programs, run to their end.
enum Shell {
    /// - Returns: what it printed, without the last line end.
    @discardableResult
    static func run(_ command: String) -> String {
        guard let pipe = popen(command, "re") else { preconditionFailure("no pipe") }
        var output: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1 << 14)
        while case let count = fread(&chunk, 1, chunk.count, pipe), count > 0 { output += chunk[..<count] }
        let status = pclose(pipe)
        precondition(status == 0, "\(command) ended with status \(status)")
        if output.last == UInt8(ascii: "\n") { output.removeLast() }
        return String(decoding: output, as: UTF8.self)
    }

    /// A program that was built beside the test bundle.
    static func path(of program: String) -> String {
        guard let own = realpath("/proc/self/exe", nil) else { preconditionFailure("no path of this process") }
        defer { free(own) }
        let path = String(cString: own)
        return "\(path[..<(path.lastIndex(of: "/") ?? path.startIndex)])/\(program)"
    }
}

/// Keys that are awkward in every way that keys may be.
enum AwkwardKeys {
    static func make(_ count: Int, _ random: inout SplitMix64) -> [[UInt8]] {
        let stems = ["", "page/", "é", "e\u{301}", "\u{10FFFF}", String(repeating: "long/", count: 95)]
        var keys: Set<[UInt8]> = [
            Array("é".utf8), Array("e\u{301}".utf8), Array("a".utf8), Array(" ".utf8),
            Array(repeating: UInt8(ascii: "z"), count: Limits.keyBytesMax),
        ]
        while keys.count < count {
            keys.insert(Array((stems[Int(random.next() % 6)] + String(random.next() >> (random.next() % 60))).utf8))
        }
        return keys.sorted { $0.lexicographicallyPrecedes($1) }
    }
}
