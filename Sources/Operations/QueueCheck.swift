// One partition's keys in Redis, held against its shard: read before the shard, see StreamBalance.swift.

import RedisQueue
import ServiceKit
import TallyCore

/// The shard's part of a comparison.
struct ShardSide: Sendable {
    let path: String
    let uuid: ShardUUID
    /// Of its own streams.
    let records: [ProducerID: StreamRecord]
    /// Of them, what was declared lost.
    var losses: [ProducerID: StreamLosses] = [:]
}

/// What a look at the keys of one partition has found.
struct QueueCheck: Sendable {
    let partition: PartitionID
    let group: KeyGroup
    private(set) var findings: [Finding] = []

    init(_ partition: PartitionID, _ names: KeyNames) {
        self.partition = partition
        group = names.group(of: partition)
    }

    private mutating func found(_ place: String, _ what: String, _ advice: String) {
        findings.append(Finding(partition.number, place, what, advice))
    }

    mutating func missesGroup() {
        found(
            group.meta, "the partition has no keys in Redis",
            "`tallymill repair` makes them; until then its requests are refused.")
    }

    mutating func isTorn() {
        found(
            group.queue, "the list could not be read as of one moment, three times",
            "Somebody changes the keys by hand, or the list grows faster than it can be read: run this again later.")
    }

    /// What can be said about the list without the shard.
    mutating func check(_ ledger: QueueLedger<QueuedBatch>, _ epochs: KnownEpochs) {
        if ledger.isSealed {
            found(
                group.meta, "the partition is sealed, though its epoch is the current one",
                "A rebalance may have been interrupted: `tallymill rebalance resume`, or `tallymill repair`.")
        }
        if ledger.bytes != ledger.entryBytes {
            found(
                group.meta, "it counts \(ledger.bytes) bytes in the list, which holds \(ledger.entryBytes)",
                "Somebody changed the list or the count by hand. The count decides when the partition is full: "
                    + "`HSET \(group.meta) bytes \(ledger.entryBytes)` while no node pushes sets it right.")
        }
        var series = FindingSeries()
        for (index, entry) in ledger.entries.enumerated() {
            if let problem = problem(of: entry, epochs) {
                series.add(Finding(partition.number, group.queue, "entry \(index) \(problem.what)", problem.advice))
            }
        }
        findings += series.findings
    }

    private func problem(of entry: QueuedBatch, _ epochs: KnownEpochs) -> (what: String, advice: String)? {
        guard let header = entry.header else {
            return (
                "is no batch: \(entry.fault ?? "it is unreadable")",
                "The consumer stops before it. Restore Redis from its newest copy if that has it whole; else "
                    + "`tallymill repair` names it and takes it away."
            )
        }
        if let fault = entry.fault {
            return (
                "(batch \(header.id)) is damaged: \(fault)",
                "The consumer puts it into the dead letters, where its increments stay visible and are not counted."
            )
        }
        if header.id.stream.partition != partition {
            return (
                "(batch \(header.id)) belongs to another partition",
                "The consumer stops before it. Somebody moved it by hand: move it back; or `tallymill repair` takes it"
                    + " away."
            )
        }
        guard let origin = header.origin else { return nil }
        let place = origin.stream.partition
        return epochs.problem(epoch: Int64(place.epoch), partition: Int64(place.number)).map {
            (
                "(batch \(header.id)) has the origin \(origin): \($0)",
                "It may come from another cluster that uses the same namespace."
            )
        }
    }

    /// The list against the shard.
    mutating func compare(
        _ ledger: QueueLedger<QueuedBatch>, _ look: QueueReading, with shard: ShardSide,
        _ balances: [StreamBalance]
    ) {
        if ledger.shard != shard.uuid {
            found(
                group.meta, "it feeds the shard \(ledger.shard), and \(shard.path) is \(shard.uuid)",
                "Another copy of this shard is in use: put that one back, or run `tallymill repair` if this one is to "
                    + "stay.")
        }
        let missing = MissingBatches.find(
            look, watermarks: shard.records.mapValues(\.watermark), in: partition)
        var series = FindingSeries()
        for balance in balances {
            let own = missing.filter { $0.stream.producer == balance.producer }
            for fault in balance.faults { series.add(finding(fault, of: balance, shard, own)) }
            if let fault = balance.missingText { series.add(finding(fault, of: balance, shard, own)) }
        }
        for range in missing where range.reason == .released { series.add(finding(range, shard)) }
        findings += series.findings
    }

    private func finding(
        _ fault: String, of balance: StreamBalance, _ shard: ShardSide, _ missing: [MissingBatches]
    ) -> Finding {
        let isOld = balance.confirmedThrough > balance.record.watermark
        return Finding(
            partition.number, isOld ? shard.path : group.queue, "producer \(balance.producer): \(fault)",
            (isOld
                ? "The file was replaced by an older copy, or its watermark was altered: put back the newest copy."
                : "Keys of this partition were changed by hand, or Redis lost part of them: if there is a newer copy "
                    + "of Redis' data, put it back.") + MissingBatches.wayOn(missing))
    }

    private func finding(_ missing: MissingBatches, _ shard: ShardSide) -> Finding {
        Finding(
            partition.number, shard.path,
            "producer \(missing.stream.producer): \(StreamBalance.text([missing.sequences])) released by its web node, "
                + "and neither the list nor the shard, which holds batches through \(missing.watermark), has that: "
                + "what it sends to this partition is refused",
            "File and Redis went back together: put back the newest copy of the file."
                + MissingBatches.wayOn([missing]))
    }

    /// Streams of which the shard holds more than Redis knows, though Redis was asked after the shard.
    mutating func note(ahead balances: [StreamBalance], knownLater: [ProducerID: UInt64]) {
        let ahead = balances.filter { $0.isAhead && $0.record.watermark > knownLater[$0.producer] ?? 0 }
        guard let first = ahead.first else { return }
        let more = ahead.count > 1 ? ", and so with \(ahead.count - 1) more" : ""
        findings.append(
            .note(
                partition.number, group.seqs,
                "of producer \(first.producer) Redis knows batches through \(knownLater[first.producer] ?? 0), the "
                    + "shard holds them through \(first.record.watermark)\(more): Redis went back in time, which lost "
                    + "nothing, or the watermark was altered"))
    }
}

extension StreamBalance {
    /// What is missing beside what the file should hold; nil if nothing.
    var missingText: String? {
        let ranges = missing.compactMap { range -> ClosedRange<UInt64>? in
            // Those that were committed once are told by another sentence.
            if range.upperBound <= confirmedThrough { return nil }
            return max(range.lowerBound, confirmedThrough + 1)...range.upperBound
        }
        if ranges.isEmpty { return nil }
        return "\(StreamBalance.text(ranges)) pushed, and neither the list nor the shard, which holds batches through "
            + "\(record.watermark), has that"
    }
}
