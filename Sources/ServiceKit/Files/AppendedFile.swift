// A file that only grows, line by line: each line is written whole, and durable when the caller says so.

import Glibc

/// A file open for appending. Owned by one thread.
public final class AppendedFile {
    public let path: String
    private let descriptor: Int32

    /// Opens the file, or creates it.
    ///
    /// - Parameter mode: the permissions of a new file.
    /// - Throws: exit code 74.
    public init(_ path: String, mode: UInt32 = 0o640) throws(Failure) {
        self.path = path
        switch SystemCall.open(path, O_WRONLY | O_CREAT | O_APPEND, mode: mode) {
        case .done(let opened): descriptor = opened
        case .failed(let number): throw Failure(cannot: "open", errno: number, at: path)
        }
    }

    deinit { SystemCall.close(descriptor) }

    /// Appends a line; its end is added.
    ///
    /// - Throws: exit code 74; part of the line may be in the file then.
    public func append(line: String) throws(Failure) {
        if let number = SystemCall.writeAll(Array((line + "\n").utf8), to: descriptor) {
            throw Failure(cannot: "write", errno: number, at: path)
        }
    }

    /// Makes what was appended durable.
    ///
    /// - Throws: exit code 74.
    public func sync() throws(Failure) {
        guard fsync(descriptor) == 0 else { throw Failure(cannot: "sync", errno: errno, at: path) }
    }
}
