// Writing a file of any size, or to standard output, in large pieces. What was written is on the disk after `sync`
// and not before; a caller that must not show half a file writes under another name and renames it at the end. What
// goes to a terminal is shown, not obeyed.

import Glibc

/// A file that is written from its beginning to its end. Owned by one thread.
public final class FileOutput {
    public let path: String
    /// Bytes written so far.
    public private(set) var bytes = 0
    private let descriptor: Int32
    private let isOwned: Bool
    private let isTerminal: Bool
    private let stallSeconds: Int?

    /// What is done if there is a file already.
    public enum Existing: Sendable {
        /// It is an error.
        case refuse
        /// Its content goes; a pipe or a device is written to.
        case replace
    }

    /// Creates a file.
    ///
    /// - Parameter stallSeconds: how long nobody may take anything, if it is a pipe; nil for ever.
    /// - Throws: 74 if it cannot be created, or exists.
    public init(
        _ path: String, _ existing: Existing, mode: UInt32 = 0o640, stallSeconds: Int? = nil
    ) throws(Failure) {
        let flags = existing == .refuse ? O_CREAT | O_EXCL : O_CREAT | O_TRUNC
        switch SystemCall.open(path, O_WRONLY | flags, mode: mode) {
        case .done(let opened): descriptor = opened
        case .failed(let number): throw Failure(cannot: "create", errno: number, at: path)
        }
        self.path = path
        self.stallSeconds = stallSeconds
        isOwned = true
        isTerminal = Terminal(descriptor).isTerminal
    }

    /// Standard output.
    public init(standardOutputAs name: String, stallSeconds: Int? = nil) {
        path = name
        self.stallSeconds = stallSeconds
        descriptor = STDOUT_FILENO
        isOwned = false
        isTerminal = Terminal.standardOutput.isTerminal
    }

    deinit { if isOwned { SystemCall.close(descriptor) } }

    /// Writes all of `buffer`, which ends with a whole character.
    ///
    /// - Throws: 74, also if nobody has read on for too long.
    public func write(_ buffer: UnsafeRawBufferPointer) throws(Failure) {
        if isTerminal {
            try TerminalText.shown(buffer).withUnsafeBufferPointer { shown throws(Failure) in
                try writeAll(UnsafeRawBufferPointer(shown))
            }
        } else {
            try writeAll(buffer)
        }
        bytes += buffer.count
    }

    private func writeAll(_ buffer: UnsafeRawBufferPointer) throws(Failure) {
        switch PatientWrite.all(buffer, to: descriptor, stallSeconds: stallSeconds) {
        case .done: return
        case .failed(let number): throw Failure(cannot: "write", errno: number, at: path)
        case .stalled:
            throw Failure(
                .ioError, PatientWrite.sentence(stallSeconds: stallSeconds ?? 0), at: path, advice: PatientWrite.advice)
        }
    }

    /// Forces everything to the disk. A pipe or a terminal has none.
    ///
    /// - Throws: 74.
    public func sync() throws(Failure) {
        guard fsync(descriptor) != 0, errno != EINVAL, errno != EROFS else { return }
        throw Failure(cannot: "sync", errno: errno, at: path)
    }
}
