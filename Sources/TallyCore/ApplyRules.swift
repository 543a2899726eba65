// What one apply transaction does: which batches count, which of their increments, and what is written down.
//
// The rules are PROTOCOL.md's. A batch counts if its sequence is the watermark's successor. A re-routed batch counts
// only where neither the watermark of its origin's stream nor an earlier part with the same (origin, key) did.
// Idempotent increments count once per (idempotency key, key). Everything else is a sum.
//
// The work is folded: plain sums of many batches are added up in memory and written once per key, in key order,
// because a commit costs the pages that it touches. Where the sum of a key would leave Int64 nothing of that key is
// written; its entries are looked for in the batches again and added one by one, which finds out exactly which
// increments are the ones that do not fit. So a counter that is full costs its own entries and one more walk over the
// batches, and the other keys nothing. Should there be very many of such entries the caller rolls back and runs the
// first of the batches alone, entry by entry.

/// One run of the rules over a peeked list.
public struct ApplyRules<Tables: ShardTables> {
    private let partition: PartitionID
    private let time: UInt64
    private let folding: Bool
    private var outcome = Applied()
    private var fold = Fold()
    /// Records read or changed by this transaction.
    private var records: [StreamID: StreamRecord] = [:]
    private var changed: Set<StreamID> = []
    /// What lies in `fold`, batch by batch.
    private var folded: [FoldedBatch] = []

    private struct FoldedBatch {
        /// Among those of the transaction.
        let index: Int
        let header: BatchHeader
        /// Of each entry, whether it was folded; nil if all were.
        var taken: [Bool]?
    }

    /// Applies `batches`, oldest first, within the transaction behind `tables`.
    ///
    /// It may stop before the last of them, at a bound or an alarm: `committed` names those that it took.
    ///
    /// - Parameters:
    ///   - partition: the file's own partition.
    ///   - time: now, in ms since 1970: what changed counters are stamped with.
    ///   - folding: false only after `.tooManyMisfits`, and then for the `head` of the batches.
    ///   - keysMax: distinct keys at which no further batch is taken.
    ///   - misfitsMax: entries of keys whose folded sum does not fit, beyond which folding is given up.
    public static func apply(
        _ batches: [[UInt8]], to tables: inout Tables, partition: PartitionID, time: UInt64, folding: Bool = true,
        keysMax: Int = Limits.transactionKeys, misfitsMax: Int = Limits.transactionMisfits
    ) throws(Tables.Failure) -> ApplyOutcome {
        if try tables.isRetired() { return .retired }
        var rules = ApplyRules(partition: partition, time: time, folding: folding)
        if folding { rules.fold.reserve(payloadBytes: batches.reduce(0) { $0 + $1.count }) }
        for (index, bytes) in batches.enumerated() {
            if rules.fold.count >= keysMax { break }
            if let alarm = try rules.apply(bytes, index, &tables) {
                // What precedes it is sound: commit that, and meet the alarm at the head of the list.
                if rules.outcome.committed.isEmpty { return .stop(alarm) }
                break
            }
        }
        return try rules.finish(batches, misfitsMax, &tables) ? .commit(rules.outcome) : .tooManyMisfits
    }

    /// The batches that are applied entry by entry after `.tooManyMisfits`, unsorted and each increment on its own: few
    /// enough to take little time. The others are folded the next time.
    public static func head(of batches: [[UInt8]]) -> [[UInt8]] {
        var bytes = 0
        return Array(
            batches.prefix { batch in
                defer { bytes += batch.count }
                return bytes < Limits.peekBytes
            })
    }

    private init(partition: PartitionID, time: UInt64, folding: Bool) {
        self.partition = partition
        self.time = time
        self.folding = folding
    }

    private mutating func apply(
        _ bytes: [UInt8], _ index: Int, _ tables: inout Tables
    ) throws(Tables.Failure) -> ApplyAlarm? {
        let read = bytes.withUnsafeBytes { buffer in
            Result { () throws(BatchError) in try BatchHeader(reading: buffer) }
        }
        switch read {
        case .failure(.newerVersion(let version)): return .newerVersion(version)
        case .failure(.unreadable(let reason)): return .unreadable(reason)
        case .failure(.damaged(let header, _)), .success(let header):
            return try apply(bytes, index, header, &tables)
        }
    }

    private mutating func apply(
        _ bytes: [UInt8], _ index: Int, _ header: BatchHeader, _ tables: inout Tables
    ) throws(Tables.Failure) -> ApplyAlarm? {
        let stream = header.id.stream
        guard stream.partition == partition else { return .wrongPartition(header.id, expected: partition) }
        var record = try self.record(of: stream, &tables)
        if header.id.sequence > record.watermark + 1 { return .hole(header.id, watermark: record.watermark) }
        if header.id.sequence <= record.watermark {
            outcome.skippedBatches += 1
        } else {
            let done = try count(bytes, index, header, after: record.through, &tables)
            record.watermark = header.id.sequence
            record.through = header.cumulative
            record.applied += done.applied
            record.repeated += done.repeated
            record.dead += done.dead
            outcome.applied += done.applied
            outcome.repeated += done.repeated
            outcome.dead += done.dead
            records[stream] = record
            changed.insert(stream)
        }
        outcome.committed.append(header.id)
        outcome.watermarks[stream.producer] = record.watermark
        return nil
    }

    private struct Done {
        var applied = Amount.zero
        var repeated = Amount.zero
        var dead = Amount.zero
    }

    /// Counts the entries of one batch that is not below the watermark.
    private mutating func count(
        _ bytes: [UInt8], _ index: Int, _ header: BatchHeader, after through: Amount, _ tables: inout Tables
    ) throws(Tables.Failure) -> Done {
        let promised = header.cumulative - through
        var damage = "its entries do not add up to what its ledger says"
        var failure: Tables.Failure?
        let done: Done? = bytes.withUnsafeBytes { buffer in
            do throws(BatchError) {
                let batch = try BatchReader(buffer)
                do throws(Tables.Failure) {
                    if batch.amount != promised {
                        let lost = promised - batch.amount
                        guard try tables.settleLoss(before: header.id, amount: lost) else { return nil }
                    }
                    return try count(batch, index, &tables)
                } catch { failure = error }
            } catch {
                if case .damaged(_, let reason) = error { damage = reason }
            }
            return nil
        }
        if let failure { throw failure }
        if let done { return done }
        try tables.bury(
            DeadLetter(
                batch: header.id, reason: .damaged, detail: damage, idempotencyKey: nil, key: nil, amount: promised,
                payload: bytes),
            time: time)
        return Done(dead: promised)
    }

    private mutating func count(
        _ batch: BatchReader, _ index: Int, _ tables: inout Tables
    ) throws(Tables.Failure) -> Done {
        guard let origin = batch.header.origin else {
            if !folding || batch.header.groups > 0 { return try count(batch, index, routed: nil, &tables) }
            // Nearly every batch: nothing to claim, so nothing to ask for each entry.
            fold.add(batch)
            folded.append(FoldedBatch(index: index, header: batch.header, taken: nil))
            return Done(applied: batch.amount)
        }
        let isCovered = try record(of: origin.stream, &tables).watermark >= origin.sequence
        if try isCovered ? true : tables.isLost(origin) { return Done(repeated: batch.amount) }
        let isForgotten = try origin.stream.partition.epoch <= tables.forgottenEpoch()
        return try count(
            batch, index, routed: try claimKeys(of: batch, origin: origin, &tables), isForgotten: isForgotten, &tables)
    }

    /// Claims each distinct key of a re-routed batch; true for those that no earlier part has counted.
    private func claimKeys(
        of batch: BatchReader, origin: BatchID, _ tables: inout Tables
    ) throws(Tables.Failure) -> [Key: Bool] {
        var fresh: [Key: Bool] = [:]
        try batch.forEach { entry throws(Tables.Failure) in
            let key = Key(validated: Array(entry.key))
            if fresh[key] == nil { fresh[key] = try tables.claimRouted(origin: origin, key: entry.key) }
        }
        return fresh
    }

    /// - Parameter isForgotten: whether nobody knows any more if it was counted before it was re-routed. Then each of
    ///   its increments is buried once, however often it still arrives.
    private mutating func count(
        _ batch: BatchReader, _ index: Int, routed: [Key: Bool]?, isForgotten: Bool = false, _ tables: inout Tables
    ) throws(Tables.Failure) -> Done {
        let header = batch.header
        var done = Done()
        var taken: [Bool] = []
        try batch.forEach { entry throws(Tables.Failure) in
            let amount = Amount(increments: entry.increments, sum: Int128(entry.sum))
            let isRouted = routed.map { $0[Key(validated: Array(entry.key))] ?? false } ?? true
            var claim = isRouted ? IdempotentClaim.new : .repeated
            if isRouted, let idempotencyKey = entry.idempotencyKey {
                claim = try tables.claimIdempotent(idempotencyKey, key: entry.key, sent: header.frozenAt)
            }
            if folding { taken.append(claim == .new && !isForgotten) }
            switch claim {
            case .repeated: done.repeated += amount
            case .new where isForgotten, .tooLate where isForgotten:
                try setAside(
                    entry, of: header.id, .forgotten,
                    "epoch \(header.origin?.stream.partition.epoch ?? 0), from which it comes, was purged", &done,
                    &tables)
            case .new where try add(entry, &tables): done.applied += amount
            case .new: try setAside(misfit: entry, of: header.id, &done, &tables)
            case .tooLate:
                try setAside(
                    entry, of: header.id, .late,
                    "it was sent at \(header.frozenAt), and claims from then have been forgotten", &done, &tables)
            }
        }
        if folding { folded.append(FoldedBatch(index: index, header: header, taken: taken)) }
        return done
    }

    /// False if the entry does not fit.
    private mutating func add(_ entry: BatchReader.Entry, _ tables: inout Tables) throws(Tables.Failure) -> Bool {
        if folding {
            fold.add(entry.key, delta: entry.sum)
            return true
        }
        return try write(entry, &tables)
    }

    private mutating func write(_ entry: BatchReader.Entry, _ tables: inout Tables) throws(Tables.Failure) -> Bool {
        if try tables.add(entry.sum, to: entry.key, time: time) {
            outcome.keys += 1
            return true
        }
        return false
    }

    private func setAside(
        misfit entry: BatchReader.Entry, of batch: BatchID, _ done: inout Done, _ tables: inout Tables
    ) throws(Tables.Failure) {
        try setAside(
            entry, of: batch, .overflow, "adding \(entry.sum) would leave the range of Int64", &done, &tables)
    }

    /// Puts what cannot be counted into the dead letters. The replay of a letter has one there already, which stays:
    /// it counts as repeated, and its claim is given back, so that the letter can be replayed again.
    private func setAside(
        _ entry: BatchReader.Entry, of batch: BatchID, _ reason: DeadLetter.Reason, _ detail: String,
        _ done: inout Done, _ tables: inout Tables
    ) throws(Tables.Failure) {
        let amount = Amount(increments: entry.increments, sum: Int128(entry.sum))
        if let claim = entry.idempotencyKey, ToolClaim(claim) == .deadLetter {
            try tables.releaseClaim(claim, key: entry.key)
            done.repeated += amount
            return
        }
        done.dead += amount
        try tables.bury(
            DeadLetter(
                batch: batch, reason: reason, detail: detail, idempotencyKey: entry.idempotencyKey.map { Array($0) },
                key: Array(entry.key), amount: amount, payload: []),
            time: time)
    }

    /// Writes the folded sums and the records; false if too much does not fit.
    private mutating func finish(
        _ batches: [[UInt8]], _ misfitsMax: Int, _ tables: inout Tables
    ) throws(Tables.Failure) -> Bool {
        var misfits = KeyTable()
        try fold.drainInKeyOrder { key, sum throws(Tables.Failure) in
            if let sum, try tables.add(sum, to: key, time: time) { return }
            misfits.add(key, hash: XXH64.hash(key), delta: 0)
        }
        outcome.keys += fold.count - misfits.count
        if !misfits.isEmpty, try !add(&misfits, of: batches, misfitsMax, &tables) { return false }
        for stream in changed {
            if let record = records[stream] { try tables.setRecord(record, of: stream) }
        }
        return true
    }

    /// Adds, one by one and in their order, the entries that were folded into sums that do not fit. They are in the
    /// ledger as applied; those that are not are taken out again. False if there are more than `misfitsMax`.
    private mutating func add(
        _ keys: inout KeyTable, of batches: [[UInt8]], _ misfitsMax: Int, _ tables: inout Tables
    ) throws(Tables.Failure) -> Bool {
        var left = misfitsMax
        for batch in folded {
            var failure: Tables.Failure?
            batches[batch.index].withUnsafeBytes { bytes in
                do throws(Tables.Failure) {
                    try add(&keys, of: batch, bytes, &left, &tables)
                } catch { failure = error }
            }
            if let failure { throw failure }
            if left < 0 { return false }
        }
        return true
    }

    private mutating func add(
        _ keys: inout KeyTable, of batch: FoldedBatch, _ bytes: UnsafeRawBufferPointer, _ left: inout Int,
        _ tables: inout Tables
    ) throws(Tables.Failure) {
        var done = Done()
        var place = 0
        try BatchReader.forEach(ofVerified: bytes, batch.header) { entry throws(Tables.Failure) in
            let isFolded = batch.taken?[place] ?? true
            place += 1
            guard isFolded, left >= 0, keys.contains(entry.key, hash: XXH64.hash(entry.key)) else { return }
            left -= 1
            if left < 0 { return }
            if try write(entry, &tables) { return }
            try setAside(misfit: entry, of: batch.header.id, &done, &tables)
        }
        correct(batch.header.id.stream, done)
    }

    /// Takes what turned out to be repeated or dead out of what was taken for applied.
    private mutating func correct(_ stream: StreamID, _ done: Done) {
        let amount = done.repeated + done.dead
        if amount == .zero { return }
        guard var record = records[stream] else { preconditionFailure("a stream that was counted has a record") }
        record.applied = record.applied - amount
        record.repeated += done.repeated
        record.dead += done.dead
        records[stream] = record
        outcome.applied = outcome.applied - amount
        outcome.repeated += done.repeated
        outcome.dead += done.dead
    }

    private mutating func record(
        of stream: StreamID, _ tables: inout Tables
    ) throws(Tables.Failure) -> StreamRecord {
        if let known = records[stream] { return known }
        let record = try tables.record(of: stream) ?? .empty
        records[stream] = record
        return record
    }
}
