// The door to SQLite: one type that owns a database handle, one that owns a statement.
//
// Both belong to one thread. Every value is bound, never pasted into SQL. A result code becomes a `StoreError` here and
// nowhere else; afterwards the statement is reset, so that no error leaves a transaction half open.

import CSQLite

/// An open database file.
final class SQLiteConnection {
    enum Mode {
        case read
        case readWrite
        case create
    }

    let path: String
    private let handle: OpaquePointer

    /// How long a statement waits for another connection's lock.
    private static let busyMilliseconds: Int32 = 5_000

    init(_ path: String, _ mode: Mode) throws(StoreError) {
        self.path = path
        var flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE
        switch mode {
        case .read: flags |= SQLITE_OPEN_READONLY
        case .readWrite: flags |= SQLITE_OPEN_READWRITE
        case .create: flags |= SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE
        }
        var opened: OpaquePointer?
        let code = sqlite3_open_v2(path, &opened, flags, nil)
        guard let opened, code == SQLITE_OK else {
            let error = StoreError(code, path: path, detail: Self.message(opened, code))
            sqlite3_close_v2(opened)
            throw error
        }
        handle = opened
        sqlite3_busy_timeout(handle, Self.busyMilliseconds)
        try check(tm_sqlite_harden(handle))
    }

    deinit {
        sqlite3_close_v2(handle)
    }

    /// Runs SQL without parameters and results.
    func execute(_ sql: String) throws(StoreError) {
        try check(sqlite3_exec(handle, sql, nil, nil, nil))
    }

    func prepare(_ sql: String) throws(StoreError) -> SQLiteStatement {
        var statement: OpaquePointer?
        try check(sqlite3_prepare_v3(handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &statement, nil))
        guard let statement else { throw .other(path: path, detail: "an empty statement") }
        return SQLiteStatement(connection: self, handle: statement)
    }

    /// Rows changed by the last statement.
    var changes: Int { Int(sqlite3_changes64(handle)) }

    func keepLogOnClose() throws(StoreError) {
        try check(tm_sqlite_persist_wal(handle))
    }

    /// Whether a transaction is open.
    var isInTransaction: Bool { sqlite3_get_autocommit(handle) == 0 }

    func check(_ code: Int32) throws(StoreError) {
        guard code != SQLITE_OK, code != SQLITE_DONE, code != SQLITE_ROW else { return }
        throw StoreError(code, path: path, detail: Self.message(handle, code))
    }

    private static func message(_ handle: OpaquePointer?, _ code: Int32) -> String {
        let text = handle.flatMap { sqlite3_errmsg($0) } ?? sqlite3_errstr(code)
        return text.map { "\(String(cString: $0)) (\(code))" } ?? "code \(code)"
    }
}

/// A prepared statement, reused.
final class SQLiteStatement {
    private let connection: SQLiteConnection
    private let handle: OpaquePointer

    init(connection: SQLiteConnection, handle: OpaquePointer) {
        self.connection = connection
        self.handle = handle
    }

    deinit {
        sqlite3_finalize(handle)
    }

    func bind(_ value: Int64, at index: Int32) {
        bound(sqlite3_bind_int64(handle, index, value))
    }

    func bind(_ value: String, at index: Int32) {
        bound(sqlite3_bind_text(handle, index, value, -1, tm_sqlite_transient()))
    }

    func bindNull(at index: Int32) {
        bound(sqlite3_bind_null(handle, index))
    }

    /// Text that must stay in place until the statement has been reset.
    func bind(textInPlace bytes: UnsafeRawBufferPointer, at index: Int32) {
        let pointer = bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
        bound(sqlite3_bind_text(handle, index, pointer, Int32(bytes.count), tm_sqlite_static()))
    }

    func bind(text bytes: [UInt8], at index: Int32) {
        bytes.withUnsafeBytes {
            let pointer = $0.baseAddress?.assumingMemoryBound(to: CChar.self)
            bound(sqlite3_bind_text(handle, index, pointer, Int32($0.count), tm_sqlite_transient()))
        }
    }

    func bind(blob bytes: [UInt8], at index: Int32) {
        bytes.withUnsafeBytes {
            bound(sqlite3_bind_blob(handle, index, $0.baseAddress, Int32($0.count), tm_sqlite_transient()))
        }
    }

    private func bound(_ code: Int32) {
        precondition(code == SQLITE_OK || code == SQLITE_NOMEM, "a parameter that the statement does not have: \(code)")
    }

    /// Whether there is another row.
    func step() throws(StoreError) -> Bool {
        let code = sqlite3_step(handle)
        if code == SQLITE_ROW { return true }
        if code == SQLITE_DONE { return false }
        do throws(StoreError) { try connection.check(code) } catch {
            reset()
            throw error
        }
        return false
    }

    /// Runs to the end, ignoring rows, and is ready for the next use.
    func run() throws(StoreError) {
        while try step() {}
        reset()
    }

    /// Ready for the next use; bound values are forgotten.
    func reset() {
        _ = sqlite3_reset(handle)  // repeats the error of the last step, which has been thrown
        sqlite3_clear_bindings(handle)
    }

    func integer(_ column: Int32) -> Int64 { sqlite3_column_int64(handle, column) }

    func text(_ column: Int32) -> String { String(decoding: bytes(column), as: UTF8.self) }

    func bytes(_ column: Int32) -> [UInt8] { withBytes(column) { Array($0) } }

    /// The bytes of a text or blob, valid during the call.
    func withBytes<Result>(_ column: Int32, _ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        let pointer = sqlite3_column_blob(handle, column)
        return body(UnsafeRawBufferPointer(start: pointer, count: Int(sqlite3_column_bytes(handle, column))))
    }
}

extension StoreError {
    /// What an (extended) result code means for us.
    init(_ code: Int32, path: String, detail: String) {
        switch code & 0xFF {
        case SQLITE_CORRUPT, SQLITE_NOTADB, SQLITE_FORMAT: self = .corrupt(path: path, detail: detail)
        case SQLITE_BUSY, SQLITE_LOCKED: self = .busy(path: path)
        case SQLITE_FULL: self = .full(path: path)
        case SQLITE_PERM, SQLITE_READONLY, SQLITE_AUTH: self = .denied(path: path)
        case SQLITE_CANTOPEN: self = .io(path: path, detail: detail)
        case SQLITE_IOERR: self = .io(path: path, detail: detail)
        default: self = .other(path: path, detail: detail)
        }
    }
}

/// The version of the SQLite library in use.
public enum SQLiteLibrary {
    public static var version: String { String(cString: sqlite3_libversion()) }
}
