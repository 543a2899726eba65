// A small file that is either the old one or the new one, whenever the machine stops: the new content is written
// and synced under another name in the same folder, renamed over the old one, and the folder is synced, because
// the rename itself is not on disk before that.

import Glibc

/// Replaces files whole.
public enum AtomicFile {
    /// Replaces the content of a file, or creates it.
    ///
    /// A leftover of a write that was interrupted has the name `.<name>.<pid>.new`; it is never read, and may be
    /// deleted. Two threads of one process may not write the same file at the same time.
    ///
    /// - Parameters:
    ///   - mode: the permissions of the new file, whatever the umask and the old file's.
    /// - Throws: exit code 74; the old file is then still there.
    public static func write(_ bytes: [UInt8], to path: String, mode: UInt32 = 0o640) throws(Failure) {
        let (folder, name) = split(path)
        let temporary = "\(folder)/.\(name).\(getpid()).new"
        do throws(Failure) {
            try writeNew(bytes, to: temporary, mode: mode)
            guard rename(temporary, path) == 0 else {
                throw Failure(cannot: "replace the file", errno: errno, at: path)
            }
        } catch {
            _ = unlink(temporary)  // the first error is the one to report
            throw error
        }
        try syncFolder(folder)
    }

    /// Makes the names in a folder durable.
    ///
    /// - Throws: exit code 74.
    public static func syncFolder(_ folder: String) throws(Failure) {
        let descriptor = try open(folder, O_RDONLY | O_DIRECTORY, mode: 0)
        defer { SystemCall.close(descriptor) }
        guard fsync(descriptor) == 0 else { throw Failure(cannot: "sync the folder", errno: errno, at: folder) }
    }

    private static func writeNew(_ bytes: [UInt8], to path: String, mode: UInt32) throws(Failure) {
        let descriptor = try open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode: 0o600)
        defer { SystemCall.close(descriptor) }
        if let number = SystemCall.writeAll(bytes, to: descriptor) {
            throw Failure(cannot: "write", errno: number, at: path)
        }
        guard fchmod(descriptor, mode_t(mode)) == 0 else {
            throw Failure(cannot: "set the permissions", errno: errno, at: path)
        }
        guard fsync(descriptor) == 0 else { throw Failure(cannot: "sync", errno: errno, at: path) }
    }

    private static func open(_ path: String, _ flags: Int32, mode: UInt32) throws(Failure) -> Int32 {
        switch SystemCall.open(path, flags, mode: mode) {
        case .done(let descriptor): return descriptor
        case .failed(let number): throw Failure(cannot: "open", errno: number, at: path)
        }
    }

    /// The folder ("." without one) and the last part of a path.
    private static func split(_ path: String) -> (folder: String, name: String) {
        guard let slash = path.lastIndex(of: "/") else { return (".", path) }
        let folder = String(path[..<slash])
        return (folder.isEmpty ? "/" : folder, String(path[path.index(after: slash)...]))
    }
}
