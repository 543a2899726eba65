// Who reads a shard. A reader of SQLite's holds a lock on one of five bytes of the shared memory file beside it, for as
// long as it needs the file as it was when it began (https://sqlite.org/walformat.html, "Locking matrix"); the system
// names the process.

import Glibc

/// Readers of shards, in other processes than this one.
public enum ShardReaders {
    /// WAL_READ_LOCK(0) to (4).
    private static let lockedBytes: ClosedRange<off_t> = 123...127

    /// Of the shard's write-ahead log.
    public static func logBytes(of path: String) -> Int { SystemFile.bytes(path + "-wal") }

    /// Processes that read the shard now; 0 for one that the system does not name. Whoever writes it reads it, too, for
    /// moments.
    ///
    /// Not while this process has the shard open in SQLite: the call would drop its locks.
    public static func processes(of path: String) -> Set<Int32> {
        let descriptor = open(path + "-shm", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return [] }
        defer { close(descriptor) }
        var found: Set<Int32> = []
        for byte in lockedBytes {
            var lock = flock()
            lock.l_type = Int16(F_WRLCK)
            lock.l_whence = Int16(SEEK_SET)
            lock.l_start = byte
            lock.l_len = 1
            let isTold = fcntl(descriptor, F_GETLK, &lock) == 0
            if isTold, lock.l_type != Int16(F_UNLCK) { found.insert(max(0, lock.l_pid)) }
        }
        return found
    }
}
