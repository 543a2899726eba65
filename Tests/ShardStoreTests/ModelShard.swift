// A shard as plain dictionaries, written from PROTOCOL.md and not from the rules' code: what random batches must
// lead to.

import TallyCore

/// A batch before it is encoded.
struct ModelBatch {
    let id: BatchID
    let origin: BatchID?
    let entries: [TestEntry]
    let groups: [(id: String, entries: [TestEntry])]

    /// Every entry with its idempotency id.
    var all: [(id: String?, entry: TestEntry)] {
        entries.map { (nil, $0) } + groups.flatMap { group in group.entries.map { (group.id, $0) } }
    }
}

struct ModelShard {
    private struct Claim: Hashable {
        let id: String
        let key: [UInt8]
    }

    private struct RoutedClaim: Hashable {
        let origin: BatchID
        let key: [UInt8]
    }

    private(set) var counters: [[UInt8]: Int64] = [:]
    private(set) var records: [StreamID: StreamRecord] = [:]
    private(set) var deadLetters = 0
    private var claims: Set<Claim> = []
    private var routed: Set<RoutedClaim> = []

    init(foreign: [StreamID: UInt64] = [:]) {
        for (stream, watermark) in foreign {
            var record = StreamRecord.empty
            record.watermark = watermark
            records[stream] = record
        }
    }

    /// One transaction: a sum for each key where it fits, else one entry after the other.
    mutating func apply(_ batches: [ModelBatch]) {
        var folded = self
        let misfits = folded.apply(batches, entryByEntry: [])
        if misfits.isEmpty { self = folded } else { _ = apply(batches, entryByEntry: misfits) }
    }

    /// The keys whose sums do not fit; then the state is of no use.
    private mutating func apply(_ batches: [ModelBatch], entryByEntry: Set<[UInt8]>) -> Set<[UInt8]> {
        var misfits: Set<[UInt8]> = []
        var sums: [[UInt8]: Int128] = [:]
        for batch in batches where batch.id.sequence == (records[batch.id.stream]?.watermark ?? 0) + 1 {
            var record = records[batch.id.stream] ?? .empty
            record.watermark = batch.id.sequence
            let fresh = freshKeys(of: batch)
            for (id, entry) in batch.all {
                let amount = Amount(increments: entry.increments, sum: Int128(entry.sum))
                record.through += amount
                guard fresh.contains(entry.key),
                    id.map({ claims.insert(Claim(id: $0, key: entry.key)).inserted }) ?? true
                else {
                    record.repeated += amount
                    continue
                }
                let folding = !entryByEntry.contains(entry.key)
                let before = folding ? sums[entry.key, default: 0] : Int128(counters[entry.key] ?? 0)
                let sum = before + Int128(entry.sum)
                if Int64(exactly: sum) == nil {
                    if folding {
                        misfits.insert(entry.key)
                        continue
                    }
                    record.dead += amount
                    deadLetters += 1
                    continue
                }
                record.applied += amount
                if folding { sums[entry.key] = sum } else { counters[entry.key] = Int64(sum) }
            }
            records[batch.id.stream] = record
        }
        for (key, sum) in sums {
            let value = Int64(exactly: Int128(counters[key] ?? 0) + sum)
            if let value { counters[key] = value } else { misfits.insert(key) }
        }
        return misfits
    }

    /// The keys of a batch that no earlier part of its origin has counted.
    private mutating func freshKeys(of batch: ModelBatch) -> Set<[UInt8]> {
        let keys = Set(batch.all.map(\.entry.key))
        guard let origin = batch.origin else { return keys }
        if let record = records[origin.stream], record.watermark >= origin.sequence { return [] }
        return keys.filter { routed.insert(RoutedClaim(origin: origin, key: $0)).inserted }
    }
}
