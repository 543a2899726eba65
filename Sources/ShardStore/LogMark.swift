// Whether a write-ahead log belongs to the file that it lies beside. SQLite cannot tell: a log names no file, and is
// read over whatever lies there. So if a copy takes the place of a file whose consumer was killed, and the log stays,
// what is read is pages of both. A row of `meta`, `log`, holds two numbers against that:
//
//   commits   how many transactions of this release or a later one the file has seen
//   base      how many of them the file itself held, without its log, when that log began
//
// Checkpoints bring whole pages from the log into the file and never go back, so a file under its own log holds, alone,
// a row of which `commits` lies between base and commits of the row that is read through the log. An older copy has
// less, a newer one more. A copy from in between is harmless: what it lacks is in the log. Only a copy that another
// consumer has gone on with, just as far, is not told apart; the queue, which one of them consumes, does that.
//
// A log begins anew when all of it was checkpointed and somebody writes; then SQLite puts new salts into its header
// (bytes 16-23, https://sqlite.org/fileformat2.html#walformat). Whoever sees that behind his commit writes `base` in a
// transaction of its own. Killed between the two, base stays lower than it could be: more copies pass, and none that
// belongs there is refused.

import Glibc

/// The row `log` of `meta`.
struct LogMark: Hashable {
    var commits: UInt64
    var base: UInt64

    /// Of a file that no such release has written to.
    static let none = LogMark(commits: 0, base: 0)

    init(commits: UInt64, base: UInt64) {
        self.commits = commits
        self.base = base
    }

    /// "commits base".
    init?(_ text: String) {
        let numbers = text.split(separator: " ").map { UInt64($0) }
        guard numbers.count == 2, let commits = numbers[0], let base = numbers[1] else { return nil }
        self.init(commits: commits, base: base)
    }

    var text: String { "\(commits) \(base)" }

    /// What tells one log of a file from the next; nil without a log.
    static func salts(beside path: String) -> [UInt8]? {
        let descriptor = open(path + "-wal", O_RDONLY | O_CLOEXEC)
        if descriptor < 0 { return nil }  // its locks are on another file: closing it is harmless
        defer { close(descriptor) }
        var salts = [UInt8](repeating: 0, count: 8)
        return pread(descriptor, &salts, salts.count, 16) == salts.count ? salts : nil
    }
}

/// Keeps the mark up over one connection.
struct LogMarkTable {
    private let connection: SQLiteConnection
    private let meta: MetaTable
    private let replace: SQLiteStatement

    init(_ connection: SQLiteConnection) throws(StoreError) {
        self.connection = connection
        meta = try MetaTable(connection)
        replace = try connection.prepare(
            "INSERT OR REPLACE INTO meta(name, value) VALUES('\(MetaName.log.rawValue)', ?1)")
    }

    func mark() throws(StoreError) -> LogMark {
        guard let text = try meta.textIfThere(.log) else { return .none }
        guard let mark = LogMark(text) else { throw meta.corrupt("says log is '\(text)'") }
        return mark
    }

    /// Counts a transaction, before its commit. Returns what was there before.
    func advance() throws(StoreError) -> LogMark {
        let before = try mark()
        try write(LogMark(commits: before.commits + 1, base: before.base))
        return before
    }

    /// After the commit of a transaction before which `before` was there, and the log had the salts `log`.
    func committed(_ before: LogMark, log: [UInt8]?) throws(StoreError) {
        if LogMark.salts(beside: connection.path) == log { return }
        do throws(StoreError) {
            try connection.execute("BEGIN IMMEDIATE")
            let now = try mark()
            try write(LogMark(commits: now.commits + 1, base: max(now.base, before.commits)))
            try connection.execute("COMMIT")
        } catch {
            if connection.isInTransaction { try connection.execute("ROLLBACK") }
            // Without it the log is looked at less strictly; what was to be committed is.
            if !error.isTemporary { throw error }
        }
    }

    private func write(_ mark: LogMark) throws(StoreError) {
        try replace.bind(1, mark.text)
        try replace.run()
    }
}

extension LogMark {
    /// Looks whether the log beside a file is its own. Nothing is changed, as it would be if a connection that may
    /// write were closed.
    ///
    /// - Throws: `mismatch` if it is another file's.
    static func check(_ path: String) throws(StoreError) {
        var last: (alone: LogMark, together: LogMark)?
        while SystemFile.bytes(path + "-wal") > 0 {
            // What cannot be read in this way, such as a page that a checkpoint had written half, is in the log; and
            // whoever opens the file next says what is wrong with it.
            guard let alone = try? read(path, .immutable), let together = try? read(path, .readOnly) else { return }
            if together.base <= alone.commits, alone.commits <= together.commits { return }
            // A tool may have written between the two.
            if let last, last == (alone, together) { throw .foreignLog(path, alone, together) }
            last = (alone, together)
        }
    }

    private static func read(_ path: String, _ access: SQLiteConnection.Access) throws(StoreError) -> LogMark {
        let meta = try MetaTable(SQLiteConnection(path, access))
        return try meta.textIfThere(.log).flatMap { LogMark($0) } ?? .none
    }
}

extension StoreError {
    fileprivate static func foreignLog(_ path: String, _ alone: LogMark, _ together: LogMark) -> StoreError {
        StoreError(
            .mismatch, path,
            "the log beside it, \(path)-wal, belongs to another copy of this file: the file has \(alone.commits)"
                + " transactions, the log continues one that has \(together.base) to \(together.commits)",
            "nothing was changed: if this copy is to stay, move \(path)-wal and \(path)-shm away; if not, put the file"
                + " back that they belong to")
    }
}
