// What is in a shard file, schema version 1.
//
//   counters     the sums. Keys are UTF-8 and sort byte by byte
//   applied      per stream: the watermark, and the ledger: through = applied + repeated + dead
//   routed       (origin, key) of re-routed batches that were counted
//   idempotency  (idempotency key, key) that were counted, with the time for their expiry
//   dead_letter  what could not be counted
//   meta         identity, state and what the file started with
//
// Sums of 128 bits are decimal text. Anyone may read the file with sqlite3; only its consumer writes.

/// The tables, and the marks by which a shard is recognised.
enum ShardSchema {
    /// "TMSH", in the header of the file.
    static let applicationID: Int64 = 0x544D_5348
    static let version: Int64 = 1
    static let hash = "xxh64-jump"

    static let tables = """
        CREATE TABLE counters(
            key TEXT PRIMARY KEY, value INTEGER NOT NULL, updated_ms INTEGER NOT NULL) STRICT, WITHOUT ROWID;
        CREATE TABLE applied(
            epoch INTEGER NOT NULL, partition INTEGER NOT NULL, producer BLOB NOT NULL, watermark INTEGER NOT NULL,
            through_increments INTEGER NOT NULL, through_sum TEXT NOT NULL,
            applied_increments INTEGER NOT NULL, applied_sum TEXT NOT NULL,
            repeated_increments INTEGER NOT NULL, repeated_sum TEXT NOT NULL,
            dead_increments INTEGER NOT NULL, dead_sum TEXT NOT NULL,
            PRIMARY KEY(epoch, partition, producer)) STRICT, WITHOUT ROWID;
        CREATE TABLE routed(
            epoch INTEGER NOT NULL, partition INTEGER NOT NULL, producer BLOB NOT NULL, sequence INTEGER NOT NULL,
            key TEXT NOT NULL, PRIMARY KEY(epoch, partition, producer, sequence, key)) STRICT, WITHOUT ROWID;
        CREATE TABLE idempotency(
            id TEXT NOT NULL, key TEXT NOT NULL, seen_ms INTEGER NOT NULL, PRIMARY KEY(id, key)) STRICT, WITHOUT ROWID;
        CREATE INDEX idempotency_by_age ON idempotency(seen_ms);
        CREATE TABLE dead_letter(
            number INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL,
            epoch INTEGER NOT NULL, partition INTEGER NOT NULL, producer BLOB NOT NULL, sequence INTEGER NOT NULL,
            idempotency_key TEXT, key TEXT, increments INTEGER NOT NULL, sum TEXT NOT NULL, payload BLOB NOT NULL) STRICT;
        CREATE TABLE meta(name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
        """

    /// How the one writer works: durable before it says so; the log is folded back every 16 MiB.
    static let writerSettings = """
        PRAGMA journal_mode = WAL;
        PRAGMA synchronous = FULL;
        PRAGMA wal_autocheckpoint = 4096;
        PRAGMA journal_size_limit = 67108864;
        PRAGMA cache_size = -65536;
        PRAGMA temp_store = MEMORY;
        """
}

/// Names in `meta`.
enum MetaName: String {
    case cluster, epoch, partition, partitions, shard, hash, state
    case createdAt = "created_ms"
    case lastCommitAt = "last_commit_ms"
    case carriedIncrements = "carried_increments"
    case carriedSum = "carried_sum"
    case importedIncrements = "imported_increments"
    case importedSum = "imported_sum"
}
