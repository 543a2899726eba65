// A password in memory: it can be used, and not be printed by accident, not even by a dump of what holds it.
// What held it is wiped when nobody needs it any more.

import Glibc

/// A text that is never shown.
public struct Secret: Hashable, Sendable {
    private let storage: Storage
    static let fileBytesMax = 4096

    public init(_ text: String) {
        var text = text
        self.init(bytes: text.withUTF8 { Storage(UnsafeRawBufferPointer($0)) })
    }

    private init(bytes storage: Storage) {
        self.storage = storage
    }

    public static func == (one: Secret, other: Secret) -> Bool {
        one.storage.bytes.elementsEqual(other.storage.bytes)
    }

    public func hash(into hasher: inout Hasher) { hasher.combine(bytes: storage.bytes) }

    /// Calls `body` with its bytes, which are not to be kept.
    func withBytes<Value>(_ body: (UnsafeRawBufferPointer) -> Value) -> Value {
        defer { withExtendedLifetime(storage) {} }
        return body(storage.bytes)
    }

    /// The compiler does not leave this out, as it may where nobody reads what was written.
    static func overwrite(_ bytes: UnsafeMutableRawBufferPointer) {
        if let start = bytes.baseAddress { explicit_bzero(start, bytes.count) }
    }

    /// Bytes that are overwritten before they are given back.
    // @unchecked: nothing changes between the initializer and the end.
    private final class Storage: @unchecked Sendable {
        let bytes: UnsafeRawBufferPointer

        init(_ text: UnsafeRawBufferPointer) {
            let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: text.count, alignment: 1)
            copy.copyMemory(from: text)
            bytes = UnsafeRawBufferPointer(copy)
        }

        deinit {
            let copy = UnsafeMutableRawBufferPointer(mutating: bytes)
            Secret.overwrite(copy)
            copy.deallocate()
        }
    }

    /// The content of a file without trailing line ends. The error names the file.
    public init(file path: String) throws(RedisURLError) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .passwordFile(path: path, reason: String(cString: strerror(errno))) }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: Self.fileBytesMax + 1)
        defer { bytes.withUnsafeMutableBytes { Secret.overwrite($0) } }
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
        let storage = bytes.withUnsafeBytes { buffer in
            let text = UnsafeRawBufferPointer(rebasing: buffer[..<count])
            return String(validating: text, as: UTF8.self) == nil ? nil : Storage(text)
        }
        guard let storage else { throw .passwordFile(path: path, reason: "it is not UTF-8 text") }
        self.init(bytes: storage)
    }
}

extension Secret: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    public var description: String { "(secret)" }
    public var debugDescription: String { description }
    public var customMirror: Mirror { Mirror(self, children: []) }
}
