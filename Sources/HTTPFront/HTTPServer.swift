// The listeners and their event loops, each on a thread of its own.
//
// One loop accepts and deals the connections out in turn. A socket per loop with SO_REUSEPORT would save a hop per
// connection, but the kernel's hash spreads few connections badly, and two servers started by mistake on one port
// would share it in silence; so the second one gets "address in use".

import Dispatch
public import ServiceKit
public import Tokens

/// A running server. All methods may be called from anywhere but its own loops; they block.
public final class HTTPServer: Sendable {
    /// Where it listens, as it was asked for, with the port that the system chose if that was 0.
    public let address: Endpoint
    /// The addresses that are bound: all that a name stands for, and both families for `::`.
    public let boundAddresses: [Endpoint]
    /// Its loops, each with the service that was made for it.
    public let loops: [LoopHandle]
    private let threads: [ServiceThread]
    private let listeners: [Listener]

    /// Listens on `address` and serves; `makeService` is called once on each loop.
    ///
    /// - Parameters:
    ///   - access: whose tokens are demanded; nil admits every program of this machine, which only a loopback address
    ///     may do.
    ///   - allowedHosts: without `access`, names by which requests may ask, beside those of this machine (`HostRules`).
    /// - Throws: exit code 69 if the address cannot be had, 74 if the system has no descriptors left, 78 if the address
    ///   is not a loopback one and there is no `access`.
    public init(
        on address: Endpoint, eventLoops: Int, limits: HTTPLimits = HTTPLimits(), access: Access? = nil,
        allowedHosts: [String] = [],
        makeService: @escaping @Sendable (LoopHandle) -> any HTTPService
    ) throws(Failure) {
        precondition(eventLoops > 0, "a server needs an event loop")
        let sockets = try ListeningSockets(address, isGuarded: access != nil)
        var loops: [LoopHandle] = []
        for index in 0..<eventLoops { loops.append(LoopHandle(index: index, loop: try EventLoop())) }
        let open = OpenSockets(limits)
        let hosts = access == nil ? HostRules(listener: address.host, allowed: allowedHosts) : nil
        let listeners = sockets.descriptors.map { [loops] in Listener($0, loops, open) }
        self.address = sockets.address
        boundAddresses = sockets.bound
        self.loops = loops
        self.listeners = listeners
        // Before the threads begin: what is sent to a loop later finds its service made, however late that starts.
        for handle in loops {
            handle.loop.execute {
                let service = makeService(handle)
                let front = LoopFront(
                    loop: handle.loop, of: eventLoops, limits: limits, access: access, hosts: hosts, sockets: open,
                    service: service)
                handle.attach(front)
                front.startSweeping()
            }
        }
        threads = loops.map { handle in ServiceThread(name: "loop-\(handle.index)") { handle.loop.run() } }
        for handle in loops { handle.loop.perform {} }
        loops[0].loop.perform { for listener in listeners { listener.start() } }
    }

    /// Closes the listening sockets. Open connections go on.
    public func stopAccepting() {
        loops[0].loop.perform { [listeners] in for listener in listeners { listener.stop() } }
    }

    /// Stops accepting, answers what is pending and closes every connection; false when some were cut off after
    /// `milliseconds`.
    public func drain(withinMilliseconds milliseconds: UInt64) -> Bool {
        stopAccepting()
        let drained = DispatchSemaphore(value: 0)
        for handle in loops { handle.loop.execute { handle.attachedFront.drain { drained.signal() } } }
        let deadline = DispatchTime.now() + .milliseconds(Int(clamping: milliseconds))
        for _ in loops where drained.wait(timeout: deadline) == .timedOut {
            closeConnections()
            return false
        }
        return true
    }

    /// The address, and what is bound where that is something else: `localhost:3333 (127.0.0.1:3333, [::1]:3333)`.
    public var listening: String {
        if boundAddresses == [address] { return "\(address)" }
        return "\(address) (\(boundAddresses.map { "\($0)" }.joined(separator: ", ")))"
    }

    /// Closes everything at once and ends the loops' threads; once.
    public func shutdown() {
        stopAccepting()
        closeConnections()
        for handle in loops { handle.loop.stop() }
        for thread in threads { thread.join() }
        for handle in loops { handle.detach() }
    }

    private func closeConnections() {
        for handle in loops { handle.loop.perform { handle.attachedFront.closeAll() } }
    }
}
