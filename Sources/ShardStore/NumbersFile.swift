// Files of SQLite that other programs make and read: one table, `numbers(key TEXT PRIMARY KEY, value INTEGER)`, with
// names in capitals or not, as SQL has it. Their text is in UTF-8 or in UTF-16. What is no valid UTF-16 SQLite would
// replace by other characters, and two keys would be one: it is told instead.

import TallyCore

/// A walk over the rows of `numbers`. It is not Sendable: one thread owns it.
public final class NumbersReader {
    /// The two columns.
    public enum Column: String, Sendable {
        case key, value

        fileprivate var index: Int32 { self == .key ? 0 : 1 }
    }

    /// A cell's content.
    public enum Text {
        /// In UTF-8 if the file's text is valid UTF-16; as it stands in the file if that has UTF-8.
        case bytes(UnsafeRawBufferPointer)
        case notUTF16
    }

    private let select: SQLiteStatement
    private let encoding: Encoding

    private enum Encoding: String {
        case utf8 = "UTF-8"
        case utf16LittleEndian = "UTF-16le"
        case utf16BigEndian = "UTF-16be"
    }

    /// - Throws: `missing`, `permission`, `corrupt`, also if it is no file of SQLite, `io`; `mismatch` if there is no
    ///   such table.
    public init(at path: String) throws(StoreError) {
        guard try SystemFile.beginning(of: path, bytes: Self.mark.count) == Self.mark || SystemFile.bytes(path) == 0
        else {
            throw StoreError(
                .corrupt, path, "it is no file of SQLite", "name the format that it has: --format text, ndjson or csv")
        }
        let connection = try SQLiteConnection(path, .readOnly)
        let columns = try connection.integer(
            "SELECT count(*) FROM pragma_table_info('numbers') WHERE lower(name) IN ('key', 'value')")
        guard columns == 2 else {
            throw StoreError(
                .mismatch, path, "it has no table numbers with the columns key and value",
                "copy the counters to such a table")
        }
        encoding = try connection.text("PRAGMA encoding").flatMap { Encoding(rawValue: $0) } ?? .utf8
        select = try connection.prepare("SELECT key, value FROM numbers")
    }

    /// What a file of SQLite begins with.
    private static let mark = Array("SQLite format 3\0".utf8)

    /// Goes to the next row, or the first; false after the last. It must not be called again after that.
    public func next() throws(StoreError) -> Bool { try select.step() }

    /// What the cell holds. Ask for it first: looking at the text may change it.
    public func kind(_ column: Column) -> StoredKind { select.kind(column.index) }

    /// The text of a cell, or the digits of an integer; valid until the next call of `next`.
    public func text(_ column: Column) -> Text {
        if encoding != .utf8, kind(column) == .text,
            !Self.isUTF16(select.bytes(column.index), isBigEndian: encoding == .utf16BigEndian)
        {
            return .notUTF16
        }
        return .bytes(shown(column))
    }

    /// What SQLite shows of a cell, whatever it holds; valid until the next call of `next`.
    public func shown(_ column: Column) -> UnsafeRawBufferPointer { select.utf8(column.index) }

    /// Whether all surrogates come in pairs.
    private static func isUTF16(_ bytes: UnsafeRawBufferPointer, isBigEndian: Bool) -> Bool {
        if bytes.count % 2 != 0 { return false }
        var expectsLow = false
        for offset in stride(from: 0, to: bytes.count, by: 2) {
            let high = bytes[isBigEndian ? offset : offset + 1]
            let isLow = (0xDC...0xDF).contains(high)
            if isLow != expectsLow { return false }
            expectsLow = (0xD8...0xDB).contains(high)
        }
        return !expectsLow
    }
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
