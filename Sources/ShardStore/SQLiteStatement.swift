// A statement, compiled once and used for as long as its connection lives. Values only ever enter as bound
// parameters. `run` and the end of a walk over rows leave it reset, so that it holds no lock and no borrowed bytes
// are looked at again.

import CSQLite

/// A compiled statement. Parameters count from 1, columns from 0.
final class SQLiteStatement {
    private let handle: OpaquePointer
    private let connection: SQLiteConnection

    init(_ handle: OpaquePointer, of connection: SQLiteConnection) {
        self.handle = handle
        self.connection = connection
    }

    deinit {
        sqlite3_finalize(handle)
    }

    func bind(_ index: Int32, _ value: Int64) throws(StoreError) {
        try check(sqlite3_bind_int64(handle, index, value))
    }

    func bind(_ index: Int32, _ value: String) throws(StoreError) {
        try check(sqlite3_bind_text(handle, index, value, -1, csqlite_copying()))
    }

    func bindNull(_ index: Int32) throws(StoreError) {
        try check(sqlite3_bind_null(handle, index))
    }

    /// Binds bytes as text without copying them: they must live until the statement is reset.
    func bind(_ index: Int32, lendingText bytes: UnsafeRawBufferPointer) throws(StoreError) {
        // Without an address SQLite would bind NULL.
        guard let address = bytes.baseAddress else { return try bind(index, "") }
        let text = address.assumingMemoryBound(to: CChar.self)
        try check(sqlite3_bind_text(handle, index, text, Int32(bytes.count), nil))
    }

    /// Binds a copy of `bytes` as text.
    func bind(_ index: Int32, text bytes: [UInt8]) throws(StoreError) {
        try check(
            bytes.withUnsafeBytes { bytes in
                bytes.baseAddress.map {
                    let text = $0.assumingMemoryBound(to: CChar.self)
                    return sqlite3_bind_text(handle, index, text, Int32(bytes.count), csqlite_copying())
                } ?? sqlite3_bind_text(handle, index, "", 0, csqlite_copying())
            })
    }

    /// Binds a copy of `bytes`.
    /// As `bind(_:lendingText:)`, for a blob that is not empty.
    func bind(_ index: Int32, lendingBlob bytes: UnsafeRawBufferPointer) throws(StoreError) {
        try check(sqlite3_bind_blob64(handle, index, bytes.baseAddress, UInt64(bytes.count), nil))
    }

    func bind(_ index: Int32, blob bytes: [UInt8]) throws(StoreError) {
        try check(
            bytes.withUnsafeBytes { bytes in
                bytes.isEmpty
                    ? sqlite3_bind_zeroblob(handle, index, 0)
                    : sqlite3_bind_blob(handle, index, bytes.baseAddress, Int32(bytes.count), csqlite_copying())
            })
    }

    /// Goes to the next row; false, and the statement reset, after the last.
    func step() throws(StoreError) -> Bool {
        let code = sqlite3_step(handle)
        if code == SQLITE_ROW { return true }
        // Read before the reset, which clears it.
        let failure = code == SQLITE_DONE ? nil : connection.error(code, "execute a statement")
        reset()
        if let failure { throw failure }
        return false
    }

    /// Executes a statement that returns no rows.
    func run() throws(StoreError) {
        let hasRow = try step()
        precondition(!hasRow, "a statement that was to return nothing returned a row")
    }

    /// Ends a walk over rows before its end.
    func reset() {
        sqlite3_reset(handle)  // repeats the result of the last step, which `step` has reported
    }

    func integer(_ column: Int32) -> Int64 {
        sqlite3_column_int64(handle, column)
    }

    /// The bytes of a text or blob, valid until the next step or reset: in UTF-8 in a file of ours, in the encoding of
    /// the file in any other.
    func bytes(_ column: Int32) -> UnsafeRawBufferPointer {
        // As a blob, text comes as it is stored: no terminating zero has to be added to a copy of it.
        let address = sqlite3_column_blob(handle, column)
        return UnsafeRawBufferPointer(start: address, count: Int(sqlite3_column_bytes(handle, column)))
    }

    /// What the cell holds; undefined once its bytes were asked for.
    func kind(_ column: Int32) -> StoredKind {
        switch sqlite3_column_type(handle, column) {
        case SQLITE_INTEGER: .integer
        case SQLITE_FLOAT: .real
        case SQLITE_TEXT: .text
        case SQLITE_BLOB: .blob
        default: .null
        }
    }

    /// The bytes of a cell in UTF-8, whatever encoding the file has; those of a blob as they are. Valid until the next
    /// step or reset.
    func utf8(_ column: Int32) -> UnsafeRawBufferPointer {
        if kind(column) == .blob { return bytes(column) }
        let address = sqlite3_column_text(handle, column)
        return UnsafeRawBufferPointer(start: address, count: Int(sqlite3_column_bytes(handle, column)))
    }

    func text(_ column: Int32) -> String {
        String(decoding: utf8(column), as: UTF8.self)
    }

    private func check(_ code: Int32) throws(StoreError) {
        try connection.check(code, "bind a parameter")
    }
}

/// What SQLite stores in one cell.
public enum StoredKind: Hashable, Sendable {
    case integer, real, text, blob, null
}
