// One writer per shard file: an exclusive flock(2) on `<file>.lock`. The system gives the lock up when its holder
// ends, however it ends; the process number inside is for people. The lock file is never deleted, because a second
// process could then lock a new one beside the first. It is not the shard file itself: closing any descriptor of that
// would drop the locks that SQLite holds on it in this process. It is its owner's alone: whoever can read a file can
// lock it, and members of the group read shards.

import Glibc

/// The right to write one shard file, held until the object ends.
final class ShardLock {
    private let descriptor: Int32
    private var isHeld = false
    /// Device and number of the lock file: two paths to one file have the same name, two files never have.
    let name: String

    /// - Throws: `locked` if another open file holds it, in this process or another.
    init(_ shardPath: String) throws(StoreError) {
        let path = shardPath + ".lock"
        descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        if descriptor < 0 { throw .system(errno, "open \(path)", shardPath) }
        _ = fchmod(descriptor, 0o600)  // of an earlier release; refused where it is another user's
        var status = stat()
        let isKnown = fstat(descriptor, &status) == 0
        precondition(isKnown, "an open file has a status")
        name = "\(status.st_dev):\(status.st_ino)"
        var result: Int32
        repeat { result = flock(descriptor, LOCK_EX | LOCK_NB) } while result != 0 && errno == EINTR
        if result != 0 {
            let number = errno
            if number != EWOULDBLOCK { throw .system(number, "lock \(path)", shardPath) }
            let holder = Self.readHolder(descriptor)
            throw StoreError(
                .locked, shardPath, "it is in use by \(holder.map { "process \($0)" } ?? "another process")",
                "stop that process first", holder: holder)
        }
        isHeld = true
        guard writeHolder() else { throw .system(errno, "write \(path)", shardPath) }
    }

    // Runs for an initializer that throws, too.
    deinit {
        // A child that another thread has forked and that has not called exec yet shares the lock: closing alone would
        // leave it to that child.
        if isHeld { flock(descriptor, LOCK_UN) }
        close(descriptor)
    }

    private func writeHolder() -> Bool {
        let text = Array("\(getpid())\n".utf8)
        return ftruncate(descriptor, 0) == 0 && pwrite(descriptor, text, text.count, 0) == text.count
    }

    /// nil if the holder has not written its number yet and that of an earlier one is left.
    private static func readHolder(_ descriptor: Int32) -> Int32? {
        var bytes = [UInt8](repeating: 0, count: 32)
        let count = pread(descriptor, &bytes, bytes.count, 0)
        guard count > 1, let holder = Int32(String(decoding: bytes[..<(count - 1)], as: UTF8.self)), holder > 0,
            kill(holder, 0) == 0 || errno == EPERM
        else { return nil }
        return holder
    }
}
