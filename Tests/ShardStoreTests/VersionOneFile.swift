// A shard file as release 0.1.0 made it: the statements of that release, and rows in every table.

import TallyCore

@testable import ShardStore

enum VersionOneFile {
    static let importID = Bytes16(high: 0xABCD, low: 7)
    /// Of the file's own partition: its watermark is 2.
    static let producer = BatchMaker.producer(1)

    /// Makes one at `path` with SQLite's own shell.
    static func make(at path: String, isRetired: Bool = false) {
        let identity = ShardIdentity.sample
        let meta = [
            ("cluster", "\(identity.cluster)"), ("epoch", "3"), ("partition", "5"), ("partitions", "8"),
            ("uuid", "\(identity.uuid)"), ("hash", "xxh64-jump-1"), ("created_ms", "1000"),
            ("state", isRetired ? "retired" : "open"), ("carried_increments", "0"), ("carried_sum", "0"),
            ("imported_increments", "0"), ("imported_sum", "0"), ("keys", "1"), ("sum", "12"), ("last_commit_ms", "5"),
        ]
        let claims = [
            "import:\(importID)", "import:\(importID):2", "dead-letter:\(importID):x", "import:\(importID)5",
            "import:mine", "order-1",
        ]
        let id = Hex.text(producer.bytes.array)
        let sql =
            "PRAGMA page_size = 4096; PRAGMA journal_mode = WAL; PRAGMA application_id = 1414361960;"
            + "PRAGMA user_version = 1;" + tables
            + meta.map { "INSERT INTO meta VALUES('\($0.0)', '\($0.1)');" }.joined()
            + claims.map { "INSERT INTO idempotency VALUES('\($0)', 'a', 400);" }.joined()
            + "INSERT INTO counters VALUES('a', 12, 5);"
            + "INSERT INTO applied VALUES(3, 5, x'\(id)', 2, 4, '14', 2, '12', 2, '2', 0, '0');"
            + "INSERT INTO dead_letter VALUES(1, 5, 'overflow', 'd', 3, 5, x'\(id)', 2,"
            + " NULL, 'a', 1, '9', x'');"
        precondition(Child.run("/usr/bin/sqlite3", [path, sql]).result == 0)
    }

    /// `ShardSchema.tables` of commit 1b0d5e6.
    private static let tables = """
        CREATE TABLE counters(
            key TEXT PRIMARY KEY,
            value INTEGER NOT NULL,
            updated_ms INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE applied(
            epoch INTEGER NOT NULL,
            partition INTEGER NOT NULL,
            producer BLOB NOT NULL,
            watermark INTEGER NOT NULL,
            through_increments INTEGER NOT NULL,
            through_sum TEXT NOT NULL,
            applied_increments INTEGER NOT NULL,
            applied_sum TEXT NOT NULL,
            repeated_increments INTEGER NOT NULL,
            repeated_sum TEXT NOT NULL,
            dead_increments INTEGER NOT NULL,
            dead_sum TEXT NOT NULL,
            PRIMARY KEY(epoch, partition, producer)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE routed(
            origin_epoch INTEGER NOT NULL,
            origin_partition INTEGER NOT NULL,
            origin_producer BLOB NOT NULL,
            origin_sequence INTEGER NOT NULL,
            key TEXT NOT NULL,
            PRIMARY KEY(origin_epoch, origin_partition, origin_producer, origin_sequence, key)
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE idempotency(
            id TEXT NOT NULL,
            key TEXT NOT NULL,
            seen_ms INTEGER NOT NULL,
            PRIMARY KEY(id, key)
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX idempotency_by_age ON idempotency(seen_ms);
        CREATE TABLE dead_letter(
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            time_ms INTEGER NOT NULL,
            reason TEXT NOT NULL,
            detail TEXT NOT NULL,
            epoch INTEGER NOT NULL,
            partition INTEGER NOT NULL,
            producer BLOB NOT NULL,
            sequence INTEGER NOT NULL,
            idempotency_id TEXT,
            key TEXT,
            increments INTEGER NOT NULL,
            sum TEXT NOT NULL,
            payload BLOB NOT NULL
        ) STRICT;
        CREATE TABLE meta(
            name TEXT PRIMARY KEY,
            value TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;
        """
}
