// A password in memory: it can be used, and not be printed by accident, not even by a dump of what holds it.

import Glibc

/// A text that is never shown.
public struct Secret: Hashable, Sendable {
    let text: String
    static let fileBytesMax = 4096

    public init(_ text: String) {
        self.text = text
    }

    /// The content of a file without trailing line ends. The error names the file.
    public init(file path: String) throws(RedisURLError) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .passwordFile(path: path, reason: String(cString: strerror(errno))) }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: Self.fileBytesMax + 1)
        var count = 0
        while count < bytes.count {
            let got = bytes.withUnsafeMutableBytes { buffer in
                read(descriptor, buffer.baseAddress?.advanced(by: count), buffer.count - count)
            }
            if got < 0, errno == EINTR { continue }
            guard got >= 0 else { throw .passwordFile(path: path, reason: String(cString: strerror(errno))) }
            if got == 0 { break }
            count += got
        }
        guard count <= Self.fileBytesMax else {
            throw .passwordFile(path: path, reason: "longer than \(Self.fileBytesMax) bytes")
        }
        while count > 0, bytes[count - 1] == UInt8(ascii: "\n") || bytes[count - 1] == UInt8(ascii: "\r") { count -= 1 }
        guard count > 0 else { throw .passwordFile(path: path, reason: "it is empty") }
        guard let text = String(validating: bytes[..<count], as: UTF8.self) else {
            throw .passwordFile(path: path, reason: "it is not UTF-8 text")
        }
        self.init(text)
    }
}

extension Secret: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    public var description: String { "(secret)" }
    public var debugDescription: String { description }
    public var customMirror: Mirror { Mirror(self, children: []) }
}
