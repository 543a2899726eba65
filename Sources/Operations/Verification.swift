// `verify`: is everything what it should be: every shard by itself, the shards among one another, and the shards
// against Redis.
//
// For each partition Redis is read first and the shard after it (StreamBalance.swift says why that makes false findings
// impossible), two partitions at a time. A key that is in two shards is in a wrong one in at least one of them, so the
// shards are merged to find such keys only if some key is in a wrong place. Nothing is locked and nothing is changed:
// consumers and nodes go on meanwhile.

import Glibc
import RedisQueue
public import ServiceKit
import ShardConsumer
import ShardStore
public import TallyCore

/// What a verification has found.
public struct Verification: Sendable {
    public let topology: Topology
    /// Shards that were read, of K.
    public private(set) var shards = 0
    /// Over the shards whose counters could all be read.
    public private(set) var keys = 0
    public private(set) var total: Int128 = 0
    public internal(set) var findings: [Finding] = []
    /// Why Redis was not looked at, nil if it was.
    public let redisSkipped: String?
    /// SQLite cannot make sense of a shard.
    public private(set) var isUnreadable = false

    private let folder: DataFolder
    private let file: ClusterFile

    /// One partition's share.
    private struct Part: Sendable {
        let shard: ShardCheck
        var findings: [Finding] = []
    }

    /// Verifies the cluster in a folder.
    ///
    /// - Parameters:
    ///   - access: nil to leave Redis out.
    ///   - progress: gets the counters looked at, and how many there are.
    /// - Throws: 78 if there is no cluster or it is being rebuilt, 69 if Redis is unreachable, 75 if the epoch changed
    ///   meanwhile.
    public init(
        _ folder: DataFolder, _ access: RedisAccess?, progress: (Int, Int) -> Void = { _, _ in }
    ) throws(Failure) {
        let file = try folder.readyClusterFile()
        self.folder = folder
        self.file = file
        topology = file.topology
        redisSkipped = access == nil ? "--offline" : nil
        try checkLeftovers()
        if let access { try checkRedisAsAWhole(access) }
        findings += LossSpread(topology, in: folder).shards.map(\.finding)
        let parts = try Self.checkParts(folder, file, access, progress)
        for part in parts { add(part) }
        if parts.contains(where: \.shard.hasStrayKeys) { findDoubledKeys(parts.map(\.shard)) }
        guard try folder.readClusterFile() == file else {
            throw Failure(
                .locked, "the cluster changed while it was verified", at: folder.clusterFilePath,
                advice: "Run this again when the rebalance has ended.")
        }
        findings.sortByPartition()
    }

    public var exitCode: ExitCode {
        if isUnreadable { return .corrupt }
        return findings.errors.isEmpty ? .ok : .partial
    }

    private mutating func add(_ part: Part) {
        findings += part.shard.findings + part.findings
        if part.shard.isUnreadable { isUnreadable = true }
        if part.shard.uuid != nil { shards += 1 }
        keys += part.shard.totals?.keys ?? 0
        total += part.shard.totals?.sum ?? 0
    }

    // MARK: By partition

    private static func checkParts(
        _ folder: DataFolder, _ file: ClusterFile, _ access: RedisAccess?, _ progress: (Int, Int) -> Void
    ) throws(Failure) -> [Part] {
        let partitions = file.topology.partitionIDs
        let rows = expectedRows(folder, file.topology)
        let done = StepCount()
        return try Workers.map(partitions.count, name: "verify", tick: { progress(done.value, rows) }) {
            number, _ throws(Failure) in
            // Its own connection: one thread owns it.
            let keys = try access.map { access throws(Failure) in try access.keys() }
            return try check(partitions[number], folder, file, keys) { done.add($0) }
        }
    }

    /// Counters in all shards, by their running figures; a shard that cannot say counts for nothing.
    private static func expectedRows(_ folder: DataFolder, _ topology: Topology) -> Int {
        topology.partitionIDs.reduce(0) { sum, partition in
            let path = folder.shardPath(partition, of: topology.partitions)
            return sum + ((try? ShardReader(at: path).statistics().keys) ?? 0)  // for the progress line alone
        }
    }

    private static func check(
        _ partition: PartitionID, _ folder: DataFolder, _ file: ClusterFile, _ keys: ClusterKeys?,
        advance: (Int) -> Void
    ) throws(Failure) -> Part {
        let location = folder.shard(partition.number, of: file.topology)
        guard let keys else { return Part(shard: ShardCheck(location, of: file, advance: advance)) }
        let look = try QueueReading(partition, keys, isWhole: true)
        // Only now, see above.
        var part = Part(shard: ShardCheck(location, of: file, advance: advance))
        part.findings = try compare(part.shard, with: look, file, keys).findings
        return part
    }

    /// The keys of a partition against its shard.
    private static func compare(
        _ shard: ShardCheck, with look: QueueReading, _ file: ClusterFile, _ keys: ClusterKeys
    ) throws(Failure) -> QueueCheck {
        let location = shard.location
        let partition = location.partition
        var check = QueueCheck(partition, keys.names)
        guard case .ledger(let ledger) = look.ledger else {
            if case .torn = look.ledger { check.isTorn() } else { check.missesGroup() }
            return check
        }
        check.check(ledger, KnownEpochs(file))
        guard let uuid = shard.uuid, let records = shard.records else { return check }
        let side = ShardSide(path: location.path, uuid: uuid, records: records, losses: shard.losses)
        let balances = StreamBalance.all(in: ledger, of: partition, side)
        check.compare(ledger, look, with: side, balances)
        if balances.contains(where: \.isAhead) {
            let later = try onRedis { () throws(RedisError) in
                try keys.wholeLedger(of: partition, .headers) { _ in () }
            }
            if case .ledger(let later) = later { check.note(ahead: balances, knownLater: later.seqs) }
        }
        return check
    }

    // MARK: The cluster as a whole

    private mutating func checkRedisAsAWhole(_ access: RedisAccess) throws(Failure) {
        let keys = try access.keys()
        let published = try onRedis { () throws(RedisError) in try keys.readTopology() }
        if published != topology { findings.append(Self.finding(published, file, access.names.topology)) }
        if published?.cluster == topology.cluster {
            let noted = try NotedEpoch(topology, keys)
            if noted.isAwaited { findings.append(noted.finding(at: access.names.noted)) }
            var series = FindingSeries()
            for missing in try MissingBatches.findElsewhere(file, in: folder, keys) {
                series.add(missing.finding(access.names))
            }
            findings += series.findings
        }
        for epoch in file.earlier {
            for number in 0..<UInt32(epoch.partitions) {
                let partition = PartitionID(epoch: epoch.epoch, number: number)
                let reply = try onRedis { () throws(RedisError) in try keys.inspect(partition) }
                guard case .group(let group) = reply else { continue }
                let place = access.names.group(of: partition)
                if group.length > 0 {
                    findings.append(
                        Finding(
                            nil, place.queue,
                            "\(Humanized.count(group.length)) batches lie in a list of an earlier epoch",
                            "`tallymill repair` sends them to the present one."))
                }
                if !group.sealed {
                    findings.append(
                        Finding(
                            nil, place.meta, "a partition of an earlier epoch is not sealed",
                            "`tallymill repair` seals it: Redis went back to before the rebalance."))
                }
            }
        }
    }

    private static func finding(_ published: Topology?, _ file: ClusterFile, _ key: String) -> Finding {
        let own = file.topology
        guard let published else {
            return Finding(nil, key, "Redis has no topology", "`tallymill repair` sets it from the cluster file.")
        }
        if published.cluster != own.cluster {
            return Finding(
                nil, key, "it belongs to cluster \(published.cluster), the cluster file to \(own.cluster)",
                "Check --redis, --namespace and --data-dir.")
        }
        return Finding(
            nil, key,
            "Redis publishes epoch \(published.epoch) with \(published.partitions) partitions, the cluster file says "
                + "epoch \(own.epoch) with \(own.partitions)",
            published.epoch > own.epoch
                ? "The cluster file is an old copy: use the newest copy of the data folder."
                : "`tallymill repair` sets it from the cluster file.")
    }

    private mutating func checkLeftovers() throws(Failure) {
        if let holder = try FileLock.holder(folder.clusterLockPath) {
            findings.append(
                .note(nil, folder.path, "process \(holder) is changing this cluster: what it leaves is not looked at"))
            return
        }
        findings += try Leftovers.find(in: folder, file)
    }

    // MARK: Keys in two shards

    /// Names each key that is in more than one shard.
    private mutating func findDoubledKeys(_ checks: [ShardCheck]) {
        var series = FindingSeries()
        let folderPath = folder.epochPath(topology.epoch)
        do throws(Failure) {
            try onStore { () throws(StoreError) in
                var shards: [(number: UInt32, counters: CounterCursor)] = []
                for check in checks where check.totals != nil {
                    let counters = try ShardReader(at: check.location.path).counters()
                    shards.append((check.location.partition.number, counters))
                }
                try DoubledKeys.forEach(in: shards) { key, numbers in
                    series.add(doubled(key, in: numbers, folderPath))
                }
            }
        } catch {
            findings.append(Finding(error, partition: nil, otherwise: folderPath))
        }
        findings += series.findings
    }

    private func doubled(_ key: [UInt8], in numbers: [UInt32], _ folderPath: String) -> Finding {
        let files = numbers.map { number in
            DataFolder.shardName(PartitionID(epoch: topology.epoch, number: number), of: topology.partitions)
        }
        let name = key.withUnsafeBytes { shown($0) }
        return Finding(
            nil, folderPath, "the key \(name) is in \(files.joined(separator: " and "))",
            "A report counts it in each: restore the file in which it does not belong from a backup.")
    }
}

extension RedisAccess {
    /// Connects, for reading the keys.
    func keys() throws(Failure) -> ClusterKeys {
        ClusterKeys(connection: try connect(waitingMilliseconds: 0), names: names)
    }
}

extension ClusterKeys {
    private static var tornReadsMax: Int { 3 }

    /// The keys of a partition as of one moment, asked for again when the parts did not fit.
    func wholeLedger<Entry>(
        of partition: PartitionID, _ pages: LedgerPages = LedgerPages(), read: ([UInt8]) -> Entry
    ) throws(RedisError) -> LedgerReply<Entry> {
        for _ in 1..<Self.tornReadsMax {
            let reply = try ledger(of: partition, pages, read: read)
            guard case .torn = reply else { return reply }
        }
        return try ledger(of: partition, pages, read: read)
    }
}
