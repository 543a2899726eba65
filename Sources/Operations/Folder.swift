// Folders that only ever hold files of ours.

import Glibc
import ServiceKit

enum Folder {
    /// Removes a folder's files and the folder, with those below it; nothing happens if there is none.
    static func removeFiles(_ path: String) throws(Failure) {
        guard let names = try names(path) else { return }
        for name in names {
            let entry = "\(path)/\(name)"
            if unlink(entry) == 0 { continue }
            guard errno == EISDIR else { throw Failure(cannot: "remove", errno: errno, at: entry) }
            try removeFiles(entry)
        }
        guard rmdir(path) == 0 else { throw Failure(cannot: "remove the folder", errno: errno, at: path) }
    }

    /// Makes a folder, unless it is there.
    static func make(_ path: String) throws(Failure) {
        guard mkdir(path, 0o750) == 0 || errno == EEXIST else {
            throw Failure(cannot: "make the folder", errno: errno, at: path)
        }
    }

    /// The bytes of all files in a folder; 0 if there is none.
    static func bytes(_ path: String) throws(Failure) -> Int {
        var bytes = 0
        for name in try names(path) ?? [] {
            var status = stat()
            if stat("\(path)/\(name)", &status) == 0 { bytes += Int(status.st_size) }
        }
        return bytes
    }

    /// The names in a folder; nil if there is none.
    static func names(_ path: String) throws(Failure) -> [String]? {
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
        return names
    }
}
