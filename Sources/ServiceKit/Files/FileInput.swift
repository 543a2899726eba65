// Reading a file of any size, or standard input, in large pieces.

import Glibc

/// A file that is read from its beginning to its end. Owned by one thread.
public final class FileInput {
    public let path: String
    /// Bytes of a plain file; nil for a pipe or a terminal.
    public let bytes: Int?
    private let descriptor: Int32
    private let isOwned: Bool

    /// Opens a file.
    ///
    /// - Throws: 74 if it cannot be opened.
    public init(_ path: String) throws(Failure) {
        switch SystemCall.open(path, O_RDONLY) {
        case .done(let opened): descriptor = opened
        case .failed(let number): throw Failure(cannot: "open", errno: number, at: path)
        }
        self.path = path
        isOwned = true
        bytes = Self.plainBytes(descriptor)
    }

    /// Standard input.
    public init(standardInputAs name: String) {
        path = name
        descriptor = STDIN_FILENO
        isOwned = false
        bytes = Self.plainBytes(STDIN_FILENO)
    }

    deinit { if isOwned { SystemCall.close(descriptor) } }

    /// Reads until `buffer` is full or the file ends; how many bytes came.
    ///
    /// - Throws: 74.
    public func read(into buffer: UnsafeMutableRawBufferPointer) throws(Failure) -> Int {
        var count = 0
        while count < buffer.count {
            let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[count...])
            switch SystemCall.retrying({ Glibc.read(descriptor, rest.baseAddress, rest.count) }) {
            case .done(0): return count
            case .done(let more): count += more
            case .failed(let number): throw Failure(cannot: "read", errno: number, at: path)
            }
        }
        return count
    }

    private static func plainBytes(_ descriptor: Int32) -> Int? {
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
        return Int(status.st_size)
    }
}
