// One new shard, put together: counters that are carried, in one merge, and beside them those that come from outside.
// Where both have a key the values are added; what would leave Int64 becomes a dead letter, as everywhere.

import ServiceKit
import ShardConsumer
import ShardStore
import TallyCore

/// The counters of one new shard on their way into its file.
struct ShardAssembly {
    private let builder: ShardBuilder
    private var carried: KeyMerge<CarriedCounters>
    private let imported: ImportedRows?
    private let time: UInt64
    private var steps: ProgressSteps
    /// Of the carried counters alone.
    private(set) var carriedSum: Int128 = 0
    /// What the file's digest has more than that of the carried counters.
    private(set) var difference = RowDigest.empty
    /// What was added from outside, and what could not be.
    private(set) var importedAmount = Amount.zero
    private(set) var buried = Amount.zero
    private(set) var letters = 0

    /// Entries for one shard, and who they come from.
    struct ImportedRows {
        let entries: any SortedSource
        /// How many increments they are made of.
        let increments: UInt64
        /// Dead letters name it.
        let batch: BatchID
    }

    init(
        _ builder: ShardBuilder, _ carried: [CarriedCounters], _ imported: ImportedRows?, time: UInt64,
        _ steps: ProgressSteps
    ) throws(Failure) {
        self.builder = builder
        self.carried = try KeyMerge(carried)
        self.imported = imported
        self.time = time
        self.steps = steps
    }

    /// Writes all counters.
    mutating func run() throws(Failure) {
        if let imported {
            var entries = imported.entries
            try run(&entries, imported.batch)
            importedAmount.increments = imported.increments - UInt64(letters)
        }
        while carried.current != nil { try appendCarried() }
        try steps.tell()
    }

    /// Writes counters as long as there are entries from outside.
    private mutating func run(_ entries: inout any SortedSource, _ batch: BatchID) throws(Failure) {
        var hasEntry = try entries.next()
        while hasEntry {
            // The entry's bytes go when the next one comes.
            let key = Array(entries.key)
            while let row = carried.current, key.withUnsafeBytes({ Bytes.compare(row.key, $0) < 0 }) {
                try appendCarried()
            }
            var sum = Sum()
            if let row = carried.current, isSame(row.key, key) {
                sum = Sum(value: row.value, updatedMilliseconds: row.updatedMilliseconds, isCarried: true)
                try carried.advance()
            }
            let old = sum
            repeat {
                try add(entries.value, key, to: &sum, batch)
                hasEntry = try entries.next()
            } while hasEntry && isSame(entries.key, key)
            try append(key, sum, replacing: old)
        }
    }

    private mutating func appendCarried() throws(Failure) {
        guard let row = carried.current else { preconditionFailure("no carried counter is left") }
        try append(row.key, row.value, row.updatedMilliseconds)
        carriedSum += Int128(row.value)
        try carried.advance()
    }

    private struct Sum {
        var value: Int64 = 0
        var updatedMilliseconds: UInt64 = 0
        var isCarried = false
    }

    private func isSame(_ bytes: UnsafeRawBufferPointer, _ key: [UInt8]) -> Bool {
        key.withUnsafeBytes { Bytes.compare(bytes, $0) == 0 }
    }

    private mutating func add(
        _ delta: Int64, _ key: [UInt8], to sum: inout Sum, _ batch: BatchID
    ) throws(Failure) {
        let (value, overflow) = sum.value.addingReportingOverflow(delta)
        if !overflow {
            sum.value = value
            sum.updatedMilliseconds = time
            importedAmount.sum += Int128(delta)
            return
        }
        // How many increments made up this entry nobody has kept: it counts as one.
        let amount = Amount(increments: 1, sum: Int128(delta))
        let letter = DeadLetter(
            batch: batch, reason: .overflow, detail: "adding \(delta) would leave the range of Int64",
            idempotencyKey: nil, key: key, amount: amount, payload: [])
        try onStore { () throws(StoreError) in try builder.bury(letter) }
        buried += amount
        letters += 1
    }

    private mutating func append(_ key: [UInt8], _ sum: Sum, replacing old: Sum) throws(Failure) {
        let hash = XXH64.hash(key)
        if old.isCarried {
            carriedSum += Int128(old.value)
            difference.remove(hash: hash, value: old.value, updatedMilliseconds: old.updatedMilliseconds)
        }
        difference.add(hash: hash, value: sum.value, updatedMilliseconds: sum.updatedMilliseconds)
        var failure: Failure?
        key.withUnsafeBytes { bytes in
            do throws(Failure) {
                try append(bytes, sum.value, sum.updatedMilliseconds)
            } catch {
                failure = error
            }
        }
        if let failure { throw failure }
    }

    private mutating func append(
        _ key: UnsafeRawBufferPointer, _ value: Int64, _ updated: UInt64
    ) throws(Failure) {
        try onStore { () throws(StoreError) in
            try builder.append(key: key, value: value, updatedMilliseconds: updated)
        }
        try steps.countRow()
    }
}
