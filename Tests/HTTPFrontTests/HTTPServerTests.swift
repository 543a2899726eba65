// Real sockets on the loopback: binding, both families, several loops, lingering close, half-closed peers, drain.

import ServiceKit
import Synchronization
import TallyCore
import Testing

@testable import HTTPFront

#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

private enum Hold {
    case never, forAWhile, untilDraining
}

/// Answers at once, or holds every ticket for a while. Its loop owns it.
private final class SocketService: IncrementService {
    private let loop: LoopHandle
    private let holds: Hold
    private var held: [AnswerTicket] = []
    private var polling: RepeatedWork?
    private var polls = 0

    init(_ loop: LoopHandle, holds: Hold) {
        self.loop = loop
        self.holds = holds
    }

    func submit(
        _ increments: inout IncrementBuffer, _ request: IncrementRequest, _ ticket: AnswerTicket
    ) -> Submission {
        if holds == .never { return .answered(.queued) }
        held.append(ticket)
        if polling == nil { polling = loop.loop.every(milliseconds: 5) { [self] in release() } }
        return .pending
    }

    private func release() {
        polls += 1
        if holds == .untilDraining ? !loop.attachedFront.isDraining : polls < 10 { return }
        for ticket in held { loop.complete(ticket, .reached(.queued)) }
        held = []
    }

    func readiness() -> Readiness { Readiness(isReady: true, json: "{}") }

    func document(_ page: Page) -> [UInt8]? { nil }
}

/// A blocking socket of its own thread; every wait ends after a minute.
private final class Peer: @unchecked Sendable {
    private let descriptor: Int32

    convenience init(port: Int) throws {
        try self.init(Endpoint(host: "127.0.0.1", port: port))
    }

    init(_ endpoint: Endpoint) throws {
        let address = try #require(try SocketAddress.resolve(endpoint).first)
        descriptor = socket(address.family, Int32(SOCK_STREAM.rawValue), 0)
        var patience = timeval(tv_sec: 60, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &patience, socklen_t(MemoryLayout<timeval>.size))
        let result = address.withPointer { connect(descriptor, $0, $1) }
        try #require(result == 0, "connect: errno \(errno)")
    }

    deinit { close(descriptor) }

    func send(_ text: String) {
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let sent = rest.withUnsafeBytes {
                Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
            if sent <= 0 { return }
            rest = rest.dropFirst(sent)
        }
    }

    func endSending() { shutdown(descriptor, Int32(SHUT_WR)) }

    /// Reads until there are `count` answers, or the end.
    func answers(_ count: Int = .max) throws -> [Answer] {
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while Answer.all(in: bytes).count < count {
            let read = recv(descriptor, &buffer, buffer.count, 0)
            try #require(read >= 0, "recv: errno \(errno)")
            if read == 0 { break }
            bytes += buffer[..<read]
        }
        return Answer.all(in: bytes)
    }
}

@Suite struct HTTPServerTests {
    private func start(_ limits: HTTPLimits = HTTPLimits(), loops: Int = 2, holds: Hold = .never) throws
        -> HTTPServer
    {
        try HTTPServer(on: Endpoint(host: "127.0.0.1", port: 0), eventLoops: loops, limits: limits) {
            SocketService($0, holds: holds)
        }
    }

    @Test func servesOnEveryLoop() throws {
        let server = try start()
        #expect(server.address.port > 0)
        let peers = try (0..<8).map { _ in try Peer(port: server.address.port) }
        for peer in peers { peer.send(one + one) }
        for peer in peers { #expect(try peer.answers(2).map(\.status) == [200, 200]) }
        for loop in server.loops {
            #expect(loop.loop.perform { loop.connectionCount } == 4)
        }
        server.shutdown()
    }

    /// Who starts a server goes on with the services of its loops: all of them, also when a thread begins late.
    @Test func everyServiceIsMadeWhenTheServerIsThere() throws {
        for _ in 0..<200 {
            let made = Mutex(0)
            let server = try HTTPServer(on: Endpoint(host: "127.0.0.1", port: 0), eventLoops: 2) { loop in
                usleep(1_000)  // such as a service takes that connects somewhere
                made.withLock { $0 += 1 }
                return SocketService(loop, holds: .never)
            }
            defer { server.shutdown() }
            try #require(made.withLock { $0 } == 2)
        }
    }

    @Test func theSecondServerOnAPortIsRefused() throws {
        let server = try start()
        do {
            _ = try HTTPServer(on: server.address, eventLoops: 1) { SocketService($0, holds: .never) }
            Issue.record("two servers share \(server.address)")
        } catch {
            #expect("\(error)".hasPrefix("cannot listen on \(server.address): "))
            #expect("\(error)".contains("Address already in use"))
        }
        server.shutdown()
    }

    @Test func bindsIPv6AndNames() throws {
        for text in ["[::1]:0", "localhost:0"] {
            let server = try HTTPServer(on: #require(Endpoint(text)), eventLoops: 1) {
                SocketService($0, holds: .never)
            }
            #expect(server.address.port > 0)
            server.shutdown()
        }
    }

    @Test func aNameIsAllItsAddressesAtOnePort() throws {
        let name = Endpoint(host: "localhost", port: 0)
        let both = try ["127.0.0.1", "::1"].flatMap { try SocketAddress.resolve(Endpoint(host: $0, port: 0)) }
        let sockets = try ListeningSockets(both, of: name, isGuarded: false)
        let port = sockets.address.port
        #expect(sockets.address == Endpoint(host: "localhost", port: port))
        #expect(sockets.bound == [Endpoint(host: "127.0.0.1", port: port), Endpoint(host: "::1", port: port)])
        for host in ["127.0.0.1", "::1"] { _ = try Peer(Endpoint(host: host, port: port)) }
        do throws(Failure) {
            var later = both
            for index in later.indices { later[index].port = port }
            _ = try ListeningSockets(later.reversed(), of: sockets.address, isGuarded: false)
            Issue.record("two listen on \(port)")
        } catch {
            #expect(error.what == "cannot listen on localhost:\(port): [::1]:\(port): Address already in use")
        }
        for descriptor in sockets.descriptors { close(descriptor) }
    }

    /// Such as ::1 in the file of hosts of a machine without IPv6.
    @Test func anAddressThatThisMachineHasNotIsLeftOut() throws {
        let name = Endpoint(host: "name", port: 0)
        let foreign = try SocketAddress.resolve(Endpoint(host: "192.0.2.1", port: 0))
        let own = try SocketAddress.resolve(Endpoint(host: "127.0.0.1", port: 0))
        let sockets = try ListeningSockets(foreign + own, of: name, isGuarded: true)
        #expect(sockets.bound == [Endpoint(host: "127.0.0.1", port: sockets.address.port)])
        for descriptor in sockets.descriptors { close(descriptor) }
        do throws(Failure) {
            _ = try ListeningSockets(foreign, of: name, isGuarded: true)
            Issue.record("it listens")
        } catch {
            #expect(error.what == "cannot listen on name:0: Cannot assign requested address")
        }
        do throws(Failure) {
            _ = try ListeningSockets(own + foreign, of: name, isGuarded: false)
            Issue.record("it listens without tokens")
        } catch {
            #expect(error.code == .configuration, "who else the name stands for is not left out in silence")
        }
    }

    @Test func theUnspecifiedAddressOfIPv6ServesBothFamilies() throws {
        let sockets = try ListeningSockets(Endpoint(host: "::", port: 0), isGuarded: true)
        let port = sockets.address.port
        #expect(sockets.bound == [Endpoint(host: "::", port: port), Endpoint(host: "0.0.0.0", port: port)])
        for host in ["127.0.0.1", "::1"] { _ = try Peer(Endpoint(host: host, port: port)) }
        for descriptor in sockets.descriptors { close(descriptor) }
    }

    @Test func bothFamiliesOfAServerAnswer() throws {
        let server = try HTTPServer(on: Endpoint(host: "localhost", port: 0), eventLoops: 2) {
            SocketService($0, holds: .never)
        }
        let bound = server.boundAddresses
        #expect(server.listening == "\(server.address) (\(bound.map { "\($0)" }.joined(separator: ", ")))")
        for address in bound {
            let peer = try Peer(address)
            peer.send(one)
            #expect(try peer.answers(1).map(\.status) == [200])
        }
        server.stopAccepting()
        // Nothing listens there any more.
        for descriptor in try ListeningSockets(server.address, isGuarded: false).descriptors { close(descriptor) }
        server.shutdown()
    }

    @Test func aRefusedUploadStillReadsItsAnswer() throws {
        let server = try start()
        let peer = try Peer(port: server.address.port)
        peer.send(
            "POST /increments HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\n"
                + "Content-Length: 3000000\r\n\r\n")
        peer.send(String(repeating: "a 1\n", count: 700_000))
        #expect(try peer.answers().map(\.status) == [413])
        server.shutdown()
    }

    /// A client that writes head and body apart, with Nagle's algorithm, sends the body when the head is acknowledged.
    @Test func aHeadIsAcknowledgedBeforeItsBodyIsThere() throws {
        let server = try start()
        let peer = try Peer(port: server.address.port)
        var times: [Duration] = []
        for _ in 0..<40 {
            let start = ContinuousClock.now
            peer.send(String(one.dropLast(13)))
            peer.send("key=a&value=1")
            #expect(try peer.answers(1).map(\.status) == [200])
            times.append(start.duration(to: .now))
        }
        // The first ones are quick in any case; afterwards none is, without it. Other work may hold up some.
        #expect(try #require(times.suffix(20).min()) < .milliseconds(20))
        server.shutdown()
    }

    @Test func aPeerThatEndsSendingGetsItsAnswers() throws {
        let server = try start(holds: .forAWhile)
        let peer = try Peer(port: server.address.port)
        peer.send(one + one)
        peer.endSending()
        #expect(try peer.answers().map(\.status) == [200, 200])
        server.shutdown()
    }

    @Test func pipelinesBeyondTheBoundAreAllAnswered() throws {
        let server = try start(holds: .forAWhile)
        let peer = try Peer(port: server.address.port)
        peer.send(String(repeating: one, count: 1_000))
        #expect(try peer.answers(1_000).count == 1_000)
        server.shutdown()
    }

    @Test func largeBodiesArriveWhole() throws {
        let server = try start()
        let peer = try Peer(port: server.address.port)
        peer.send(
            post(
                "/increments", "text/plain",
                String(repeating: String(repeating: "k", count: 100) + " 1\n", count: 10_000)))
        #expect(try peer.answers(1).map(\.body) == [#"{"accepted":10000,"level":"queued"}"#])
        server.shutdown()
    }

    @Test func drainAnswersAndCloses() throws {
        let server = try start(holds: .untilDraining)
        let idle = try Peer(port: server.address.port)
        let busy = try Peer(port: server.address.port)
        idle.send("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        _ = try idle.answers(1)  // so that it is idle and not yet to be accepted
        busy.send("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n" + one)
        _ = try busy.answers(1)  // so that the increment is pending
        #expect(server.drain(withinMilliseconds: 5_000))
        #expect(try busy.answers().map(\.fields["connection"]) == ["close"])
        #expect(try idle.answers() == [])
        server.shutdown()
    }

    @Test func drainCutsOffWhatDoesNotEnd() throws {
        var limits = HTTPLimits()
        limits.headMilliseconds = 600_000
        let server = try start(limits)
        let peer = try Peer(port: server.address.port)
        peer.send("GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nPOST")
        _ = try peer.answers(1)  // so that the connection is known
        #expect(server.drain(withinMilliseconds: 50) == false)
        #expect(try peer.answers() == [])
        server.shutdown()
    }
}
