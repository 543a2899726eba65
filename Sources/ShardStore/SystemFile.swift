// The few system calls beside SQLite's: making a file complete before it has its name, and asking for sizes.
//
// Nothing here may open a shard file while SQLite has it open in this process: closing the descriptor would drop the
// locks that SQLite holds.

import Glibc

/// Calls on files that are not open in SQLite.
enum SystemFile {
    /// Of a path from the root that SQLite opens: it keeps 512, and needs some for "-journal" behind it.
    static let pathBytesMax = 504
    /// Owner writes, group reads.
    static let mode: mode_t = 0o640

    /// 0 if there is no such file.
    static func bytes(_ path: String) -> Int {
        var status = stat()
        return stat(path, &status) == 0 ? Int(status.st_size) : 0
    }

    /// Which file lies at a path; nil if none does.
    static func identity(_ path: String) -> (device: dev_t, inode: ino_t)? {
        var status = stat()
        return stat(path, &status) == 0 ? (status.st_dev, status.st_ino) : nil
    }

    static func exists(_ path: String) -> Bool {
        access(path, F_OK) == 0
    }

    /// - Throws: `missing` or `permission`.
    static func requireExists(_ path: String) throws(StoreError) {
        var status = stat()
        if stat(path, &status) != 0 { throw .system(errno, "open it", path) }
    }

    /// The first bytes of a file, fewer if it is shorter.
    ///
    /// - Throws: `missing`, `permission`, `io`.
    static func beginning(of path: String, bytes count: Int) throws(StoreError) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        if descriptor < 0 { throw .system(errno, "open it", path) }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: count)
        let got = pread(descriptor, &bytes, count, 0)
        if got < 0 { throw .system(errno, "read it", path) }
        return Array(bytes.prefix(got))
    }

    /// Makes an empty file with `mode`, whatever the process's mask is.
    static func createEmpty(_ path: String) throws(StoreError) {
        let descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode)
        if descriptor < 0 { throw .system(errno, "create it", path) }
        defer { close(descriptor) }
        if fchmod(descriptor, mode) != 0 { throw .system(errno, "set its mode", path) }
    }

    /// Removes a file that an earlier, interrupted call may have left.
    static func removeLeftover(_ path: String) throws(StoreError) {
        if unlink(path) != 0, errno != ENOENT { throw .system(errno, "remove it", path) }
    }

    /// Forces a file, or the names in a folder, to the disk.
    static func sync(_ path: String) throws(StoreError) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        if descriptor < 0 { throw .system(errno, "open it", path) }
        defer { close(descriptor) }
        if fsync(descriptor) != 0 { throw .system(errno, "fsync it", path) }
    }

    /// Forces the write-ahead log of a shard to the disk. Its locks are on another file, so it may be open in SQLite.
    static func syncLog(of path: String) throws(StoreError) {
        try sync(path + "-wal")
        try sync(folder(of: path))
    }

    /// Gives a finished file its name, never taking the name from another file.
    static func rename(_ finished: String, to path: String) throws(StoreError) {
        // Unlike rename(2), link(2) does not replace.
        if link(finished, path) != 0 {
            let number = errno
            if number == EEXIST { throw .exists(path) }
            throw .system(number, "create it", path)
        }
        try removeLeftover(finished)
        try sync(folder(of: path))
    }

    static func folder(of path: String) -> String {
        guard let slash = path.lastIndex(of: "/") else { return "." }
        return slash == path.startIndex ? "/" : String(path[..<slash])
    }

    /// Whether the file lies on a file system that is mounted read-only.
    static func isOnReadOnlyMount(_ path: String) -> Bool {
        var status = statvfs()
        return statvfs(path, &status) == 0 && status.f_flag & UInt(ST_RDONLY) != 0
    }
}

extension StoreError {
    static func exists(_ path: String) -> StoreError {
        StoreError(.exists, path, "there is a file already", "move it away if it is not needed")
    }
}
