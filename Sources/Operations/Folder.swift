// Folders that only ever hold files of ours, and what the disk below them has left.

import Glibc
import ServiceKit

enum Folder {
    /// Removes a folder's files and the folder, with those below it; nothing happens if there is none.
    static func removeFiles(_ path: String) throws(Failure) {
        guard let names = try names(in: path) else { return }
        for name in names {
            let entry = "\(path)/\(name)"
            if unlink(entry) == 0 { continue }
            guard errno == EISDIR else { throw Failure(cannot: "remove", errno: errno, at: entry) }
            try removeFiles(entry)
        }
        guard rmdir(path) == 0 else { throw Failure(cannot: "remove the folder", errno: errno, at: path) }
    }

    /// Makes a folder; it may be there.
    static func make(_ path: String) throws(Failure) {
        guard mkdir(path, 0o750) == 0 || errno == EEXIST else {
            throw Failure(cannot: "make the folder", errno: errno, at: path)
        }
    }

    /// The bytes of all files in a folder; 0 if there is none.
    static func bytes(_ path: String) throws(Failure) -> Int {
        var bytes = 0
        for name in try names(in: path) ?? [] {
            var status = stat()
            if stat("\(path)/\(name)", &status) == 0 { bytes += Int(status.st_size) }
        }
        return bytes
    }

    static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    /// Whether there is certainly no such file; false also if this user may not look.
    static func isMissing(_ path: String) -> Bool { access(path, F_OK) != 0 && errno == ENOENT }

    /// Device and number of a file, as leases name a lock; nil if there is none.
    static func identity(_ path: String) -> String? {
        var status = stat()
        return stat(path, &status) == 0 ? "\(status.st_dev):\(status.st_ino)" : nil
    }

    /// Everything in a folder but `.` and `..`; nil if there is no folder.
    static func names(in path: String) throws(Failure) -> [String]? {
        guard let directory = opendir(path) else {
            if errno == ENOENT { return nil }
            throw Failure(cannot: "read the folder", errno: errno, at: path)
        }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names.sorted()
    }

    /// The folder that a path is in, "." without one.
    static func of(_ path: String) -> String {
        let name = trimmed(path)
        guard let slash = name.lastIndex(of: "/") else { return "." }
        return slash == name.startIndex ? "/" : String(name[..<slash])
    }

    /// Without slashes at the end.
    static func trimmed(_ path: String) -> String {
        var name = path[...]
        while name.count > 1, name.hasSuffix("/") { name = name.dropLast() }
        return String(name)
    }

    /// What is left on the disk of a path.
    static func freeBytes(_ path: String) throws(Failure) -> Int {
        try HostFacts.Disk(of: path).freeBytes
    }

    /// Makes sure that a disk has room.
    ///
    /// - Throws: 74 if it has not.
    static func requireSpace(_ bytes: Int, at path: String) throws(Failure) {
        let free = try freeBytes(path)
        guard free >= bytes else {
            throw Failure(
                .ioError, "\(Humanized.bytes(bytes)) are needed and \(Humanized.bytes(free)) free", at: path,
                advice: "Free space, or choose a folder on another disk.")
        }
    }
}
