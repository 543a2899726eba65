// Reads a shard as it is at one moment, while the consumer writes, after it stopped and after it was killed, with or
// without the right to write the file. One read transaction spans the reader's life: everything it returns belongs to
// the same snapshot. It holds the writer's log back meanwhile, so a reader is opened, read and released.
//
// SQLite needs the write-ahead log's files for that; they are there from a file's creation on. Only where they are
// missing and nobody can write, on a file system mounted read-only, the file is read by itself (immutable). Anywhere
// else that would be a guess, and a wrong one would show half a transaction.

public import TallyCore

/// One snapshot of a shard file. It is not Sendable: one thread owns it.
public final class ShardReader {
    public let path: String
    public let identity: ShardIdentity
    public let state: ShardState
    let connection: SQLiteConnection
    private let meta: MetaTable

    /// Opens a shard and takes the snapshot.
    ///
    /// - Parameter expected: what the file has to be; nil for any shard.
    /// - Throws: `missing`, `mismatch` (also if the log beside it is another file's: what was read would be pages of
    ///   both), `corrupt`, `permission`, `busy`, `io`.
    public convenience init(at path: String, expecting expected: ShardExpectation? = nil) throws(StoreError) {
        try SystemFile.requireExists(path)
        try LogMark.check(path)
        try self.init(try Self.connect(path), expecting: expected)
    }

    /// Opens a file that nobody writes and that has no write-ahead log, such as one of a backup.
    ///
    /// - Throws: as the other, without `busy`.
    public convenience init(copyAt path: String, expecting expected: ShardExpectation) throws(StoreError) {
        try SystemFile.requireExists(path)
        try self.init(try SQLiteConnection(path, .immutable), expecting: expected)
    }

    private init(_ connection: SQLiteConnection, expecting expected: ShardExpectation?) throws(StoreError) {
        self.connection = connection
        path = connection.path
        try connection.execute("PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY; BEGIN")
        identity = try ShardIdentity.read(connection)
        if let expected { try identity.verify(expected, path: path) }
        meta = try MetaTable(connection)
        state = try meta.state()
    }

    private static func connect(_ path: String) throws(StoreError) -> SQLiteConnection {
        let log = path + "-wal"
        if SystemFile.bytes(log) == 0, SystemFile.isOnReadOnlyMount(path) {
            return try SQLiteConnection(path, .immutable)
        }
        let connection = try SQLiteConnection(path, .readOnly)
        do throws(StoreError) {
            // The first access opens the log.
            _ = try connection.integer("PRAGMA schema_version")  // the value is of no interest
            return connection
        } catch {
            guard error.code == .permission || error.code == .missing else { throw error }
            throw StoreError(
                .permission, path, error.cause,
                SystemFile.exists(log)
                    ? StoreError.Remedy.permission
                    : "its write-ahead log is missing: start its consumer once, or run as the user that owns it")
        }
    }

    /// When a consumer last committed, in ms since 1970; nil if none ever did.
    public func lastCommitMilliseconds() throws(StoreError) -> UInt64? {
        try meta.lastCommitMilliseconds()
    }

    /// The running figures; no scan of the counters.
    public func statistics() throws(StoreError) -> ShardStatistics {
        try meta.statistics()
    }

    /// What the counters held before the first batch.
    public func start() throws(StoreError) -> ShardStart {
        try meta.start()
    }

    /// Watermarks and ledgers of the streams of `partition`, which may be one of an earlier epoch.
    public func records(of partition: PartitionID) throws(StoreError) -> [ProducerID: StreamRecord] {
        try StreamTable.records(of: partition, connection)
    }

    /// A cursor over the counters in byte order of their keys, before the first of them.
    ///
    /// - Parameters:
    ///   - prefix: only keys that begin with these bytes.
    ///   - lowest: only this key and those after it.
    public func counters(prefix: [UInt8] = [], from lowest: [UInt8] = []) throws(StoreError) -> CounterCursor {
        try CounterCursor(connection, KeyRange(prefix: prefix, from: lowest))
    }

    /// The values of `keys`, in their order; nil for a key that is not here.
    public func values(of keys: [Key]) throws(StoreError) -> [Int64?] {
        let select = try connection.prepare("SELECT value FROM counters WHERE key = ?1")
        var values: [Int64?] = []
        values.reserveCapacity(keys.count)
        for key in keys {
            try select.bind(1, text: key.bytes)
            values.append(try select.step() ? select.integer(0) : nil)
            select.reset()
        }
        return values
    }

    /// The `count` largest counters, largest first, those of equal value in byte order of their keys.
    public func largest(_ count: Int, prefix: [UInt8] = []) throws(StoreError) -> [Counter] {
        let range = KeyRange(prefix: prefix, from: [])
        let select = try connection.prepare(
            """
            SELECT key, value, updated_ms FROM counters WHERE \(range.condition)
            ORDER BY value DESC, key LIMIT ?3
            """)
        try range.bind(to: select)
        try select.bind(3, Int64(count))
        var counters: [Counter] = []
        while try select.step() {
            counters.append(
                Counter(
                    key: Array(select.bytes(0)), value: select.integer(1),
                    updatedMilliseconds: UInt64(clamping: select.integer(2))))
        }
        return counters
    }

    /// Counts and adds up the counters by looking at every one of them.
    public func totals(prefix: [UInt8] = []) throws(StoreError) -> ShardTotals {
        let range = KeyRange(prefix: prefix, from: [])
        do throws(StoreError) {
            return try totals(of: range, high: nil, low: "value")
        } catch {
            // SQLite's sum of integers fails beyond Int64. The halves of the values stay below it for 2^31 rows, but
            // take half as long again: a second scan for those who need it.
            guard error.code == .other else { throw error }
            return try totals(of: range, high: "value >> 32", low: "value & 0xFFFFFFFF")
        }
    }

    private func totals(of range: KeyRange, high: String?, low: String) throws(StoreError) -> ShardTotals {
        let columns = "count(*), sum(\(low)), \(high.map { "sum(\($0))" } ?? "0")"
        let select = try connection.prepare("SELECT \(columns) FROM counters WHERE \(range.condition)")
        try range.bind(to: select)
        guard try select.step() else { preconditionFailure("an aggregate returned no row") }
        defer { select.reset() }
        return ShardTotals(
            keys: Int(select.integer(0)), sum: Int128(select.integer(2)) << 32 + Int128(select.integer(1)))
    }
}

/// One counter, copied.
public struct Counter: Hashable, Sendable {
    public let key: [UInt8]
    public let value: Int64
    /// When it last changed, in ms since 1970.
    public let updatedMilliseconds: UInt64
}

/// What a scan of the counters found.
public struct ShardTotals: Hashable, Sendable {
    public let keys: Int
    public let sum: Int128

    public init(keys: Int, sum: Int128) {
        self.keys = keys
        self.sum = sum
    }
}
