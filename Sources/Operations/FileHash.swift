// The size and the XXH64 of a file, as `xxhsum -H64` shows it.

import ServiceKit
import TallyCore

/// What tells the content of a file.
struct FileHash: Hashable, Sendable {
    let bytes: Int
    let hash: UInt64

    private static let bufferBytes = 1 << 20

    /// Reads a file.
    ///
    /// - Parameter visit: gets the bytes as they come.
    /// - Throws: 74; what `visit` throws.
    init(
        _ path: String, visit: (UnsafeRawBufferPointer) throws(Failure) -> Void = { _ throws(Failure) in }
    ) throws(Failure) {
        let input = try FileInput(path)
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: Self.bufferBytes, alignment: 16)
        defer { buffer.deallocate() }
        var stream = XXH64Stream()
        var bytes = 0
        while true {
            let count = try input.read(into: buffer)
            if count == 0 { break }
            let piece = UnsafeRawBufferPointer(rebasing: buffer[..<count])
            stream.add(piece)
            try visit(piece)
            bytes += count
        }
        self.bytes = bytes
        hash = stream.hash
    }
}
