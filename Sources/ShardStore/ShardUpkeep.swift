// What an operator's tool changes in a shard beside its consumer: one short transaction each, under SQLite's own lock.
// Two writers of one file are harmless, because every figure that a transaction needs is read inside it.

import TallyCore

/// Transactions of tools.
public enum ShardUpkeep {
    /// How long a transaction of the consumer is waited for; the longest take 25 s.
    static let busyMilliseconds: Int32 = 60_000

    /// Forgets watermarks and re-routed increments of epochs before `epoch`, when nothing can bring them again.
    ///
    /// - Throws: `missing`, `mismatch`, `busy`, `full`, `corrupt`, `io`.
    public static func forgetStreams(
        before epoch: UInt32, at path: String, expecting expected: ShardExpectation
    ) throws(StoreError) {
        try change(path, expected) { connection throws(StoreError) in
            for sql in ["DELETE FROM applied WHERE epoch < ?1", "DELETE FROM routed WHERE origin_epoch < ?1"] {
                let delete = try connection.prepare(sql)
                try delete.bind(1, Int64(epoch))
                try delete.run()
            }
        }
    }

    /// One immediate transaction on a shard whose lock somebody else may hold.
    static func change<Value>(
        _ path: String, _ expected: ShardExpectation,
        _ body: (SQLiteConnection) throws(StoreError) -> Value
    ) throws(StoreError) -> Value {
        try SystemFile.requireExists(path)
        let connection = try SQLiteConnection(path, .readWrite, busyMilliseconds: busyMilliseconds)
        // The consumer checkpoints; a tool that did it here would hold it up.
        try connection.execute("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; BEGIN IMMEDIATE")
        do throws(StoreError) {
            try ShardIdentity.read(connection).verify(expected, path: path)
            let value = try body(connection)
            try connection.execute("COMMIT")
            return value
        } catch {
            // SQLite has rolled back by itself after some errors.
            if connection.isInTransaction { try connection.execute("ROLLBACK") }
            throw error
        }
    }
}
