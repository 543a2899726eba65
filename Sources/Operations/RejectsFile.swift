// Where the lines go that an import skips: as they came, byte for byte, so that they can be corrected and imported.

import Glibc
import ServiceKit

/// A file of refused lines. It is created with the first of them. Owned by one thread.
public final class RejectsFile {
    /// Of the file; of one without a name of its own, known when the first line has come.
    public private(set) var path: String
    /// Whether another name is taken if this one is another file's.
    private let takesFreeName: Bool
    private var output: FileOutput?
    private var buffer: [UInt8] = []

    private static let bufferBytes = 1 << 16

    /// - Parameter path: must not exist when the first line comes.
    public init(_ path: String) {
        self.path = path
        takesFreeName = false
    }

    /// A file that is named by its time, and by a number if another import of the same second has that name.
    public init(in folder: DataFolder, milliseconds: Int64) {
        path = "\(folder.path)/import-rejects-\(FileTime.text(milliseconds: milliseconds))\(Self.suffix)"
        takesFreeName = true
    }

    private static let suffix = ".txt"

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
        if let output { file = output } else { file = try create() }
        output = file
        var failure: Failure?
        buffer.withUnsafeBytes { bytes in
            do throws(Failure) { try file.write(bytes) } catch { failure = error }
        }
        if let failure { throw failure }
        buffer.removeAll(keepingCapacity: true)
    }

    private func create() throws(Failure) -> FileOutput {
        let stem = path.dropLast(Self.suffix.count)
        var number = 1
        while true {
            do throws(Failure) { return try FileOutput(path, .refuse) } catch {
                guard Folder.exists(path) else { throw error }
                guard takesFreeName else {
                    throw Failure(
                        .ioError, "there is such a file already", at: path,
                        advice: "Nothing was counted. Name another file with --rejects, or move that one away.")
                }
            }
            number += 1
            path = "\(stem)-\(number)\(Self.suffix)"
        }
    }
}

/// A time in the name of a file: 20261121T091658Z.
enum FileTime {
    static func text(milliseconds: Int64) -> String {
        let digits = Timestamp.rfc3339(milliseconds: milliseconds).prefix(19)
        return digits.filter { $0 != "-" && $0 != ":" } + "Z"
    }
}
