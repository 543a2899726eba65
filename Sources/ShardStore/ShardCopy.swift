// Copies a shard as it is at one moment, while its consumer goes on writing it: the copy of a backup.
//
// SQLite's backup interface copies pages out of the reader's snapshot. The read transaction is open before the first
// page is copied, so no commit of the consumer restarts the copy, and the write-ahead log holds what the snapshot needs
// until it ends. That log cannot be emptied meanwhile: it grows by what the consumer writes during the copy.
//
// The copy has no log of its own: nothing but the one file belongs to it.

import CSQLite

extension ShardReader {
    /// Pages copied at a time: what a progress line is brought up to date after.
    private static let stepPages: Int32 = 1_024

    /// Copies the snapshot into a new file and makes that durable.
    ///
    /// - Parameters:
    ///   - path: must not exist; its folder must. After a failure, the unfinished file is still there.
    ///   - progress: gets the bytes copied so far; false gives up.
    /// - Returns: whether the copy is complete.
    /// - Throws: `exists`, `full`, `permission`, `io`.
    public func copy(to path: String, progress: (Int) -> Bool) throws(StoreError) -> Bool {
        if SystemFile.exists(path) { throw .exists(path) }
        try SystemFile.createEmpty(path)
        guard try copyPages(to: path, progress) else { return false }
        try SystemFile.sync(path)
        return true
    }

    private func copyPages(to path: String, _ progress: (Int) -> Bool) throws(StoreError) -> Bool {
        let target = try SQLiteConnection(path, .readWrite)
        // An unfinished copy is of no use to anybody: there is nothing to protect.
        try target.execute("PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE")
        let pageBytes = Int(try connection.integer("PRAGMA page_size") ?? 0)
        guard let copy = sqlite3_backup_init(target.handle, "main", connection.handle, "main") else {
            throw target.error(sqlite3_errcode(target.handle), "begin the copy")
        }
        var code: Int32
        var isWanted = true
        repeat {
            code = sqlite3_backup_step(copy, Self.stepPages)
            let pages = sqlite3_backup_pagecount(copy) - sqlite3_backup_remaining(copy)
            if code == SQLITE_OK { isWanted = progress(Int(pages) * pageBytes) }
        } while code == SQLITE_OK && isWanted
        let ending = sqlite3_backup_finish(copy)
        if !isWanted { return false }
        if code != SQLITE_DONE { throw target.error(code, "copy \(self.path)") }
        try target.check(ending, "end the copy")
        return true
    }

    /// How many streams, of all epochs, the file has a watermark of.
    public func watermarkCount() throws(StoreError) -> Int {
        Int(try connection.integer("SELECT count(*) FROM applied") ?? 0)
    }
}
