// Addresses as the system has them: what a name resolves to, and whom that lets in.

import Glibc
import ServiceKit

/// An IPv4 or IPv6 address with its port.
struct SocketAddress: Hashable {
    let family: Int32
    /// A `sockaddr_in` or a `sockaddr_in6`.
    private var bytes: [UInt8]

    /// The port lies at the same offset in both families, in the order of the network.
    private static let portOffset = 2

    /// nil for other families.
    private init?(_ entry: addrinfo) {
        guard entry.ai_family == AF_INET || entry.ai_family == AF_INET6, let address = entry.ai_addr else { return nil }
        family = entry.ai_family
        bytes = Array(UnsafeRawBufferPointer(start: address, count: Int(entry.ai_addrlen)))
    }

    /// Where a socket is bound; nil if it is not, or of another family.
    init?(boundTo descriptor: Int32) {
        self.init { getsockname(descriptor, $0, $1) }
    }

    /// Who is at the other end of a socket; nil if it is not connected, or of another family.
    init?(connectedTo descriptor: Int32) {
        self.init { getpeername(descriptor, $0, $1) }
    }

    private init?(_ ask: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> Int32) {
        bytes = [UInt8](repeating: 0, count: MemoryLayout<sockaddr_storage>.size)
        var size = socklen_t(bytes.count)
        let result = bytes.withUnsafeMutableBytes { bytes -> Int32 in
            guard let base = bytes.baseAddress else { return -1 }
            return ask(base.assumingMemoryBound(to: sockaddr.self), &size)
        }
        guard result == 0 else { return nil }
        bytes.removeSubrange(Int(size)...)
        family = bytes.withUnsafeBytes { Int32($0.loadUnaligned(as: sa_family_t.self)) }
        guard family == AF_INET || family == AF_INET6 else { return nil }
    }

    /// Everything that the host of `endpoint` stands for, each once, in the resolver's order.
    ///
    /// - Throws: why it stands for nothing.
    static func resolve(_ endpoint: Endpoint) throws(ResolverError) -> [SocketAddress] {
        var hints = addrinfo()
        hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(endpoint.host, "\(endpoint.port)", &hints, &list)
        guard code == 0, let list else {
            throw ResolverError(reason: gai_strerror(code).map { String(cString: $0) } ?? "error \(code)")
        }
        defer { freeaddrinfo(list) }
        var found: [SocketAddress] = []
        var next: UnsafeMutablePointer<addrinfo>? = list
        while let entry = next {
            // A name that stands twice in the file of hosts comes twice.
            if let address = SocketAddress(entry.pointee), !found.contains(address) { found.append(address) }
            next = entry.pointee.ai_next
        }
        return found
    }

    var port: Int {
        get { Int(bytes[Self.portOffset]) << 8 | Int(bytes[Self.portOffset + 1]) }
        set {
            bytes[Self.portOffset] = UInt8(newValue >> 8)
            bytes[Self.portOffset + 1] = UInt8(newValue & 0xFF)
        }
    }

    func withPointer<Result>(_ use: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result? {
        bytes.withUnsafeBytes { raw in
            raw.baseAddress.map { use($0.assumingMemoryBound(to: sockaddr.self), socklen_t(raw.count)) }
        }
    }

    /// The bytes of the address alone.
    private var host: ArraySlice<UInt8> { family == AF_INET ? bytes[4..<8] : bytes[8..<24] }

    /// An IPv4 address, also as IPv6 writes it, or the first 64 bits of an IPv6 address.
    var networkBits: UInt64 {
        let isMapped = family == AF_INET6 && host.prefix(12).elementsEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF])
        let bits = family == AF_INET || isMapped ? host.suffix(4) : host.prefix(8)
        return bits.reduce(0) { $0 << 8 | UInt64($1) }
    }

    /// 127.0.0.0/8 and ::1. The unspecified addresses are not: they stand for all.
    var isLoopback: Bool {
        family == AF_INET ? host.first == 127 : host.dropLast().allSatisfy { $0 == 0 } && host.last == 1
    }

    /// `::`, every address of the machine.
    var isUnspecifiedIPv6: Bool { family == AF_INET6 && host.allSatisfy { $0 == 0 } }

    /// With digits for the host.
    var endpoint: Endpoint {
        var text = [CChar](repeating: 0, count: Int(NI_MAXHOST))
        let isKnown = withPointer { address, length in
            getnameinfo(address, length, &text, socklen_t(text.count), nil, 0, NI_NUMERICHOST) == 0
        }
        let name = String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
        return Endpoint(host: isKnown == true ? name : "unknown", port: port)
    }
}

/// Why a name stands for no address, in the words of the resolver.
struct ResolverError: Error {
    let reason: String
}
