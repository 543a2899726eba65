// The sockets of one address. A name is all the addresses of this machine that it stands for: `localhost` is 127.0.0.1
// for one client and ::1 for another, and both are to be served. `[::]` is every address of both families.

import Glibc
import ServiceKit

/// Sockets that listen, at least one.
struct ListeningSockets {
    let descriptors: [Int32]
    /// As it was asked for, with the port that the system chose: the same for all.
    let address: Endpoint
    /// What is bound, with digits.
    let bound: [Endpoint]
    private static let backlog: Int32 = 4_096
    /// A port that the system chose for one address may be taken at another.
    private static let attemptsMax = 16

    /// - Parameter isGuarded: false: everybody who reaches the address may do everything.
    /// - Throws: exit code 69 if the address cannot be had, 78 if it is neither guarded nor a loopback one.
    init(_ address: Endpoint, isGuarded: Bool) throws(Failure) {
        let candidates: [SocketAddress]
        do throws(ResolverError) { candidates = try SocketAddress.resolve(address) } catch {
            throw Self.failure(address, error.reason)
        }
        try self.init(candidates, of: address, isGuarded: isGuarded)
    }

    init(_ candidates: [SocketAddress], of address: Endpoint, isGuarded: Bool) throws(Failure) {
        // Whatever a name says: what counts is what it resolved to.
        if !isGuarded, !candidates.allSatisfy(\.isLoopback) { throw Self.unguarded(address) }
        var attempts = address.port == 0 ? Self.attemptsMax : 1
        while true {
            attempts -= 1
            do throws(BindError) {
                descriptors = try Self.listen(candidates)
                break
            } catch {
                if error.number == EADDRINUSE, attempts > 0 { continue }
                let reason = String(cString: strerror(error.number))
                throw Self.failure(address, candidates.count > 1 ? "\(error.address.endpoint): \(reason)" : reason)
            }
        }
        let addresses = descriptors.compactMap { SocketAddress(boundTo: $0) }
        self.address = Endpoint(host: address.host, port: addresses.first?.port ?? address.port)
        bound = addresses.flatMap { address in
            address.isUnspecifiedIPv6
                ? [address.endpoint, Endpoint(host: "0.0.0.0", port: address.port)] : [address.endpoint]
        }
    }

    private struct BindError: Error {
        let address: SocketAddress
        let number: Int32
    }

    /// Listens on all of them, at one port. One that this machine has not - it may be without IPv6 - is left out,
    /// unless it has none.
    private static func listen(_ candidates: [SocketAddress]) throws(BindError) -> [Int32] {
        var descriptors: [Int32] = []
        var missing: BindError?
        var chosenPort: Int?
        for var candidate in candidates {
            if let chosenPort { candidate.port = chosenPort }
            do throws(BindError) {
                let descriptor = try listen(candidate)
                descriptors.append(descriptor)
                chosenPort = chosenPort ?? SocketAddress(boundTo: descriptor)?.port
            } catch {
                missing = error
                if error.number == EADDRNOTAVAIL || error.number == EAFNOSUPPORT { continue }
                for descriptor in descriptors { close(descriptor) }
                throw error
            }
        }
        if descriptors.isEmpty, let missing { throw missing }
        precondition(!descriptors.isEmpty, "a name that was resolved has no address")
        return descriptors
    }

    private static func listen(_ address: SocketAddress) throws(BindError) -> Int32 {
        let kind = Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue)
        let descriptor = socket(address.family, kind, 0)
        if descriptor < 0 { throw BindError(address: address, number: errno) }
        set(SOL_SOCKET, SO_REUSEADDR, 1, of: descriptor)
        if address.family == AF_INET6 {
            set(Int32(IPPROTO_IPV6), IPV6_V6ONLY, address.isUnspecifiedIPv6 ? 0 : 1, of: descriptor)
        }
        let isBound = address.withPointer { bind(descriptor, $0, $1) == 0 } ?? false
        if isBound, Glibc.listen(descriptor, backlog) == 0 { return descriptor }
        let error = BindError(address: address, number: errno)
        close(descriptor)
        throw error
    }

    /// Of a socket that was just made: it does not refuse.
    private static func set(_ level: Int32, _ option: Int32, _ value: Int32, of descriptor: Int32) {
        var value = value
        setsockopt(descriptor, level, option, &value, socklen_t(MemoryLayout<Int32>.size))
    }

    private static func unguarded(_ address: Endpoint) -> Failure {
        Failure(
            .configuration, "more than this machine reaches this address, and no tokens are demanded", at: "\(address)",
            advice: "Make one, `tallymill token new NAME --scopes write --append FILE`, and name the file with "
                + "--tokens-file; or listen on 127.0.0.1, behind a proxy that lets only the right ones through.")
    }

    private static func failure(_ address: Endpoint, _ reason: String) -> Failure {
        Failure(
            .unavailable, "cannot listen on \(address): \(reason)",
            advice: "Another program may have it: --listen takes another address.")
    }
}
