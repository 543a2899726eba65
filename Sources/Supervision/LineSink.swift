// Where lines go that people read: stderr, stdout, or a log file. A line that cannot be written is lost and the work
// goes on: a terminal that was closed must not keep a cluster from draining.

import Glibc
public import ServiceKit

/// Takes whole lines.
public final class LineSink: Sendable {
    private let descriptor: Int32
    private let isOwned: Bool

    public static let standardOutput = LineSink(STDOUT_FILENO, isOwned: false)
    public static let standardError = LineSink(STDERR_FILENO, isOwned: false)

    private init(_ descriptor: Int32, isOwned: Bool) {
        self.descriptor = descriptor
        self.isOwned = isOwned
    }

    /// Appends to a file; one that has grown beyond `maximumBytes` is emptied first.
    ///
    /// - Throws: exit code 74 if it cannot be opened.
    public convenience init(appendingTo path: String, maximumBytes: Int) throws(Failure) {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o640)
        guard descriptor >= 0 else { throw Failure(cannot: "open the log file", errno: errno, at: path) }
        self.init(descriptor, isOwned: true)
        var status = stat()
        if fstat(descriptor, &status) == 0, status.st_mode & 0o007 != 0 {
            _ = fchmod(descriptor, status.st_mode & 0o770)  // of an earlier release; another user's stays as it is
        }
        guard fstat(descriptor, &status) == 0, status.st_size > maximumBytes else { return }
        guard ftruncate(descriptor, 0) == 0 else {
            throw Failure(cannot: "empty the log file", errno: errno, at: path)
        }
    }

    deinit {
        if isOwned { close(descriptor) }
    }

    public func write(_ line: String) {
        Array("\(line)\n".utf8).withUnsafeBytes { bytes in
            var offset = 0
            while offset < bytes.count {
                let count = Glibc.write(descriptor, bytes.baseAddress?.advanced(by: offset), bytes.count - offset)
                if count > 0 { offset += count }
                if count == 0 || count < 0 && errno != EINTR && !waitWritable() { return }
            }
        }
    }

    /// Whether the last error was only that a non-blocking descriptor (somebody else's choice) is full; waits then.
    private func waitWritable() -> Bool {
        guard errno == EAGAIN else { return false }
        var entry = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        return poll(&entry, 1, -1) > 0
    }
}
