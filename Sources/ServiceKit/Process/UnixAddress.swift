// Addresses of unix sockets, which the system takes in a structure of fixed size: a path of at most 107 bytes and its
// NUL, or a name in the abstract namespace, which begins with a NUL and ends where its length says.

public import Glibc

/// The address of a unix socket: a path, or a name in the abstract namespace, written with '@' in front.
public struct UnixAddress {
    private var address = sockaddr_un()
    private let length: socklen_t

    /// nil if it does not fit into the 108 bytes of an address, a path's NUL included, or is neither form.
    public init?(_ text: String) {
        var bytes = Array(text.utf8)
        let isAbstract = bytes.first == UInt8(ascii: "@")
        guard isAbstract || bytes.first == UInt8(ascii: "/"), bytes.count > 1, !bytes.contains(0) else { return nil }
        if isAbstract { bytes[0] = 0 }
        let capacity = MemoryLayout.size(ofValue: address.sun_path)
        guard bytes.count < capacity else { return nil }
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: bytes) }
        let offset = MemoryLayout<sockaddr_un>.offset(of: \.sun_path) ?? 2
        length = socklen_t(offset + bytes.count + (isAbstract ? 0 : 1))
    }

    public func withPointer<Value>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Value) -> Value {
        withUnsafePointer(to: address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
        }
    }
}
