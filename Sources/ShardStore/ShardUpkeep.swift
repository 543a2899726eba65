// What an operator's tool changes in a shard beside its consumer: one short transaction each, under SQLite's own lock.
// Two writers of one file are harmless, because every figure that a transaction needs is read inside it.

public import TallyCore

/// Transactions of tools.
public enum ShardUpkeep {
    /// How long a transaction of the consumer is waited for; the longest take 25 s.
    static let busyMilliseconds: Int32 = 60_000

    /// Forgets watermarks and re-routed increments of epochs before `epoch`, from 1, and remembers that: what comes
    /// from there goes to the dead letters from now on.
    ///
    /// - Throws: `missing`, `mismatch` also for a closed file, `busy`, `full`, `corrupt`, `io`.
    public static func forgetStreams(
        before epoch: UInt32, at path: String, expecting expected: ShardExpectation
    ) throws(StoreError) {
        try changeOpen(path, expected) { connection throws(StoreError) in
            var memory = try MetaTable(connection).memory()
            // Rows of epochs that were forgotten before say what was buried since.
            let deletes = [
                "DELETE FROM applied WHERE epoch < ?1 AND ?2 >= 0",
                "DELETE FROM routed WHERE origin_epoch < ?1 AND origin_epoch > ?2",
            ]
            for sql in deletes {
                let delete = try connection.prepare(sql)
                try delete.bind(1, Int64(epoch))
                try delete.bind(2, Int64(memory.forgottenEpoch))
                try delete.run()
            }
            memory.forgottenEpoch = max(memory.forgottenEpoch, epoch - 1)
            try ShardTransaction(connection).write(memory)
        }
    }

    /// Declares batches lost, all or none. Those of the file's own partition have to follow what it holds; it goes on
    /// behind them.
    ///
    /// - Parameter time: now, in ms since 1970.
    /// - Throws: `mismatch` if a range does not begin where the file ends, or is lost already, or the file is closed;
    ///   otherwise as `forgetStreams`.
    public static func accept(
        _ losses: [StreamLoss], time: UInt64, at path: String, expecting expected: ShardExpectation
    ) throws(StoreError) {
        try changeOpen(path, expected) { connection throws(StoreError) in
            let transaction = try ShardTransaction(connection)
            for loss in losses {
                let known = try LossTable.losses(connection)  // also what the one before has lengthened
                if known.contains(where: { $0.stream == loss.stream && $0.sequences.overlaps(loss.sequences) }) {
                    throw StoreError(
                        .mismatch, path,
                        "some of \(loss.sequences.lowerBound)-\(loss.sequences.upperBound) of producer "
                            + "\(loss.stream.producer) is declared lost already",
                        "look at what `tallymill verify` finds")
                }
                if loss.stream.partition == expected.partition { try raise(loss, transaction, path) }
                try add(loss, to: known, time: time, connection)
            }
        }
    }

    /// What follows a loss whose amount the next batch will tell belongs to it: that batch tells one number.
    private static func add(
        _ loss: StreamLoss, to known: [StreamLoss], time: UInt64, _ connection: SQLiteConnection
    ) throws(StoreError) {
        let before = known.last {
            $0.stream == loss.stream && $0.sequences.upperBound + 1 == loss.sequences.lowerBound && $0.amount == nil
        }
        if let before, loss.amount == nil {
            try LossTable.extend(before, through: loss.sequences.upperBound, connection)
        } else {
            try LossTable.insert(loss, time: time, connection)
        }
    }

    private static func raise(
        _ loss: StreamLoss, _ transaction: ShardTransaction, _ path: String
    ) throws(StoreError) {
        var record = try transaction.record(of: loss.stream) ?? .empty
        guard record.watermark + 1 == loss.sequences.lowerBound else {
            throw StoreError(
                .mismatch, path,
                "it holds producer \(loss.stream.producer) up to \(record.watermark): "
                    + "\(loss.sequences.lowerBound)-\(loss.sequences.upperBound) is not what is missing",
                "look at what `tallymill verify` finds now")
        }
        record.watermark = loss.sequences.upperBound
        if let amount = loss.amount { record.through += amount }
        try transaction.setRecord(record, of: loss.stream)
    }

    /// Remembers that an import was counted whole, and forgets its claims, which are of no more use, some thousand rows
    /// in a transaction. To be repeated after a crash.
    ///
    /// - Throws: as `forgetStreams`.
    public static func note(
        import id: Bytes16, at path: String, expecting expected: ShardExpectation
    ) throws(StoreError) {
        try changeOpen(path, expected) { connection throws(StoreError) in
            var memory = try MetaTable(connection).memory()
            if memory.imports.contains(id) { return }
            memory.imports.append(id)
            try ShardTransaction(connection).write(memory)
        }
        var removed = claimRows
        while removed == claimRows {
            removed = try changeOpen(path, expected) { connection throws(StoreError) in
                try connection.execute(
                    """
                    DELETE FROM idempotency WHERE (id, key) IN (SELECT id, key FROM idempotency
                        WHERE \(ShardMemory.claims(ofImport: id)) LIMIT \(claimRows))
                    """)
                return connection.changes
            }
        }
    }

    private static let claimRows = 20_000

    /// As `change`, on a file that no rebalance has closed.
    private static func changeOpen<Value>(
        _ path: String, _ expected: ShardExpectation,
        _ body: (SQLiteConnection) throws(StoreError) -> Value
    ) throws(StoreError) -> Value {
        try change(path, expected) { connection throws(StoreError) in
            if try MetaTable(connection).state() == .retired {
                throw StoreError(.mismatch, path, "a rebalance has closed this file", "look at the newest epoch")
            }
            return try body(connection)
        }
    }

    /// One immediate transaction on a shard whose lock somebody else may hold. A file of an earlier format version is
    /// brought up to date, unless a rebalance has closed it.
    static func change<Value>(
        _ path: String, _ expected: ShardExpectation,
        _ body: (SQLiteConnection) throws(StoreError) -> Value
    ) throws(StoreError) -> Value {
        try SystemFile.requireExists(path)
        try LogMark.check(path)
        let connection = try SQLiteConnection(path, .readWrite, busyMilliseconds: busyMilliseconds)
        // The consumer checkpoints; a tool that did it here would hold it up.
        try connection.execute("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; BEGIN IMMEDIATE")
        let log = LogMark.salts(beside: path)
        do throws(StoreError) {
            try ShardIdentity.read(connection).verify(expected, path: path)
            if try MetaTable(connection).state() == .open { try ShardSchema.upgrade(connection) }
            let value = try body(connection)
            let logMark = try LogMarkTable(connection)
            let before = try logMark.advance()
            try connection.execute("COMMIT")
            try logMark.committed(before, log: log)
            return value
        } catch {
            // SQLite has rolled back by itself after some errors.
            if connection.isInTransaction { try connection.execute("ROLLBACK") }
            throw error
        }
    }
}
