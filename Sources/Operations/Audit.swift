// `audit`: the ledger of PROTOCOL.md, by producer and partition. Everything that was pushed is applied, repeated, dead,
// lost (as an operator has accepted) or queued, and the sum of the counters is what was carried over, imported and
// applied.
//
// The order of reading is what makes it exact while everything runs: first Redis, each partition as of one moment; then
// the nodes, which hold at least what Redis knew of them; then the shards, which hold at least what had been trimmed.
// A stream that the shard has further than Redis showed has moved meanwhile: its later batches are under way, and the
// audit is about those before them.
//
// Headers are enough to add up a list without holes. Where batches are missing or were lost, the list is read again
// with whole entries, because only those say how much that is.

import RedisQueue
public import ServiceKit
import ShardConsumer
public import ShardStore
public import TallyCore

/// The answers of one web node.
public struct NodeLedger: Hashable, Sendable {
    /// Its address, for messages.
    public let address: String
    /// One for each of its event loops.
    public let producers: [ProducerLedger]

    public init(address: String, producers: [ProducerLedger]) {
        self.address = address
        self.producers = producers
    }
}

/// What an audit has found.
public struct Audit: Sendable {
    /// One partition's ledger.
    public struct Partition: Sendable {
        public let number: UInt32
        /// In the order of the producers' ids; empty if the shard or the keys could not be read.
        let streams: [StreamBalance]
        /// What the counters held before the first batch; nil if the shard could not be read.
        public let start: ShardStart?
        /// Of the counters, by scan.
        public let totals: ShardTotals?
        let findings: [Finding]
        /// What was declared lost of streams of earlier epochs; the same in every shard.
        let earlierLosses: [StreamLoss]
        /// SQLite cannot make sense of the shard.
        let isUnreadable: Bool
        /// Both sides could be read.
        let isCompared: Bool
    }

    public let topology: Topology
    public let partitions: [Partition]
    public let nodes: [NodeLedger]
    public private(set) var findings: [Finding]

    /// Audits the cluster in a folder.
    ///
    /// - Parameters:
    ///   - nodes: asks the web nodes; called once, between Redis and the shards.
    ///   - progress: gets the partitions done, and how many there are.
    /// - Throws: 78 if there is no cluster or it is being rebuilt, 69 if Redis is unreachable, 75 if the epoch changed
    ///   meanwhile, and what `nodes` throws.
    public init(
        _ folder: DataFolder, _ access: RedisAccess, nodes ask: () throws(Failure) -> [NodeLedger] = { [] },
        progress: (Int, Int) -> Void = { _, _ in }
    ) throws(Failure) {
        let file = try folder.readyClusterFile()
        topology = file.topology
        let look = AuditLook(folder: folder, file: file, access: access)
        let keys = try access.keys()
        var replies: [QueueReading] = []
        for partition in topology.partitionIDs {
            replies.append(try QueueReading(partition, keys, isWhole: false))
        }
        let nodes = try ask()
        self.nodes = nodes
        let partitions = try look.partitions(replies, nodes, progress)
        self.partitions = partitions
        guard try folder.readClusterFile() == file else {
            throw Failure(
                .locked, "the cluster changed while it was audited", at: folder.clusterFilePath,
                advice: "Run this again when the rebalance has ended.")
        }
        let topology = file.topology
        findings =
            partitions.flatMap(\.findings) + Self.earlierLosses(partitions, topology, folder)
            + nodes.flatMap { NodeCheck.contradictions($0, partitions, topology) + NodeCheck.epochs(of: $0, topology) }
    }

    /// With commands that can be pasted.
    public func completed(by given: GivenOptions) -> Audit {
        var told = self
        told.findings = findings.map { $0.completed(by: given) }
        return told
    }

    /// Streams that have moved while they were read.
    public var movedStreams: Int { partitions.reduce(0) { $0 + $1.streams.count { $0.isAhead } } }

    /// Pushed and nowhere, over all streams of which it is known how much.
    public var residual: Amount {
        partitions.reduce(.zero) { $0 + $1.sums.residual }
    }

    /// Batches that were pushed and are nowhere.
    public var missingBatches: UInt64 { partitions.reduce(0) { $0 + $1.sums.missingBatches } }

    /// What was declared lost, as far as it is known.
    public var lost: Amount { partitions.reduce(.zero) { $0 + $1.sums.lost } }

    /// Batches that were declared lost.
    public var lostBatches: UInt64 { partitions.reduce(0) { $0 + $1.sums.lostBatches } }

    public var isBalanced: Bool {
        findings.errors.isEmpty && partitions.allSatisfy { $0.streams.allSatisfy(\.isBalanced) }
    }

    public var exitCode: ExitCode {
        if partitions.contains(where: \.isUnreadable) { return .corrupt }
        return isBalanced ? .ok : .partial
    }
}

/// The sums of several streams.
struct StreamSums {
    var pushed = Amount.zero
    var applied = Amount.zero
    var repeated = Amount.zero
    var dead = Amount.zero
    var lost = Amount.zero
    var lostBatches: UInt64 = 0
    /// Of them, those of which nobody knows yet how much they held.
    var unknownLostBatches: UInt64 = 0
    var queued = Amount.zero
    var residual = Amount.zero
    var queuedBatches: UInt64 = 0
    var missingBatches: UInt64 = 0
    /// Streams of which it is not known how much is missing.
    var unknown = 0

    mutating func add(_ stream: StreamBalance) {
        applied += stream.record.applied
        repeated += stream.record.repeated
        dead += stream.record.dead
        lost += stream.lost
        lostBatches += stream.losses.batches
        unknownLostBatches += stream.unknownLostBatches
        queuedBatches += stream.queuedBatches
        missingBatches += stream.missingBatches
        queued += stream.queued ?? .zero
        if let amount = stream.pushed, let residual = stream.residual {
            pushed += amount
            self.residual += residual
        } else {
            pushed += stream.stored + stream.lost + (stream.queued ?? .zero)
            unknown += 1
        }
    }

    static func of(_ streams: some Sequence<StreamBalance>) -> StreamSums {
        var sums = StreamSums()
        for stream in streams { sums.add(stream) }
        return sums
    }
}

extension Audit.Partition {
    var sums: StreamSums { StreamSums.of(streams) }
}

/// The shards' part of an audit.
private struct AuditLook {
    let folder: DataFolder
    let file: ClusterFile
    let access: RedisAccess

    /// What one snapshot of a shard says.
    private struct Shard {
        let side: ShardSide
        let start: ShardStart
        let totals: ShardTotals
        let earlierLosses: [StreamLoss]
    }

    func partitions(
        _ replies: [QueueReading], _ nodes: [NodeLedger], _ progress: (Int, Int) -> Void
    ) throws(Failure) -> [Audit.Partition] {
        let done = StepCount()
        return try Workers.map(replies.count, name: "audit", tick: { progress(done.value, replies.count) }) {
            number, _ throws(Failure) in
            defer { done.add(1) }
            // A connection only where batches are missing or streams have moved.
            return try look(at: UInt32(number), replies[number], nodes) { () throws(Failure) in try access.keys() }
        }
    }

    private func look(
        at number: UInt32, _ queue: QueueReading, _ nodes: [NodeLedger],
        keys: () throws(Failure) -> ClusterKeys
    ) throws(Failure) -> Audit.Partition {
        let location = folder.shard(number, of: file.topology)
        var check = QueueCheck(location.partition, access.names)
        let shard: Shard
        do throws(Failure) {
            shard = try onStore { () throws(StoreError) in try read(location) }
        } catch {
            let finding = Finding(error, partition: number, otherwise: location.path)
            return Audit.Partition(
                number: number, streams: [], start: nil, totals: nil, findings: [finding], earlierLosses: [],
                isUnreadable: error.code == .corrupt, isCompared: false)
        }
        guard case .ledger(let ledger) = queue.ledger else {
            if case .torn = queue.ledger { check.isTorn() } else { check.missesGroup() }
            return partition(number, nil, shard, check.findings)
        }
        let balances = StreamBalance.all(in: ledger, of: location.partition, shard.side)
        if balances.contains(where: \.needsEntries) {
            return try lookAgain(location, check, nodes, keys())
        }
        if balances.contains(where: \.isAhead) { try note(&check, balances, keys()) }
        check.compare(ledger, queue, with: shard.side, balances)
        return partition(number, balances, shard, check.findings)
    }

    /// With whole entries.
    private func lookAgain(
        _ location: ShardLocation, _ before: QueueCheck, _ nodes: [NodeLedger], _ keys: ClusterKeys
    ) throws(Failure) -> Audit.Partition {
        var check = before
        let number = location.partition.number
        let queue = try QueueReading(location.partition, keys, isWhole: true)
        let shard = try onStore { () throws(StoreError) in try read(location) }
        guard case .ledger(let ledger) = queue.ledger else {
            if case .torn = queue.ledger { check.isTorn() } else { check.missesGroup() }
            return partition(number, nil, shard, check.findings)
        }
        let balances = StreamBalance.all(in: ledger, of: location.partition, shard.side)
        check.check(ledger, KnownEpochs(file))
        check.compare(ledger, queue, with: shard.side, balances)
        let holders = NodeCheck.holders(of: balances, in: location.partition, nodes)
        return partition(number, balances, shard, check.findings + holders)
    }

    private func note(_ check: inout QueueCheck, _ balances: [StreamBalance], _ keys: ClusterKeys) throws(Failure) {
        let partition = check.partition
        let reply = try onRedis { () throws(RedisError) in
            try keys.wholeLedger(of: partition, .headers) { _ in () }
        }
        if case .ledger(let later) = reply { check.note(ahead: balances, knownLater: later.seqs) }
    }

    private func read(_ location: ShardLocation) throws(StoreError) -> Shard {
        let reader = try ShardReader(at: location.path, expecting: location.expected)
        let losses = try reader.losses()
        return Shard(
            side: ShardSide(
                path: location.path, uuid: reader.identity.uuid, records: try reader.records(of: location.partition),
                losses: losses.byProducer(of: location.partition)),
            start: try reader.start(), totals: try reader.totals(),
            earlierLosses: losses.filter { $0.stream.partition.epoch < location.partition.epoch })
    }

    /// The last check: the counters against the ledger.
    private func partition(
        _ number: UInt32, _ balances: [StreamBalance]?, _ shard: Shard, _ findings: [Finding]
    ) -> Audit.Partition {
        var findings = findings
        let applied = shard.side.records.values.reduce(Int128(0)) { $0 &+ $1.applied.sum }
        let ledger = shard.start.carried.sum &+ shard.start.imported.sum &+ applied
        if ledger != shard.totals.sum {
            findings.append(
                Finding(
                    number, shard.side.path,
                    "its counters add up to \(shard.totals.sum), carried over, imported and applied are \(ledger)",
                    "Something else than its consumer changed counters or ledger: `tallymill verify` looks closer; "
                        + "restore the file from a backup."))
        }
        for stream in balances ?? [] where stream.record.through != stream.stored + stream.losses.amount {
            let lost = stream.losses.batches > 0 ? ", dead and lost" : " and dead"
            findings.append(
                Finding(
                    number, shard.side.path,
                    "producer \(stream.producer): \(stream.record.through.text) were taken in; applied, repeated"
                        + "\(lost) are \((stream.stored + stream.losses.amount).text)",
                    "Something else than its consumer changed the ledger: restore the file from a backup."))
        }
        return Audit.Partition(
            number: number, streams: balances ?? [], start: shard.start, totals: shard.totals, findings: findings,
            earlierLosses: shard.earlierLosses, isUnreadable: false, isCompared: balances != nil)
    }
}
