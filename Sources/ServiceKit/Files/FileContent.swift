// Reading a small file as a whole.

import Glibc

/// The bytes of a file.
public enum FileContent {
    /// All bytes of a file, or nil if there is none.
    ///
    /// - Throws: 74 if it cannot be read, 78 if it has more than `maximumBytes`.
    public static func readIfPresent(_ path: String, maximumBytes: Int) throws(Failure) -> [UInt8]? {
        let descriptor: Int32
        switch SystemCall.open(path, O_RDONLY) {
        case .done(let opened): descriptor = opened
        case .failed(ENOENT): return nil
        case .failed(let number): throw Failure(cannot: "open", errno: number, at: path)
        }
        defer { SystemCall.close(descriptor) }
        switch SystemCall.readUpTo(maximumBytes + 1, from: descriptor) {
        case .failed(let number): throw Failure(cannot: "read", errno: number, at: path)
        case .done(let bytes) where bytes.count > maximumBytes:
            throw Failure(.configuration, "the file has more than \(maximumBytes) bytes", at: path)
        case .done(let bytes): return bytes
        }
    }
}
