// A shard file comes into being whole or not at all: it is written and fsynced under another name, then linked to its
// own, which fails if the name is taken. A crash leaves at most the other name, which the next attempt removes.

/// The right to make one shard file, and the name under which it is made.
struct UnfinishedShard {
    /// Of the name under which a file is made.
    static let suffix = ".new"

    /// What the file will be called.
    let path: String
    /// What it is called until it is whole: an empty file to begin with.
    let unfinishedPath: String
    private let lock: ShardLock

    /// - Throws: `exists`; `locked`; `missing` if the folder is; `full`, `permission`, `io`.
    init(_ path: String) throws(StoreError) {
        self.path = path
        unfinishedPath = path + Self.suffix
        lock = try ShardLock(path)
        if SystemFile.exists(path) { throw .exists(path) }
        for log in [path + "-wal", path + "-journal"] where SystemFile.exists(log) {
            // SQLite would play it into the new file.
            throw StoreError(.exists, path, "there is a log of an earlier file, \(log)", "move it away")
        }
        try SystemFile.removeLeftover(path + "-shm")
        for suffix in ["", "-journal", "-wal", "-shm"] { try SystemFile.removeLeftover(unfinishedPath + suffix) }
        try SystemFile.createEmpty(unfinishedPath)
    }

    /// Gives the file its name, once every connection to it is closed.
    func publish(_ identity: ShardIdentity) throws(StoreError) {
        // The log files of the unfinished name hold nothing: they do not go along.
        for suffix in ["-wal", "-shm"] { try SystemFile.removeLeftover(unfinishedPath + suffix) }
        try SystemFile.sync(unfinishedPath)
        try SystemFile.rename(unfinishedPath, to: path)
        try createLog(identity)
    }

    /// A reader without write permission needs the write-ahead log and its index to be there, even if empty.
    private func createLog(_ identity: ShardIdentity) throws(StoreError) {
        let connection = try SQLiteConnection(path, .readWrite, under: lock)
        let found = try ShardIdentity.read(connection)
        precondition(found == identity, "the identity read is not the one written")
    }
}

extension SQLiteConnection {
    /// Brings a new file into the state in which its consumer and readers expect it: written ahead, its log empty.
    func beginLogging() throws(StoreError) {
        try execute("PRAGMA journal_mode = WAL")
        try checkpoint(emptyingLog: true)
    }
}
