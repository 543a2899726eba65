// The one door to client sockets: non-blocking TCP, opened and closed by number. Results are values, because what an
// errno means is the loop's decision.

import Glibc
import ServiceKit

/// Where a server listens.
struct ServerAddress: Sendable {
    private let storage: sockaddr_storage
    private let length: socklen_t
    private let family: Int32

    /// The first address of a host.
    ///
    /// - Throws: 69 if the resolver has none.
    init(_ endpoint: Endpoint) throws(Failure) {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_NUMERICSERV
        var list: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(endpoint.host, "\(endpoint.port)", &hints, &list)
        guard code == 0, let first = list?.pointee, let address = first.ai_addr else {
            let text = gai_strerror(code).map { String(cString: $0) } ?? "error \(code)"
            throw Failure(.unavailable, "cannot find the host: \(text)", at: "--url http://\(endpoint)")
        }
        defer { freeaddrinfo(list) }
        var storage = sockaddr_storage()
        memcpy(&storage, address, Int(first.ai_addrlen))
        self.storage = storage
        length = first.ai_addrlen
        family = first.ai_family
    }

    fileprivate func connect() -> ClientSocket.Opening {
        let flags = Int32(SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
        let socket = Glibc.socket(family, flags, 0)
        guard socket >= 0 else { return .failed(errno) }
        var isOn: Int32 = 1
        // Requests go out whole; a system that refuses this only delays the rest of a large one.
        _ = setsockopt(socket, Int32(IPPROTO_TCP), TCP_NODELAY, &isOn, socklen_t(MemoryLayout<Int32>.size))
        let result = withUnsafePointer(to: storage) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { Glibc.connect(socket, $0, length) }
        }
        if result == 0 || errno == EINPROGRESS { return .opened(socket) }
        let number = errno
        ClientSocket.close(socket)
        return .failed(number)
    }
}

/// Calls on a socket.
enum ClientSocket {
    enum Opening {
        /// Opened, or about to be: writable when it is.
        case opened(Int32)
        case failed(Int32)
    }

    enum Transfer {
        case bytes(Int)
        /// Not now; an event will tell.
        case later
        /// The other side has ended the connection.
        case closed
        case failed(Int32)
    }

    static func open(_ address: ServerAddress) -> Opening { address.connect() }

    /// The errno that a connection attempt ended with, 0 if it succeeded.
    static func attemptError(_ socket: Int32) -> Int32 {
        var number: Int32 = 0
        var size = socklen_t(MemoryLayout<Int32>.size)
        return getsockopt(socket, SOL_SOCKET, SO_ERROR, &number, &size) == 0 ? number : errno
    }

    static func send(_ bytes: UnsafeRawBufferPointer, to socket: Int32) -> Transfer {
        while true {
            let count = Glibc.send(socket, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL))
            if count >= 0 { return .bytes(count) }
            if errno != EINTR { return errno == EAGAIN ? .later : .failed(errno) }
        }
    }

    static func receive(from socket: Int32, into buffer: UnsafeMutableRawBufferPointer) -> Transfer {
        while true {
            let count = recv(socket, buffer.baseAddress, buffer.count, 0)
            if count > 0 { return .bytes(count) }
            if count == 0 { return .closed }
            if errno != EINTR { return errno == EAGAIN ? .later : .failed(errno) }
        }
    }

    static func close(_ socket: Int32) {
        _ = Glibc.close(socket)  // Linux frees the number whatever it returns
    }
}
