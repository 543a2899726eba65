// A server that does as a test says, over real sockets: each connection has a thread, each request is counted or not,
// answered or not.

import Glibc
import ServiceKit
import Synchronization

/// Serves on a free port of the loopback until `stop`.
final class FakeServer: Sendable {
    /// What becomes of a request.
    struct Behaviour {
        var isCounted = true
        /// What is answered; nil closes the connection without a word.
        var answer: String? = FakeServer.answer("200 OK")
    }

    private struct State {
        var counters: [String: Int64] = [:]
        var requests = 0
        var workers: [ServiceThread] = []
    }

    let port: Int
    private let listener: Int32
    private let state = Mutex(State())
    private let behaviour: @Sendable (Int) -> Behaviour
    private let acceptor = Mutex<ServiceThread?>(nil)

    /// - Parameter behaviour: what becomes of the request of that number, from 0.
    init(_ behaviour: @escaping @Sendable (Int) -> Behaviour = { _ in Behaviour() }) {
        self.behaviour = behaviour
        listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let (listener, size) = (listener, length)
        let bound = withUnsafeMutablePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(listener, $0, size) == 0 && listen(listener, 64) == 0 && getsockname(listener, $0, &length) == 0
            }
        }
        precondition(bound, "no port of the loopback is free: errno \(errno)")
        port = Int(UInt16(bigEndian: address.sin_port))
        let thread = ServiceThread(name: "fake") { [self] in
            while true {
                let connection = accept(self.listener, nil, nil)
                guard connection >= 0 else { return }
                state.withLock { state in
                    state.workers.append(ServiceThread(name: "fake-worker") { [self] in serve(connection) })
                }
            }
        }
        acceptor.withLock { $0 = thread }
    }

    static func answer(_ status: String) -> String { "HTTP/1.1 \(status)\r\nContent-Length: 2\r\n\r\n{}" }

    /// What was counted, as the report would say.
    var counters: [String: Int64] { state.withLock(\.counters) }
    var requests: Int { state.withLock(\.requests) }

    /// Ends it, after the clients have closed their connections.
    func stop() {
        shutdown(listener, Int32(SHUT_RDWR))
        acceptor.withLock { $0.take() }?.join()
        close(listener)
        for worker in state.withLock({ $0.workers }) { worker.join() }
    }

    private func serve(_ connection: Int32) {
        defer { close(connection) }
        var text = ""
        var buffer = [UInt8](repeating: 0, count: 4_096)
        while true {
            let count = recv(connection, &buffer, buffer.count, 0)
            guard count > 0 else { return }
            text += String(decoding: buffer[..<count], as: UTF8.self)
            // A client has one request under way, and its body is a form: complete when it ends with a number.
            guard let end = text.firstRange(of: "\r\n\r\n"), let start = text.firstRange(of: "Content-Length: "),
                let length = Int(text[start.upperBound...].prefix { $0.isNumber }),
                text[end.upperBound...].utf8.count == length
            else { continue }
            let behaviour = take(String(text[end.upperBound...]))
            text = ""
            guard let answer = behaviour.answer else { return }
            _ = send(connection, answer, answer.utf8.count, Int32(MSG_NOSIGNAL))  // a client may have given up
        }
    }

    private func take(_ form: String) -> Behaviour {
        let parts = form.dropFirst("key=".utf8.count).split(separator: "&value=")
        return state.withLock { state in
            let behaviour = behaviour(state.requests)
            state.requests += 1
            if behaviour.isCounted { state.counters[String(parts[0]), default: 0] += Int64(parts[1]) ?? 0 }
            return behaviour
        }
    }
}
