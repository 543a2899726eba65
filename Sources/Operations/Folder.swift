// Emptying a folder that only ever holds plain files of ours.

import Glibc
import ServiceKit

enum Folder {
    /// Removes a folder's files and the folder; nothing happens if there is none.
    static func removeFiles(_ path: String) throws(Failure) {
        guard let directory = opendir(path) else {
            if errno == ENOENT { return }
            throw Failure(cannot: "read the folder", errno: errno, at: path)
        }
        defer { closedir(directory) }
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name == "." || name == ".." { continue }
            guard unlink("\(path)/\(name)") == 0 else {
                throw Failure(cannot: "remove", errno: errno, at: "\(path)/\(name)")
            }
        }
        guard rmdir(path) == 0 else { throw Failure(cannot: "remove the folder", errno: errno, at: path) }
    }
}
