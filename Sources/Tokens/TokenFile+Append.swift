// Adding a token to a file, so that whoever reads the file meanwhile finds it with the new line or without. One process
// at a time: two that read the same lines would lose one another's.

import Glibc
public import ServiceKit

extension TokenFile {
    /// Of a file that did not exist; an existing one keeps its permissions and its owner.
    static let modeOfNewFile: UInt32 = 0o640

    /// Adds a line for `token` to the file, or makes the file. Its lock, `<path>.lock`, stays beside it.
    ///
    /// - Throws: 78 if something in the file is wrong, or the name or the token is already there; 75 if another process
    ///   is changing the file; 74 if it cannot be written.
    public static func append(_ token: Token, to path: String) throws(Failure) {
        guard case .acquired(let lock) = try FileLock.attempt("\(path).lock") else {
            throw Failure(.locked, "another process is changing this file", at: path, advice: "Run this again.")
        }
        try withExtendedLifetime(lock) { () throws(Failure) in
            var content = try FileContent.readIfPresent(path, maximumBytes: bytesMax) ?? []
            // First alone: what is wrong already is not the fault of the new line.
            _ = try TokenFile(path: path, content: content)
            if let last = content.last, last != UInt8(ascii: "\n") { content.append(UInt8(ascii: "\n")) }
            content += Array("\(line(token))\n".utf8)
            _ = try TokenFile(path: path, content: content)
            try replace(path, with: content)
        }
    }

    private static func replace(_ path: String, with content: [UInt8]) throws(Failure) {
        var status = stat()
        let isThere = stat(path, &status) == 0
        try AtomicFile.write(content, to: path, mode: isThere ? status.st_mode & 0o777 : modeOfNewFile)
        guard isThere, status.st_uid != geteuid() || status.st_gid != getegid() else { return }
        guard chown(path, status.st_uid, status.st_gid) == 0 else {
            throw Failure(
                cannot: "give the file back to its owner", errno: errno, at: path,
                advice: "The line is in it. Run `chown` so that the web node can read it.")
        }
    }
}
