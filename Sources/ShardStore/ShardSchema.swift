// The tables of a shard file, format version 3. Anyone may read them with `sqlite3`; the consumer alone writes.
// Version 1, of release 0.1.0, had no `lost`, and version 2 no `claim`: the next consumer, or tool that writes it, adds
// them. Claims are not rewritten, however many there are.
//
//   counters      what was counted
//   applied       per stream, how far it is committed and what became of it: through = applied + repeated + dead
//                 + what `lost` says of it.
//                 Streams of the file's own epoch and partition advance; those of earlier epochs came with a rebalance
//   routed        (origin, key) of re-routed increments that were counted here
//   claim         a digest of each (idempotency key, key) that was counted for a client, and its time (ClaimClock)
//   idempotency   the same as text for the work of tools, whose time is the largest, for they do not expire; and what
//                 a release before version 3 has counted for clients, until it expires
//   dead_letter   increments that could not be counted
//   lost          batches that the operator has declared gone, and how much they held once that is known
//   meta          identity, state, what the file started with, running figures of `counters`, and what tells its own
//                 write-ahead log from another file's (LogMark.swift)
//
// Keys are text with the BINARY collation, which compares UTF-8 with memcmp: byte order, as everywhere in Tallymill.
// They are the primary key of tables without row ids, so that a counter lives in one b-tree, once. Sums of 128 bits
// are decimal text, and increment counts INTEGER: both can be read without a tool. Producers are blobs of 16 bytes.
//
// Pages of 4096 bytes are what file systems write at once. A checkpoint every 4096 of them (16 MiB) writes a page that
// many transactions touched only once, and keeps recovery after a crash short; 64 MiB of cache hold the inner pages of
// a b-tree of 15 million keys many times over.

import Glibc
import TallyCore

/// Format constants and the statements that create a file.
enum ShardSchema {
    /// "TMsh": what `file` and `PRAGMA application_id` show.
    static let applicationID: Int64 = 0x544D_7368
    /// In `PRAGMA user_version`. A change of any statement below is a new version.
    static let version: Int64 = 3
    /// Versions that this release reads, and whose open files it brings up to date when it writes.
    static let versions = 1...version
    /// The first that has the table `lost`.
    static let versionWithLosses: Int64 = 2
    /// The first that has the table `claim`.
    static let versionWithClaims: Int64 = 3
    /// How keys find their partition: the hash of a key, the jump function, and the revision of both together.
    static let hashVersion = "xxh64-jump-1"

    static let tables = """
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
        \(claimTable)
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
        \(lossTable)
        CREATE TABLE meta(
            name TEXT PRIMARY KEY,
            value TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;
        """

    private static let lossTable = """
        CREATE TABLE lost(
            epoch INTEGER NOT NULL,
            partition INTEGER NOT NULL,
            producer BLOB NOT NULL,
            first INTEGER NOT NULL,
            last INTEGER NOT NULL,
            increments INTEGER,
            sum TEXT,
            time_ms INTEGER NOT NULL,
            PRIMARY KEY(epoch, partition, producer, first)
        ) STRICT, WITHOUT ROWID;
        """

    private static let claimTable = """
        CREATE TABLE claim(
            digest BLOB PRIMARY KEY,
            key_hash INTEGER NOT NULL,
            seen_ms INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX claim_by_age ON claim(seen_ms);
        """

    /// Whether a row of `idempotency` is a tool's, by the form of its id (ToolClaim).
    static let isToolClaim: String = {
        let id = String(repeating: "[0-9a-f]", count: 2 * Bytes16.count)
        let conditions = ["import", "dead-letter"].map { name in
            """
            (id >= '\(name):' AND id < '\(name);'
                AND (id GLOB '\(name):\(id)' OR id GLOB '\(name):\(id):*'))
            """
        }
        return conditions.joined(separator: " OR ")
    }()

    static func version(of connection: SQLiteConnection) throws(StoreError) -> Int64 {
        try connection.integer("PRAGMA user_version") ?? 0
    }

    /// Brings a file of an earlier version up to date, within a transaction of the caller; nothing if it is.
    static func upgrade(_ connection: SQLiteConnection) throws(StoreError) {
        let found = try version(of: connection)
        if found < versionWithLosses { try addLosses(connection) }
        if found < versionWithClaims { try connection.execute(claimTable) }
        if found < version { try connection.execute("PRAGMA user_version = \(version)") }
    }

    private static func addLosses(_ connection: SQLiteConnection) throws(StoreError) {
        try connection.execute(lossTable)
        // Claims of tools did expire.
        try connection.execute("UPDATE idempotency SET seen_ms = \(Int64.max) WHERE \(isToolClaim)")
        // A clock that was ahead has dated claims in the future: the clock of the claims starts at the newest of them.
        let now = Int64(time(nil)) * 1_000
        try connection.execute(
            "UPDATE idempotency SET seen_ms = \(now) WHERE seen_ms > \(now) AND seen_ms < \(Int64.max)")
        // What an earlier release purged it did not write down: no epoch before the oldest that is known here.
        try connection.execute(
            """
            INSERT INTO meta(name, value) SELECT '\(MetaName.forgottenEpoch.rawValue)', CAST(oldest - 1 AS TEXT)
            FROM (SELECT min(epoch) AS oldest FROM (SELECT epoch FROM applied
                UNION SELECT CAST(value AS INTEGER) FROM meta WHERE name = '\(MetaName.epoch.rawValue)'))
            WHERE oldest > 1
            """)
    }

    /// For the one writer, once per connection.
    static let writerSettings = """
        PRAGMA synchronous = FULL;
        PRAGMA wal_autocheckpoint = 4096;
        PRAGMA journal_size_limit = 67108864;
        PRAGMA cache_size = -65536;
        PRAGMA temp_store = MEMORY;
        PRAGMA secure_delete = OFF;
        PRAGMA cell_size_check = ON;
        """

    /// Creates the tables of an empty database, and what every row of `meta` starts with.
    static func install(
        on connection: SQLiteConnection, identity: ShardIdentity, start: ShardStart, timeMilliseconds: UInt64
    ) throws(StoreError) {
        try connection.execute(
            """
            PRAGMA page_size = 4096;
            PRAGMA application_id = \(applicationID);
            PRAGMA user_version = \(version);
            BEGIN;
            """)
        try connection.execute(tables)
        let insert = try connection.prepare("INSERT INTO meta(name, value) VALUES(?1, ?2)")
        for (name, value) in rows(identity, start, timeMilliseconds) {
            try insert.bind(1, name.rawValue)
            try insert.bind(2, value)
            try insert.run()
        }
        try connection.execute("COMMIT")
    }

    private static func rows(
        _ identity: ShardIdentity, _ start: ShardStart, _ time: UInt64
    ) -> [(MetaName, String)] {
        [
            (.cluster, "\(identity.cluster)"), (.epoch, "\(identity.partition.epoch)"),
            (.partition, "\(identity.partition.number)"), (.partitions, "\(identity.partitions)"),
            (.uuid, "\(identity.uuid)"), (.hash, hashVersion), (.createdMilliseconds, "\(time)"),
            (.state, ShardState.open.rawValue),
            (.carriedIncrements, "\(start.carried.increments)"), (.carriedSum, "\(start.carried.sum)"),
            (.importedIncrements, "\(start.imported.increments)"), (.importedSum, "\(start.imported.sum)"),
            (.keys, "0"), (.sum, "0"), (.lastCommitMilliseconds, "0"),
        ]
    }
}
