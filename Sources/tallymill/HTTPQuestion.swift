// One GET on a connection of its own, which the server closes behind its answer: all the HTTP that a tool needs. It
// blocks.

import Glibc
import ServiceKit
import Tokens

/// A question to one server.
struct HTTPQuestion {
    private let endpoint: Endpoint
    private let patienceSeconds: Int
    private let token: TokenSecret?

    /// - Parameters:
    ///   - patienceSeconds: for connecting, and for each wait for bytes.
    ///   - token: what the server may demand.
    init(_ endpoint: Endpoint, patienceSeconds: Int, token: TokenSecret?) {
        self.endpoint = endpoint
        self.patienceSeconds = patienceSeconds
        self.token = token
    }

    /// The body of a 200.
    ///
    /// - Throws: 69 if there is no answer, 1 if it is another one or longer than `answerBytesMax`.
    func get(_ path: String, answerBytesMax: Int) throws(Failure) -> [UInt8] {
        let socket = try connect()
        defer { close(socket) }
        let authorization = token.map { "Authorization: Bearer \($0.text)\r\n" } ?? ""
        let request = "GET \(path) HTTP/1.1\r\nHost: \(endpoint)\r\n\(authorization)Connection: close\r\n\r\n"
        try send(Array(request.utf8), to: socket)
        let answer = try receiveAll(socket, bytesMax: answerBytesMax)
        let end = answer.indices.first { answer[$0...].starts(with: "\r\n\r\n".utf8) }
        let status = String(decoding: answer.prefix(16), as: UTF8.self).split(separator: " ").dropFirst().first ?? ""
        guard let end, status == "200" else {
            throw Failure(
                .failure, "it answered \(status.isEmpty ? "nothing that is HTTP" : "\(status)")", at: location(path),
                advice: advice(for: status))
        }
        return Array(answer[(end + 4)...])
    }

    private func advice(for status: Substring) -> String? {
        switch status {
        case "401" where token == nil: "It demands a token: name the file of one with \(Setting.tokenFile.flag)."
        case "401": "It does not know the token of \(Setting.tokenFile.flag)."
        case "403": "The token of \(Setting.tokenFile.flag) needs the scope admin."
        case "429": "The token of \(Setting.tokenFile.flag) is over its rate: run this again."
        default: nil
        }
    }

    private func location(_ path: String = "") -> String { "http://\(endpoint)\(path)" }

    private func connect() throws(Failure) -> Int32 {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_NUMERICSERV
        var list: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(endpoint.host, "\(endpoint.port)", &hints, &list)
        guard code == 0 else {
            let text = gai_strerror(code).map { String(cString: $0) } ?? "error \(code)"
            throw Failure(.unavailable, "cannot find the host: \(text)", at: location())
        }
        defer { freeaddrinfo(list) }
        var number: Int32 = 0
        var next = list
        while let candidate = next?.pointee {
            let socket = socket(candidate.ai_family, candidate.ai_socktype | Int32(SOCK_CLOEXEC.rawValue), 0)
            if socket >= 0 {
                setPatience(socket)
                if Glibc.connect(socket, candidate.ai_addr, candidate.ai_addrlen) == 0 { return socket }
            }
            number = errno
            if socket >= 0 { close(socket) }
            next = candidate.ai_next
        }
        throw Failure(
            cannot: "connect", errno: number, at: location(), code: .unavailable,
            advice: "Check that the node runs and listens there.")
    }

    private func setPatience(_ socket: Int32) {
        var time = timeval(tv_sec: patienceSeconds, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] {
            // Where it cannot be set, the system's own patience holds.
            _ = setsockopt(socket, SOL_SOCKET, option, &time, socklen_t(MemoryLayout<timeval>.size))
        }
    }

    private func send(_ bytes: [UInt8], to socket: Int32) throws(Failure) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.send(socket, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            if count > 0 { rest = rest.dropFirst(count) } else if errno != EINTR { throw lost(errno) }
        }
    }

    private func receiveAll(_ socket: Int32, bytesMax: Int) throws(Failure) -> [UInt8] {
        var answer: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        while true {
            let count = recv(socket, &chunk, chunk.count, 0)
            if count == 0 { return answer }
            if count > 0 { answer += chunk[..<count] } else if errno != EINTR { throw lost(errno) }
            if answer.count > bytesMax {
                throw Failure(.failure, "its answer has more than \(Humanized.bytes(bytesMax))", at: location())
            }
        }
    }

    private func lost(_ number: Int32) -> Failure {
        number == EAGAIN
            ? Failure(.unavailable, "no answer within \(patienceSeconds) s", at: location())
            : Failure(cannot: "ask it", errno: number, at: location(), code: .unavailable)
    }
}
