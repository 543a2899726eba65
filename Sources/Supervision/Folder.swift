// Making folders, and making sure that one in a place where anybody may write belongs to us.

import Glibc
import ServiceKit

enum Folder {
    /// Makes a folder and those above it; one that is there is left as it is.
    ///
    /// - Throws: exit code 74.
    static func make(_ path: String, mode: UInt32 = 0o755) throws(Failure) {
        if mkdir(path, mode_t(mode)) == 0 || errno == EEXIST { return }
        guard errno == ENOENT, let slash = path.lastIndex(of: "/"), slash > path.startIndex else {
            throw Failure(cannot: "make the folder", errno: errno, at: path)
        }
        try make(String(path[..<slash]))
        guard mkdir(path, mode_t(mode)) == 0 || errno == EEXIST else {
            throw Failure(cannot: "make the folder", errno: errno, at: path)
        }
    }

    /// Makes a folder that its owner's group may look into and nobody else, in one that exists; one that is there is
    /// taken from the others.
    ///
    /// - Throws: exit code 74.
    static func makeClosed(_ path: String) throws(Failure) {
        try make(path, mode: 0o750)
        var status = stat()
        guard stat(path, &status) == 0, status.st_mode & 0o007 != 0, status.st_uid == geteuid() else { return }
        guard chmod(path, status.st_mode & 0o770) == 0 else {
            throw Failure(cannot: "take the folder from others", errno: errno, at: path)
        }
    }

    /// Makes a folder that only this user can enter, in one that exists.
    ///
    /// Somebody else could have made it before us in /tmp, or have put a symbolic link there: then it is refused.
    ///
    /// - Throws: exit code 74.
    static func makePrivate(_ path: String) throws(Failure) {
        guard mkdir(path, 0o700) == 0 || errno == EEXIST else {
            throw Failure(cannot: "make the folder", errno: errno, at: path)
        }
        let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard descriptor >= 0 else {
            throw Failure(cannot: "open the folder", errno: errno, at: path, advice: advice)
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            throw Failure(cannot: "look at the folder", errno: errno, at: path)
        }
        guard status.st_uid == geteuid() else {
            throw Failure(.ioError, "the folder belongs to user \(status.st_uid)", at: path, advice: advice)
        }
        guard status.st_mode & 0o077 == 0 || fchmod(descriptor, 0o700) == 0 else {
            throw Failure(cannot: "make the folder private", errno: errno, at: path)
        }
    }

    private static let advice =
        "It is for sockets, because the path of the data folder is too long for one. Remove it, or "
        + "give --data-dir a shorter path."
}
