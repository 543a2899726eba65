// The format of a shard file, pinned: any change here is a new format version. SQLite's own shell reads what is
// checked.

import Glibc
import ShardStore
import TallyCore
import Testing

@Suite struct ShardSchemaTests {
    let folder = Folder()

    @Test func schemaIsPinned() throws {
        try ShardFile.createSample(folder.shard)
        #expect(shell(folder.shard, ".schema") == Self.golden)
    }

    @Test func metaIsPinned() throws {
        let start = ShardStart(
            carried: Amount(increments: 7, sum: -3), imported: Amount(increments: 2, sum: Int128(Int64.max) + 1))
        try ShardFile.createSample(folder.shard, start: start)
        #expect(
            shell(folder.shard, "SELECT name, value FROM meta ORDER BY name") == """
                carried_increments|7
                carried_sum|-3
                cluster|00000000000000c10000000000000001
                created_ms|1000
                epoch|3
                hash|xxh64-jump-1
                imported_increments|2
                imported_sum|9223372036854775808
                keys|0
                last_commit_ms|0
                partition|5
                partitions|8
                state|open
                sum|0
                uuid|000000000000000a0000000000000002
                """)
    }

    @Test func headerIsPinned() throws {
        try ShardFile.createSample(folder.shard)
        let pragmas = ["application_id", "user_version", "journal_mode", "page_size", "encoding", "auto_vacuum"]
        let values = pragmas.map { shell(folder.shard, "PRAGMA \($0)") }
        #expect(values == ["1414361960", "3", "wal", "4096", "UTF-8", "0"])
    }

    @Test func shellReadsWhatWasApplied() throws {
        let shard = try ShardFile.sample(in: folder)
        var producer = BatchMaker(1)
        let batch = producer.make([TestEntry("b", 5, increments: 2), TestEntry("a", -7)])
        _ = try shard.apply([batch], timeMilliseconds: 1_234)
        #expect(shell(folder.shard, "SELECT * FROM counters") == "a|-7|1234\nb|5|1234")
        #expect(
            shell(folder.shard, "SELECT epoch, partition, hex(producer), watermark, applied_sum FROM applied")
                == "3|5|000000000000F00D0000000000000001|1|-2")
        #expect(shell(folder.shard, "SELECT sum(value) FROM counters") == "-2")
        #expect(shell(folder.shard, "PRAGMA quick_check") == "ok")
    }

    @Test func filesBelongToOwnerAndGroup() throws {
        let mask = umask(0)
        defer { umask(mask) }
        try ShardFile.createSample(folder.shard)
        for suffix in ["", "-wal", "-shm"] { #expect(mode(folder.shard + suffix) == 0o640) }
        // Whoever can read it can lock it.
        #expect(mode(folder.shard + ".lock") == 0o600)
        umask(0o777)
        let other = folder.path + "/other.sqlite"
        try ShardFile.createSample(other)
        #expect(mode(other) == 0o640)
    }

    static let goldenLost = """
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

    static let goldenClaim = """
        CREATE TABLE claim(
            digest BLOB PRIMARY KEY,
            key_hash INTEGER NOT NULL,
            seen_ms INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE INDEX claim_by_age ON claim(seen_ms);
        """

    static let golden = """
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
        \(goldenClaim)
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
        CREATE TABLE sqlite_sequence(name,seq);
        \(goldenLost)
        CREATE TABLE meta(
            name TEXT PRIMARY KEY,
            value TEXT NOT NULL
        ) STRICT, WITHOUT ROWID;
        """
}
