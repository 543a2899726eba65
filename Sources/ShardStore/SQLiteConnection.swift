// One connection to one SQLite file: opened with everything checked that can be checked, closed when the last
// reference goes. It is not Sendable and SQLite's own mutexes are off: one thread owns it.
//
// Only the files named SQLite… and the copy in ShardCopy call SQLite's functions.

import CSQLite
import TallyCore

/// A handle of SQLite and the lock under which it was opened.
final class SQLiteConnection {
    /// What the connection may do.
    enum Access {
        /// The file must exist.
        case readWrite
        /// Reads what is committed while others write.
        case readOnly
        /// Reads the file alone, without locks and without its write-ahead log: only for a file that cannot change.
        case immutable
    }

    private static let forgoStatistics: Void = {
        _ = csqlite_forgo_statistics()  // only faster: a process that used SQLite before keeps its statistics
    }()

    let path: String
    let handle: OpaquePointer
    private let busyMilliseconds: Int32
    /// Released after the handle is closed, never before.
    private let lock: ShardLock?

    /// - Parameter busyMilliseconds: how long a call waits for another connection's lock before it is `busy`.
    init(
        _ path: String, _ access: Access, busyMilliseconds: Int32 = 2_000, under lock: ShardLock? = nil
    ) throws(StoreError) {
        Self.forgoStatistics
        self.path = path
        self.busyMilliseconds = busyMilliseconds
        self.lock = lock
        let flags: Int32
        switch access {
        case .readWrite: flags = SQLITE_OPEN_READWRITE
        case .readOnly, .immutable: flags = SQLITE_OPEN_READONLY
        }
        let isImmutable = if case .immutable = access { true } else { false }
        let name = Self.uri(of: path) + (isImmutable ? "?immutable=1" : "")
        var opened: OpaquePointer?
        let code = sqlite3_open_v2(
            name, &opened, flags | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nil)
        guard let opened, code == SQLITE_OK else {
            let number = opened.map { sqlite3_system_errno($0) } ?? 0
            sqlite3_close(opened)
            if code & 0xFF == SQLITE_CANTOPEN, let error = StoreError.longPath(path) { throw error }
            throw .sqlite(
                code, system: number, message: String(cString: sqlite3_errstr(code)), doing: "open it", path: path)
        }
        handle = opened
        sqlite3_busy_timeout(handle, busyMilliseconds)
        try check(csqlite_harden(handle), "configure the connection")
        // A log file that stays is what lets a reader without write permission open the file after a clean stop.
        var keepsLog: Int32 = 1
        try check(
            sqlite3_file_control(handle, "main", SQLITE_FCNTL_PERSIST_WAL, &keepsLog), "keep its write-ahead log")
    }

    deinit {
        let code = sqlite3_close(handle)
        precondition(code == SQLITE_OK, "a connection was closed before its statements")
    }

    /// Runs statements without parameters or results.
    func execute(_ sql: String) throws(StoreError) {
        try check(sqlite3_exec(handle, sql, nil, nil, nil), "execute a statement")
    }

    /// Compiles one statement.
    func prepare(_ sql: String) throws(StoreError) -> SQLiteStatement {
        var statement: OpaquePointer?
        let code = sqlite3_prepare_v3(handle, sql, -1, UInt32(SQLITE_PREPARE_PERSISTENT), &statement, nil)
        try check(code, "prepare a statement")
        guard let statement else { preconditionFailure("an empty statement") }
        return SQLiteStatement(statement, of: self)
    }

    /// The first column of the first row, nil without a row.
    func integer(_ sql: String) throws(StoreError) -> Int64? {
        let statement = try prepare(sql)
        return try statement.step() ? statement.integer(0) : nil
    }

    /// The same as text.
    func text(_ sql: String) throws(StoreError) -> String? {
        let statement = try prepare(sql)
        return try statement.step() ? statement.text(0) : nil
    }

    /// Whether a transaction is open.
    var isInTransaction: Bool { sqlite3_get_autocommit(handle) == 0 }

    /// Rows changed by the last statement.
    var changes: Int { Int(sqlite3_changes64(handle)) }

    /// Runs `body` with calls that are `busy` at once where they would wait.
    func withoutWaiting(_ body: () throws(StoreError) -> Void) throws(StoreError) {
        sqlite3_busy_timeout(handle, 0)
        defer { sqlite3_busy_timeout(handle, busyMilliseconds) }
        try body()
    }

    /// Copies all of the write-ahead log into the file.
    ///
    /// - Throws: `busy` while a reader still needs what the file holds now.
    func checkpoint(emptyingLog: Bool) throws(StoreError) {
        let mode = emptyingLog ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_FULL
        try check(sqlite3_wal_checkpoint_v2(handle, "main", mode, nil, nil), "checkpoint its write-ahead log")
    }

    /// Copies of the write-ahead log what no reader keeps out of the file, without waiting for anybody.
    ///
    /// - Returns: whether that was all of it.
    func checkpointSome() throws(StoreError) -> Bool {
        var (logged, copied): (Int32, Int32) = (0, 0)
        try check(
            sqlite3_wal_checkpoint_v2(handle, "main", SQLITE_CHECKPOINT_PASSIVE, &logged, &copied),
            "checkpoint its write-ahead log")
        return copied == logged
    }

    /// Defines an SQL function without arguments that returns true and adds 1 to the counter that is returned, which
    /// lives as long as the connection.
    func defineCounter(named name: String) throws(StoreError) -> UnsafeMutablePointer<Int> {
        let counter = UnsafeMutablePointer<Int>.allocate(capacity: 1)
        counter.initialize(to: 0)
        let code = sqlite3_create_function_v2(
            handle, name, 0, SQLITE_UTF8 | SQLITE_DIRECTONLY, counter,
            { context, _, _ in
                sqlite3_user_data(context).assumingMemoryBound(to: Int.self).pointee += 1
                sqlite3_result_int(context, 1)
            }, nil, nil, { $0?.deallocate() })
        try check(code, "define a function")
        return counter
    }

    /// Registers a kind of virtual table, with what it is given.
    func define(
        _ module: UnsafePointer<sqlite3_module>, named name: String, with rows: UnsafeMutableRawPointer,
        disposedBy dispose: @escaping @convention(c) (UnsafeMutableRawPointer?) -> Void
    ) throws(StoreError) {
        try check(sqlite3_create_module_v2(handle, name, module, rows, dispose), "define a table")
    }

    func check(_ code: Int32, _ doing: String) throws(StoreError) {
        if code != SQLITE_OK { throw error(code, doing) }
    }

    func error(_ code: Int32, _ doing: String) -> StoreError {
        .sqlite(
            code, system: sqlite3_system_errno(handle), message: String(cString: sqlite3_errmsg(handle)),
            doing: doing, path: path)
    }

    /// A URI without an authority, which "//" at its beginning would be; nor is a name of our own taken for one of
    /// SQLite's (":memory:", "").
    private static func uri(of path: String) -> String {
        (path.hasPrefix("/") ? "file://" : "file:./") + percentEncoded(path)
    }

    private static func percentEncoded(_ path: String) -> String {
        var encoded: [UInt8] = []
        for byte in path.utf8 {
            if byte == UInt8(ascii: "%") || byte == UInt8(ascii: "?") || byte == UInt8(ascii: "#") {
                encoded.append(UInt8(ascii: "%"))
                encoded.append(contentsOf: Hex.text([byte]).utf8)
            } else {
                encoded.append(byte)
            }
        }
        return String(decoding: encoded, as: UTF8.self)
    }
}

/// The SQLite library in use.
public enum SQLiteLibrary {
    public static var version: String { String(cString: sqlite3_libversion()) }
}
