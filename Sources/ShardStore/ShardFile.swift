// The one writer of a shard file.
//
// Everything durable happens in `apply`: one transaction, `synchronous = FULL`, committed or as if it had never been.
// The lock that keeps a second writer of this host away is taken by the caller; exactness does not depend on it.

import CSQLite
import Glibc
public import TallyCore

/// A shard opened for writing. Owned by one thread at a time.
public final class ShardFile {
    public let path: String
    public let identity: ShardIdentity
    private let connection: SQLiteConnection
    private let meta: Meta
    private var tables: ShardFileTables

    /// Makes an empty shard, complete and fsynced.
    ///
    /// - Throws: `StoreError.other` if there is a file of that name already.
    public static func create(
        at path: String, identity: ShardIdentity, timeMilliseconds: UInt64
    ) throws(StoreError) {
        guard access(path, F_OK) != 0 else { throw .other(path: path, detail: "there is a file of that name already") }
        let connection = try SQLiteConnection(path, .create)
        try connection.execute(
            """
            PRAGMA journal_mode = DELETE; PRAGMA synchronous = FULL;
            BEGIN IMMEDIATE;
            PRAGMA application_id = \(ShardSchema.applicationID);
            PRAGMA user_version = \(ShardSchema.version);
            \(ShardSchema.tables)
            """)
        let meta = try Meta(connection)
        try meta.set(.cluster, identity.cluster.description)
        try meta.set(.epoch, "\(identity.partition.epoch)")
        try meta.set(.partition, "\(identity.partition.number)")
        try meta.set(.partitions, "\(identity.partitions)")
        try meta.set(.shard, identity.uuid.description)
        try meta.set(.hash, ShardSchema.hash)
        try meta.set(.state, "open")
        try meta.set(.createdAt, "\(timeMilliseconds)")
        for name in [MetaName.carriedIncrements, .carriedSum, .importedIncrements, .importedSum] {
            try meta.set(name, "0")
        }
        try connection.execute("COMMIT")
        guard chmod(path, 0o640) == 0 else { throw .denied(path: path) }
    }

    /// Opens the shard of one partition for its consumer.
    ///
    /// - Throws: `missing`, `corrupt`, `mismatch` naming the field, `denied`, `io`.
    public static func open(
        at path: String, cluster: ClusterID, partition: PartitionID, partitions: Int
    ) throws(StoreError) -> ShardFile {
        guard access(path, F_OK) == 0 else { throw .missing(path: path) }
        let connection = try SQLiteConnection(path, .readWrite)
        let identity = try ShardIdentity(connection)
        try identity.expect(cluster: cluster, partition: partition, partitions: partitions, path: path)
        try connection.execute(ShardSchema.writerSettings)
        try connection.keepLogOnClose()
        return try ShardFile(connection, identity)
    }

    private init(_ connection: SQLiteConnection, _ identity: ShardIdentity) throws(StoreError) {
        path = connection.path
        self.identity = identity
        self.connection = connection
        meta = try Meta(connection)
        tables = try ShardFileTables(connection, meta)
    }

    /// Applies batches, oldest first, as one durable transaction; the outcome is `commit`, `retired` or `stop`.
    ///
    /// - Parameter timeMilliseconds: now, since 1970.
    /// - Throws: `busy` and `full`, after which it may be called again; any other error ends the use of this object.
    public func apply(_ batches: [[UInt8]], timeMilliseconds: UInt64) throws(StoreError) -> ApplyOutcome {
        let outcome = try transaction(batches, timeMilliseconds, folding: true)
        guard outcome == .foldingOverflows else { return outcome }
        return try transaction(batches, timeMilliseconds, folding: false)
    }

    private func transaction(
        _ batches: [[UInt8]], _ time: UInt64, folding: Bool
    ) throws(StoreError) -> ApplyOutcome {
        try connection.execute("BEGIN IMMEDIATE")
        do throws(StoreError) {
            let outcome = try ApplyRules.apply(
                batches, to: &tables, partition: identity.partition, time: time, folding: folding)
            if case .commit = outcome {
                try meta.set(.lastCommitAt, "\(time)")
                try connection.execute("COMMIT")
            } else {
                try connection.execute("ROLLBACK")
            }
            return outcome
        } catch {
            try rollBack()
            throw error
        }
    }

    /// SQLite has rolled back by itself after some errors.
    private func rollBack() throws(StoreError) {
        if connection.isInTransaction { try connection.execute("ROLLBACK") }
    }

    /// What `applied` says was committed once and is not in this file, by producer.
    public func missing(from applied: [ProducerID: UInt64]) throws(StoreError) -> [Consumer.MissingRange] {
        var ranges: [Consumer.MissingRange] = []
        for (producer, watermark) in applied {
            let stream = StreamID(partition: identity.partition, producer: producer)
            let held = try tables.record(of: stream)?.watermark ?? 0
            if watermark > held { ranges.append(.init(producer: producer, sequences: held + 1...watermark)) }
        }
        return ranges.sorted { $0.producer.description < $1.producer.description }
    }

    /// Whether a rebalance has closed the file for ever.
    public func isRetired() throws(StoreError) -> Bool { try tables.isRetired() }

    /// Folds the write-ahead log back into the file, as far as readers permit.
    public func checkpoint() throws(StoreError) {
        try connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
    }

    /// Forgets idempotency keys seen before a time in ms since 1970; at most `limit` rows. Returns how many.
    public func purgeIdempotency(olderThan time: UInt64, limit: Int) throws(StoreError) -> Int {
        let statement = try connection.prepare(
            """
            DELETE FROM idempotency WHERE (id, key) IN
                (SELECT id, key FROM idempotency WHERE seen_ms < ?1 ORDER BY seen_ms LIMIT ?2)
            """)
        statement.bind(Int64(clamping: time), at: 1)
        statement.bind(Int64(limit), at: 2)
        try statement.run()
        return connection.changes
    }
}
