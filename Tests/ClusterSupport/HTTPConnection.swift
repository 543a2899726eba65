// A small blocking HTTP/1.1 client: one kept-alive connection to 127.0.0.1, one request at a time.
//
// It tells apart what a client of the product must tell apart: not sent (no connection, so nothing can have been
// counted), answered, and lost (sent in part or whole, no complete answer: unknown).

import Glibc

/// An answer.
public struct HTTPAnswer: Sendable {
    public let status: Int
    public let headers: [(name: String, value: String)]
    public let body: [UInt8]

    /// The first value of a field, whose name is given in small letters.
    public func header(_ name: String) -> String? { headers.first { $0.name == name }?.value }

    /// Without the end of its last line.
    public var text: String {
        let text = String(decoding: body, as: UTF8.self)
        return text.hasSuffix("\n") ? String(text.dropLast()) : text
    }

    /// The level that the answer names.
    public var level: String? { (try? JSONTree(body))?["level"]?.text }  // a body without one has no level

    /// The increments that the answer says were taken.
    public var accepted: Int? { (try? JSONTree(body))?["accepted"]?.integer() }  // as above
}

/// Why there is no answer.
public enum HTTPTrouble: Error, Hashable, Sendable {
    /// Nothing was sent.
    case notConnected(Int32)
    /// Something was sent; whether it counted is unknown.
    case lost(String)
}

/// A request.
public struct HTTPRequest: Sendable {
    public var method = "POST"
    public var target: String
    public var headers: [(name: String, value: String)] = []
    public var body: [UInt8] = []

    public init(_ target: String) { self.target = target }

    public static func get(_ target: String) -> HTTPRequest {
        var request = HTTPRequest(target)
        request.method = "GET"
        return request
    }

    var bytes: [UInt8] {
        var head = "\(method) \(target) HTTP/1.1\r\nHost: 127.0.0.1\r\n"
        for header in headers { head += "\(header.name): \(header.value)\r\n" }
        if method != "GET" { head += "Content-Length: \(body.count)\r\n" }
        return Array((head + "\r\n").utf8) + body
    }
}

/// One connection. Owned by one thread.
public final class HTTPConnection {
    private let descriptor: Int32
    private var received: [UInt8] = []
    /// Whether another request may be sent.
    public private(set) var isOpen = true

    /// - Parameter timeoutSeconds: for connecting, and for each wait for bytes.
    public init(port: UInt16, timeoutSeconds: Int = 15) throws(HTTPTrouble) {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw .notConnected(errno) }
        var time = timeval(tv_sec: timeoutSeconds, tv_usec: 0)
        let size = socklen_t(MemoryLayout<timeval>.size)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &time, size)
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &time, size)
        var one: Int32 = 1
        setsockopt(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &one, socklen_t(MemoryLayout<Int32>.size))
        let result = Loopback.withAddress(port: port) { connect(descriptor, $0, $1) }
        // deinit runs for an initializer that throws, too, and closes the socket: once.
        guard result == 0 else { throw .notConnected(errno) }
    }

    deinit { close(descriptor) }

    /// Sends a request and waits for its answer.
    public func send(_ request: HTTPRequest) throws(HTTPTrouble) -> HTTPAnswer {
        guard isOpen else { throw .notConnected(ENOTCONN) }
        isOpen = false
        // An answer to nothing would be taken for the answer to this request.
        precondition(received.isEmpty, "a server answered more than it was asked")
        try sendAll(request.bytes)
        let answer = try receiveAnswer()
        isOpen = answer.header("connection")?.lowercased() != "close"
        return answer
    }

    private func sendAll(_ bytes: [UInt8]) throws(HTTPTrouble) {
        var offset = 0
        while offset < bytes.count {
            let count = bytes.withUnsafeBytes { buffer in
                let rest = UnsafeRawBufferPointer(rebasing: buffer[offset...])
                return Glibc.send(descriptor, rest.baseAddress, rest.count, Int32(MSG_NOSIGNAL))
            }
            if count <= 0 { throw .lost("sending: errno \(errno)") }
            offset += count
        }
    }

    private func receiveAnswer() throws(HTTPTrouble) -> HTTPAnswer {
        var headEnd = headLength()
        while headEnd == nil {
            try receiveMore()
            headEnd = headLength()
        }
        let end = headEnd ?? 0
        let lines = String(decoding: received[..<end], as: UTF8.self).split(separator: "\r\n")
        let first = lines.first?.split(separator: " ") ?? []
        guard first.count >= 2, let status = Int(first[1]) else { throw .lost("no status line") }
        let headers = lines.dropFirst().compactMap { line -> (name: String, value: String)? in
            guard let colon = line.firstIndex(of: ":") else { return nil }
            let value = line[line.index(after: colon)...].drop { $0 == " " }
            return (line[..<colon].lowercased(), String(value))
        }
        guard let length = headers.first(where: { $0.name == "content-length" }).flatMap({ Int($0.value) }) else {
            throw .lost("an answer without Content-Length")
        }
        while received.count < end + 4 + length { try receiveMore() }
        let body = Array(received[(end + 4)..<(end + 4 + length)])
        received.removeFirst(end + 4 + length)
        return HTTPAnswer(status: status, headers: headers, body: body)
    }

    /// The length of the head without its empty line, once all of it is there.
    private func headLength() -> Int? {
        guard received.count >= 4 else { return nil }
        return (0...(received.count - 4)).first { received[$0..<($0 + 4)].elementsEqual([13, 10, 13, 10]) }
    }

    private func receiveMore() throws(HTTPTrouble) {
        var chunk = [UInt8](repeating: 0, count: 8192)
        let count = recv(descriptor, &chunk, chunk.count, 0)
        if count == 0 { throw .lost("closed by the other side") }
        if count < 0 { throw .lost(errno == EAGAIN ? "no answer in time" : "receiving: errno \(errno)") }
        received += chunk[..<count]
    }
}

/// 127.0.0.1.
public enum Loopback {
    static func withAddress<Value>(port: UInt16, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Value) -> Value {
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body($0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }

    /// A port that nobody listened on a moment ago.
    public static func freePort() throws(HarnessError) -> UInt16 {
        let (descriptor, port) = try bind()
        close(descriptor)
        return port
    }

    /// A socket that is bound to a port that the system chose.
    public static func bind() throws(HarnessError) -> (descriptor: Int32, port: UInt16) {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw HarnessError(cannot: "make a socket") }
        guard withAddress(port: 0, { Glibc.bind(descriptor, $0, $1) }) == 0 else { throw HarnessError(cannot: "bind") }
        var address = sockaddr_in()
        var size = socklen_t(MemoryLayout<sockaddr_in>.size)
        let result = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &size) }
        }
        guard result == 0 else { throw HarnessError(cannot: "ask for a port") }
        return (descriptor, UInt16(bigEndian: address.sin_port))
    }

    /// The samples of a page of metrics, by name and labels; none if there was no answer.
    public static func metrics(_ port: UInt16) -> [String: Double] {
        let text = ask(port, .get("/metrics"))?.text ?? ""
        var samples: [String: Double] = [:]
        for line in text.split(separator: "\n") where !line.hasPrefix("#") {
            guard let space = line.lastIndex(of: " ") else { continue }
            samples[String(line[..<space])] = Double(line[line.index(after: space)...])
        }
        return samples
    }

    /// One request on a connection of its own; nil if there was no answer.
    public static func ask(_ port: UInt16, _ request: HTTPRequest, timeoutSeconds: Int = 15) -> HTTPAnswer? {
        do throws(HTTPTrouble) {
            return try HTTPConnection(port: port, timeoutSeconds: timeoutSeconds).send(request)
        } catch {
            return nil
        }
    }
}
