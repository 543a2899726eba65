// A shard file comes into being whole or not at all: it is written and fsynced under another name, then linked to its
// own, which fails if the name is taken. A crash leaves at most the other name, which the next attempt removes.

extension ShardFile {
    /// Creates an empty shard at `path`, whose folder must exist.
    ///
    /// - Parameters:
    ///   - start: what counters will be loaded into the file before its first batch; without them its ledger does not
    ///     balance.
    ///   - timeMilliseconds: now, in ms since 1970.
    /// - Throws: `exists`; `locked`; `missing` if the folder is; `full`, `permission`, `io`.
    public static func create(
        at path: String, identity: ShardIdentity, start: ShardStart = .nothing, timeMilliseconds: UInt64
    ) throws(StoreError) {
        let lock = try ShardLock(path)
        if SystemFile.exists(path) { throw .exists(path) }
        for log in [path + "-wal", path + "-journal"] where SystemFile.exists(log) {
            // SQLite would play it into the new file.
            throw StoreError(.exists, path, "there is a log of an earlier file, \(log)", "move it away")
        }
        try SystemFile.removeLeftover(path + "-shm")
        let unfinished = path + unfinishedSuffix
        for suffix in ["", "-journal", "-wal", "-shm"] { try SystemFile.removeLeftover(unfinished + suffix) }
        try SystemFile.createEmpty(unfinished)
        try fill(unfinished, identity, start, timeMilliseconds)
        // The log files of the unfinished name hold nothing: they do not go along.
        for suffix in ["-wal", "-shm"] { try SystemFile.removeLeftover(unfinished + suffix) }
        try SystemFile.sync(unfinished)
        try SystemFile.rename(unfinished, to: path)
        try createLog(path, identity, lock)
    }

    private static func fill(
        _ path: String, _ identity: ShardIdentity, _ start: ShardStart, _ time: UInt64
    ) throws(StoreError) {
        let connection = try SQLiteConnection(path, .readWrite)
        try ShardSchema.install(on: connection, identity: identity, start: start, timeMilliseconds: time)
        try connection.execute("PRAGMA journal_mode = WAL")
        try connection.checkpoint(emptyingLog: true)
    }

    /// A reader without write permission needs the write-ahead log and its index to be there, even if empty.
    private static func createLog(
        _ path: String, _ identity: ShardIdentity, _ lock: ShardLock
    ) throws(StoreError) {
        let connection = try SQLiteConnection(path, .readWrite, under: lock)
        let found = try ShardIdentity.read(connection)
        precondition(found == identity, "the identity read is not the one written")
    }
}
