// Accepts connections on the first loop and gives them to all loops in turn.
//
// When the process or the machine has no descriptors left, a listening socket stays readable and accepting would spin;
// so it pauses until the next sweep and tries again. Who wants to connect waits in the kernel's queue meanwhile.

import CPlatform
import Glibc
import ServiceKit

/// A socket that listens.
struct ListeningSocket {
    let descriptor: Int32
    /// With the port that the system chose.
    let address: Endpoint
    private static let backlog: Int32 = 4_096

    /// - Parameter isGuarded: false: everybody who reaches the address may do everything.
    /// - Throws: exit code 69 if the address cannot be had, 78 if it is neither guarded nor a loopback one.
    init(_ address: Endpoint, isGuarded: Bool) throws(Failure) {
        var hints = addrinfo()
        hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        var list: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(address.host, "\(address.port)", &hints, &list)
        guard code == 0, let list else {
            throw Self.failure(address, gai_strerror(code).map { String(cString: $0) } ?? "error \(code)")
        }
        defer { freeaddrinfo(list) }
        var number: Int32 = 0
        var next: UnsafeMutablePointer<addrinfo>? = list
        while let candidate = next {
            // Whatever a name says: what counts is what it resolved to.
            if !isGuarded, !Endpoint.isLoopback(candidate.pointee.ai_addr) { throw Self.unguarded(address) }
            let descriptor = Self.listen(candidate.pointee)
            if descriptor >= 0 {
                self.descriptor = descriptor
                self.address = Endpoint(host: address.host, port: Self.port(of: descriptor))
                return
            }
            number = errno
            next = candidate.pointee.ai_next
        }
        throw Self.failure(address, String(cString: strerror(number)))
    }

    /// -1 and errno if it cannot.
    private static func listen(_ candidate: addrinfo) -> Int32 {
        let kind = candidate.ai_socktype | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        let descriptor = socket(candidate.ai_family, kind, candidate.ai_protocol)
        if descriptor < 0 { return -1 }
        var one: Int32 = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
        if candidate.ai_family == AF_INET6 {
            setsockopt(
                descriptor, Int32(IPPROTO_IPV6), IPV6_V6ONLY, &one, socklen_t(MemoryLayout<Int32>.size))
        }
        if bind(descriptor, candidate.ai_addr, candidate.ai_addrlen) == 0, Glibc.listen(descriptor, backlog) == 0 {
            return descriptor
        }
        let number = errno
        close(descriptor)
        errno = number
        return -1
    }

    private static func port(of descriptor: Int32) -> Int {
        var storage = sockaddr_storage()
        var size = socklen_t(MemoryLayout<sockaddr_storage>.size)
        return withUnsafeMutableBytes(of: &storage) { bytes in
            guard let base = bytes.baseAddress,
                getsockname(descriptor, base.assumingMemoryBound(to: sockaddr.self), &size) == 0
            else { return 0 }
            // The port lies at the same offset in both families.
            return Int(UInt16(bigEndian: base.load(fromByteOffset: 2, as: UInt16.self)))
        }
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

/// The accepting side.
// @unchecked: everything but the initializer happens on the first loop.
final class Listener: DescriptorHandler, @unchecked Sendable {
    private static let acceptsMax = 64
    private static let pauseMilliseconds: UInt64 = 100

    private let socket: ListeningSocket
    private let loops: [LoopHandle]
    private var watch: Watch?
    private var isOpen = true
    private var nextLoop = 0
    private var pause: RepeatedWork?

    init(_ socket: ListeningSocket, _ loops: [LoopHandle]) {
        self.socket = socket
        self.loops = loops
    }

    func start() {
        loops[0].loop.assertInLoop()
        guard isOpen, watch == nil else { return }
        do throws(Failure) {
            watch = try loops[0].loop.watch(socket.descriptor, .readable, self)
        } catch {
            startLater()
        }
    }

    func stop() {
        loops[0].loop.assertInLoop()
        guard isOpen else { return }
        isOpen = false
        pause?.cancel()
        unwatch()
        close(socket.descriptor)
    }

    func isReady(_ events: IOEvents) {
        for _ in 0..<Self.acceptsMax {
            let descriptor = tm_accept(socket.descriptor)
            if descriptor >= 0 {
                deal(descriptor)
                continue
            }
            switch errno {
            case EMFILE, ENFILE, ENOBUFS, ENOMEM: return startLater()
            case EAGAIN: return
            default: continue  // this one has gone; the next may be there
            }
        }
    }

    private func deal(_ descriptor: Int32) {
        var one: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
        let handle = loops[nextLoop]
        nextLoop = (nextLoop + 1) % loops.count
        if handle === loops[0] { return handle.attachedFront.adopt(descriptor) }
        handle.loop.execute { handle.attachedFront.adopt(descriptor) }
    }

    private func startLater() {
        unwatch()
        pause = loops[0].loop.every(milliseconds: Self.pauseMilliseconds) { [weak self] in
            self?.pause?.cancel()
            self?.start()
        }
    }

    private func unwatch() {
        if let watch { loops[0].loop.unwatch(watch) }
        watch = nil
    }
}
