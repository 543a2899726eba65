// Where the lines go that an import skips: as they came, byte for byte, so that they can be corrected and imported.

import Glibc
import ServiceKit

/// A file of refused lines. It is created with the first of them. Owned by one thread.
public final class RejectsFile {
    public let path: String
    private var output: FileOutput?
    private var buffer: [UInt8] = []

    private static let bufferBytes = 1 << 16

    /// - Parameter path: must not exist when the first line comes.
    public init(_ path: String) {
        self.path = path
    }

    /// The name that is taken unless another is given.
    public static func defaultPath(in folder: DataFolder, milliseconds: Int64) -> String {
        "\(folder.path)/import-rejects-\(FileTime.text(milliseconds: milliseconds)).txt"
    }

    /// Appends the bytes of a line or a piece of one.
    ///
    /// - Throws: 74.
    func append(_ bytes: UnsafeRawBufferPointer) throws(Failure) {
        buffer.append(contentsOf: bytes)
        if buffer.count >= Self.bufferBytes { try flush() }
    }

    func append(_ byte: UInt8) { buffer.append(byte) }

    func endLine() throws(Failure) {
        buffer.append(UInt8(ascii: "\n"))
        // From the first line on there is a file to look at.
        if output == nil { try flush() }
    }

    /// Makes everything durable.
    ///
    /// - Throws: 74.
    func finish() throws(Failure) {
        try flush()
        try output?.sync()
    }

    private func flush() throws(Failure) {
        if buffer.isEmpty { return }
        let file: FileOutput
        if let output { file = output } else { file = try FileOutput(path, .refuse) }
        output = file
        var failure: Failure?
        buffer.withUnsafeBytes { bytes in
            do throws(Failure) { try file.write(bytes) } catch { failure = error }
        }
        if let failure { throw failure }
        buffer.removeAll(keepingCapacity: true)
    }
}

/// A time in the name of a file: 20261121T091658Z.
enum FileTime {
    static func text(milliseconds: Int64) -> String {
        let digits = Timestamp.rfc3339(milliseconds: milliseconds).prefix(19)
        return digits.filter { $0 != "-" && $0 != ":" } + "Z"
    }
}
