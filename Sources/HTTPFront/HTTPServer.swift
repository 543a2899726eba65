// The listener and its event loops.
//
// One loop accepts and deals the connections out in turn. A socket per loop with SO_REUSEPORT would save a hop per
// connection, but the kernel's hash spreads few connections badly, and two servers started by mistake on one port
// would share it in silence; so the second one gets "address in use".

import NIOCore
import NIOPosix

/// A running server. All methods may be called from anywhere.
public final class HTTPServer: Sendable {
    /// Where it listens, with the port that the system chose if 0 was asked for.
    public let address: ListenAddress
    /// Its loops, each with the service that was made for it.
    public let loops: [LoopHandle]
    private let group: MultiThreadedEventLoopGroup
    private let listener: any Channel

    private init(
        address: ListenAddress, loops: [LoopHandle], group: MultiThreadedEventLoopGroup, listener: any Channel
    ) {
        self.address = address
        self.loops = loops
        self.group = group
        self.listener = listener
    }

    /// Listens on `address` and serves; `makeService` is called once on each loop.
    public static func start(
        on address: ListenAddress, eventLoops: Int, limits: HTTPLimits = HTTPLimits(),
        makeService: @escaping @Sendable (LoopHandle) -> any IncrementService
    ) async throws(HTTPServerError) -> HTTPServer {
        precondition(eventLoops > 0, "a server needs an event loop")
        let group = MultiThreadedEventLoopGroup(numberOfThreads: eventLoops)
        let eventLoops = Array(group.makeIterator())
        let loops = eventLoops.enumerated().map { LoopHandle(index: $0.offset, eventLoop: $0.element) }
        do {
            for loop in loops {
                let share = (limits.connections + loops.count - 1) / loops.count
                try await loop.eventLoop.submit {
                    let front = LoopFront(
                        eventLoop: loop.eventLoop, limits: limits, connectionsMax: share, service: makeService(loop))
                    loop.attach(front)
                    front.startSweeping()
                }.get()
            }
            let listener = try await bind(address, group: group, acceptor: eventLoops[0], loops: loops)
            let bound = ListenAddress(host: address.host, port: listener.localAddress?.port ?? address.port)
            return HTTPServer(address: bound, loops: loops, group: group, listener: listener)
        } catch {
            await stop(group)
            throw HTTPServerError(address: address, reason: "\(error)")
        }
    }

    private static func bind(
        _ address: ListenAddress, group: MultiThreadedEventLoopGroup, acceptor: any EventLoop, loops: [LoopHandle]
    ) async throws -> any Channel {
        try await ServerBootstrap(group: acceptor, childGroup: group)
            .serverChannelOption(.backlog, value: 4_096)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.tcpOption(.tcp_nodelay), value: 1)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(
                .recvAllocator, value: AdaptiveRecvByteBufferAllocator(minimum: 512, initial: 512, maximum: 65_536)
            )
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    guard let loop = loops.first(where: { $0.eventLoop === channel.eventLoop }) else {
                        preconditionFailure("a connection on a foreign loop")
                    }
                    try channel.pipeline.syncOperations.addHandler(Connection(front: loop.attachedFront))
                }
            }
            .bind(host: address.host, port: address.port).get()
    }

    /// Closes the listening socket. Open connections go on.
    public func stopAccepting() async {
        try? await listener.close()  // closed already
    }

    /// Stops accepting, answers what is pending and closes every connection; false when some were cut off after
    /// `milliseconds`.
    public func drain(withinMilliseconds milliseconds: UInt64) async -> Bool {
        await stopAccepting()
        let drained = loops.map { loop in
            let promise = loop.eventLoop.makePromise(of: Void.self)
            loop.eventLoop.execute { loop.attachedFront.drain(promise) }
            return promise
        }
        let timer = loops[0].eventLoop.scheduleTask(in: .milliseconds(Int64(milliseconds))) {
            for promise in drained { promise.fail(HTTPServerError.drainTimeout) }
        }
        var isComplete = true
        for promise in drained {
            do { try await promise.futureResult.get() } catch { isComplete = false }
        }
        timer.cancel()
        if !isComplete { await closeConnections() }
        return isComplete
    }

    /// Closes everything at once and ends the loops' threads.
    public func shutdown() async {
        await stopAccepting()
        await closeConnections()
        await HTTPServer.stop(group)
    }

    private func closeConnections() async {
        for loop in loops {
            try? await loop.eventLoop.submit { loop.attachedFront.closeAll() }.get()  // the loop has ended already
        }
    }

    private static func stop(_ group: MultiThreadedEventLoopGroup) async {
        try? await group.shutdownGracefully()  // it fails only when it was shut down before
    }
}

/// Why a server did not start.
public struct HTTPServerError: Error, CustomStringConvertible {
    public let address: ListenAddress
    public let reason: String

    static let drainTimeout = HTTPServerError(address: ListenAddress(host: "", port: 0), reason: "not drained in time")

    public var description: String { "cannot listen on \(address): \(reason)" }
}
