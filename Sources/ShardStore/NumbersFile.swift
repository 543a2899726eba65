// Files of SQLite that other programs make and read: one table, `numbers(key TEXT PRIMARY KEY, value INTEGER)`.

import TallyCore

/// A walk over the rows of `numbers`. It is not Sendable: one thread owns it.
public final class NumbersReader {
    private let select: SQLiteStatement

    /// - Throws: `missing`, `permission`, `corrupt`, `io`; `mismatch` if there is no such table.
    public init(at path: String) throws(StoreError) {
        try SystemFile.requireExists(path)
        let connection = try SQLiteConnection(path, .readOnly)
        let columns = try connection.integer(
            "SELECT count(*) FROM pragma_table_info('numbers') WHERE name IN ('key', 'value')")
        guard columns == 2 else {
            throw StoreError(
                .mismatch, path, "it has no table numbers with the columns key and value",
                "copy the counters to such a table")
        }
        select = try connection.prepare("SELECT key, value FROM numbers")
    }

    /// Goes to the next row, or the first; false after the last. It must not be called again after that.
    public func next() throws(StoreError) -> Bool { try select.step() }

    public var keyKind: StoredKind { select.kind(0) }
    public var valueKind: StoredKind { select.kind(1) }
    /// The text of the cell, or what SQLite makes of it; valid until the next call of `next`. Ask for the kind first:
    /// looking at the text may change it.
    public var key: UnsafeRawBufferPointer { select.bytes(0) }
    public var value: UnsafeRawBufferPointer { select.bytes(1) }
}

/// Makes a file with that table. It is not Sendable: one thread owns it.
public final class NumbersWriter {
    private let path: String
    private let connection: SQLiteConnection
    private let insert: SQLiteStatement

    /// Creates a file; what it holds counts after `finish` and not before.
    ///
    /// - Throws: `exists`, `full`, `permission`, `io`.
    public init(creating path: String) throws(StoreError) {
        self.path = path
        if SystemFile.exists(path) { throw .exists(path) }
        try SystemFile.createEmpty(path)
        connection = try SQLiteConnection(path, .readWrite)
        // Until `finish` the file is of no use to anybody: there is nothing to protect.
        try connection.execute(
            """
            PRAGMA page_size = 4096;
            PRAGMA journal_mode = MEMORY;
            PRAGMA synchronous = OFF;
            PRAGMA locking_mode = EXCLUSIVE;
            PRAGMA cache_size = -8192;
            BEGIN;
            CREATE TABLE numbers(key TEXT PRIMARY KEY, value INTEGER);
            """)
        insert = try connection.prepare("INSERT INTO numbers(key, value) VALUES(?1, ?2)")
    }

    /// Appends a row; fastest in ascending byte order of the keys.
    public func append(key: UnsafeRawBufferPointer, value: Int64) throws(StoreError) {
        try insert.bind(1, lendingText: key)
        try insert.bind(2, value)
        try insert.run()
    }

    /// Makes everything durable. Nothing can be appended after that.
    public func finish() throws(StoreError) {
        try connection.execute("COMMIT")
        try SystemFile.sync(path)
    }
}
