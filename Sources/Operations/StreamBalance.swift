// The ledger of one stream: what its producer has pushed, what the shard says became of it, and what waits in the list.
//
//   pushed = applied + repeated + dead + lost + queued   in increments and in their sum, and the residual is 0
//   seqs - watermark = batches of the list above the watermark, without holes
//   each of their headers continues the one before it, the first one continues the shard's
//
// The list is read first and the shard after it. What was trimmed meanwhile had been committed before, so the shard
// shows it: whatever the consumer does at the same time, every batch above the shard's watermark that Redis knew is
// in the list that was read. A watermark beyond what Redis knew belongs to batches that came later: under way.
//
// How much a loss was is told by the batch that follows it: what its header says precedes it, less what the shard has.

import RedisQueue
import TallyCore

/// What is kept of an entry of a list.
struct QueuedBatch: Sendable {
    /// nil if it cannot be read.
    let header: BatchHeader?
    /// What its entries add up to; nil if the entry was not read as a whole, or does not decode.
    let amount: Amount?
    /// What is wrong with it, nil if nothing.
    let fault: String?

    /// - Parameter isWhole: whether `bytes` are all of the entry or its first 128.
    init(_ bytes: [UInt8], isWhole: Bool) {
        let read = bytes.withUnsafeBytes { buffer in
            Result { () throws(BatchError) -> (BatchHeader, Amount?) in
                if !isWhole { return (try BatchHeader(reading: buffer), nil) }
                let batch = try BatchReader(buffer)
                return (batch.header, batch.amount)
            }
        }
        switch read {
        case .success((let header, let amount)): self.init(header, amount, nil)
        case .failure(.damaged(let header, let reason)): self.init(header, nil, reason)
        case .failure(.unreadable(let reason)): self.init(nil, nil, reason)
        case .failure(.newerVersion(let version)):
            self.init(
                nil, nil, "format version \(version) is newer than this release, which reads \(BatchFormat.version)")
        }
    }

    private init(_ header: BatchHeader?, _ amount: Amount?, _ fault: String?) {
        self.header = header
        self.amount = amount
        self.fault = fault
    }
}

/// One stream's ledger.
struct StreamBalance: Sendable {
    let producer: ProducerID
    /// The last sequence that Redis knew, 0 if none.
    let pushedThrough: UInt64
    /// What Redis has seen committed, 0 if nothing.
    let confirmedThrough: UInt64
    /// Of the shard.
    let record: StreamRecord
    let losses: StreamLosses
    /// What was declared lost, as far as it is known.
    private(set) var lost: Amount
    /// Batches that were declared lost, and nobody knows yet how much they held.
    private(set) var unknownLostBatches: UInt64
    /// Batches in the list above the watermark.
    private(set) var queuedBatches: UInt64 = 0
    /// What they hold; nil if a hole makes it unknown.
    private(set) var queued: Amount? = Amount.zero
    /// What was pushed through the last batch that is known; nil if that is missing.
    private(set) var pushed: Amount?
    /// Batches that are neither in the shard nor in the list.
    private(set) var missing: [ClosedRange<UInt64>] = []
    /// What must not be, as sentences.
    private(set) var faults: [String] = []

    /// - Parameter batches: those of the list, oldest first.
    init(
        _ producer: ProducerID, pushed: UInt64?, confirmed: UInt64?, record: StreamRecord?,
        losses: StreamLosses = .none,
        batches: [QueuedBatch]
    ) {
        self.producer = producer
        pushedThrough = pushed ?? 0
        confirmedThrough = confirmed ?? 0
        self.record = record ?? .empty
        self.losses = losses
        lost = losses.amount
        unknownLostBatches = losses.unknownBatches
        checkOrder(batches)
        follow(batches)
    }

    /// All that the shard has taken in, whatever became of it.
    var stored: Amount { record.applied + record.repeated + record.dead }

    /// The shard has batches that Redis did not know when it was read.
    var isAhead: Bool {
        record.watermark > pushedThrough && !losses.covers(pushedThrough + 1...record.watermark)
    }

    /// Headers do not tell how much is missing, or was lost before the first of them.
    var needsEntries: Bool { !missing.isEmpty || unknownLostBatches > 0 && queuedBatches > 0 }

    /// What was pushed and is nowhere; nil if it is not known how much that is.
    var residual: Amount? {
        guard let pushed, let queued else { return nil }
        return pushed - stored - lost - queued
    }

    var missingBatches: UInt64 { missing.reduce(0) { $0 + $1.upperBound - $1.lowerBound + 1 } }

    var isBalanced: Bool { missing.isEmpty && residual == .zero }

    /// Sequences as the beginning of a sentence: "batch 4 was", "batches 4, 7-9 were".
    static func text(_ ranges: [ClosedRange<UInt64>]) -> String {
        let isOne = ranges.count == 1 && ranges[0].lowerBound == ranges[0].upperBound
        return (isOne ? "batch " : "batches ") + numbers(ranges) + (isOne ? " was" : " were")
    }

    /// "4, 7-9".
    static func numbers(_ ranges: [ClosedRange<UInt64>]) -> String {
        ranges.map { range in
            range.lowerBound == range.upperBound ? "\(range.lowerBound)" : "\(range.lowerBound)-\(range.upperBound)"
        }.joined(separator: ", ")
    }

    private mutating func checkOrder(_ batches: [QueuedBatch]) {
        var last: UInt64 = 0
        for batch in batches {
            guard let sequence = batch.header?.id.sequence else { continue }
            if sequence <= last { faults.append("batch \(sequence) comes after batch \(last) in the list") }
            last = max(last, sequence)
            // A batch that is committed and still in the list shows what the shard's ledger must say there.
            if sequence == record.watermark, let header = batch.header, header.cumulative != record.through {
                faults.append(
                    "through batch \(sequence) the shard's ledger says \(record.through.text), the batch itself "
                        + header.cumulative.text)
            }
        }
        if last > pushedThrough {
            faults.append("batch \(last) is in the list, but the last one that was pushed is \(pushedThrough)")
        }
        if confirmedThrough > record.watermark {
            let range = StreamBalance.text([record.watermark + 1...confirmedThrough])
            faults.append("\(range) committed once, and the file does not hold that")
        }
    }

    /// Walks over the batches above the watermark.
    private mutating func follow(_ batches: [QueuedBatch]) {
        var expected = record.watermark + 1
        var through = record.through
        for batch in batches {
            guard let header = batch.header, header.id.sequence >= expected else { continue }
            let isFirst = queuedBatches == 0
            queuedBatches += 1
            let sequence = header.id.sequence
            if sequence > expected {
                missing.append(expected...sequence - 1)
                add(batch.amount)
            } else if isFirst, unknownLostBatches > 0 {
                add(batch.amount)
                if let own = batch.amount {
                    lost += header.cumulative - through - own
                    unknownLostBatches = 0
                }
            } else {
                let amount = header.cumulative - through
                if let own = batch.amount, own != amount {
                    faults.append(
                        "batch \(sequence) does not continue the ledger: \(through.text) precede it, by its own "
                            + "account " + (header.cumulative - own).text)
                } else if amount.increments == 0 {
                    faults.append("batch \(sequence) adds nothing to the ledger")
                }
                add(batch.amount ?? amount)
            }
            through = header.cumulative
            expected = sequence + 1
        }
        if expected <= pushedThrough {
            missing.append(expected...pushedThrough)
        } else {
            pushed = through
        }
    }

    private mutating func add(_ amount: Amount?) {
        guard let before = queued, let amount else { return queued = nil }
        queued = before + amount
    }
}

extension StreamBalance {
    /// The balances of all streams of a partition that Redis or the shard knows, in the order of their producers' ids.
    static func all(
        in ledger: QueueLedger<QueuedBatch>, of partition: PartitionID, _ shard: ShardSide
    ) -> [StreamBalance] {
        let records = shard.records
        var batches: [ProducerID: [QueuedBatch]] = [:]
        for entry in ledger.entries {
            guard let stream = entry.header?.id.stream, stream.partition == partition else { continue }
            batches[stream.producer, default: []].append(entry)
        }
        let producers = Set(records.keys).union(ledger.seqs.keys).union(ledger.applied.keys).union(batches.keys)
        return producers.map { (name: $0.description, id: $0) }.sorted { $0.name < $1.name }.map { producer in
            StreamBalance(
                producer.id, pushed: ledger.seqs[producer.id], confirmed: ledger.applied[producer.id],
                record: records[producer.id], losses: shard.losses[producer.id] ?? .none,
                batches: batches[producer.id] ?? [])
        }
    }
}

extension Amount {
    /// For sentences.
    var text: String { "\(increments) \(increments == 1 ? "increment" : "increments") (sum \(sum))" }
}
