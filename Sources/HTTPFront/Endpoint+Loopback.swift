// Who reaches an address: this machine alone, or others too. What counts is what a name resolves to, not its spelling.

import Glibc
public import ServiceKit

extension Endpoint {
    /// Whether this machine alone reaches it. False for a name that cannot be resolved.
    public var isLoopback: Bool {
        var hints = addrinfo()
        hints.ai_flags = AI_NUMERICSERV
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        guard getaddrinfo(host, "\(port)", &hints, &list) == 0, let list else { return false }
        defer { freeaddrinfo(list) }
        var next: UnsafeMutablePointer<addrinfo>? = list
        while let candidate = next {
            if !Self.isLoopback(candidate.pointee.ai_addr) { return false }
            next = candidate.pointee.ai_next
        }
        return true
    }

    /// 127.0.0.0/8 and ::1. The unspecified addresses are not: they stand for all.
    static func isLoopback(_ address: UnsafePointer<sockaddr>) -> Bool {
        switch Int32(address.pointee.sa_family) {
        case AF_INET:
            return UnsafeRawPointer(address).loadUnaligned(as: sockaddr_in.self).sin_addr.s_addr.bigEndian >> 24 == 127
        case AF_INET6:
            var bytes = UnsafeRawPointer(address).loadUnaligned(as: sockaddr_in6.self).sin6_addr
            return withUnsafeBytes(of: &bytes) { $0.dropLast().allSatisfy { $0 == 0 } && $0.last == 1 }
        default: return false
        }
    }
}
