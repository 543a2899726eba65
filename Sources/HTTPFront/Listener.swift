// Accepts connections on the first loop and gives them to all loops in turn.
//
// When the process or the machine has no descriptors left, a listening socket stays readable and accepting would spin;
// so it pauses until the next sweep and tries again. Who wants to connect waits in the kernel's queue meanwhile. The
// same where the server has as many sockets as it may have: other descriptors of the process are not for clients.

import CPlatform
import Glibc
import ServiceKit

/// The accepting side of one listening socket.
// @unchecked: everything but the initializer happens on the first loop.
final class Listener: DescriptorHandler, @unchecked Sendable {
    private static let acceptsMax = 64
    private static let pauseMilliseconds: UInt64 = 100

    private let descriptor: Int32
    private let loops: [LoopHandle]
    private let sockets: OpenSockets
    private var watch: Watch?
    private var isOpen = true
    private var nextLoop = 0
    private var pause: RepeatedWork?

    /// - Parameter descriptor: owned from now on.
    init(_ descriptor: Int32, _ loops: [LoopHandle], _ sockets: OpenSockets) {
        self.descriptor = descriptor
        self.sockets = sockets
        self.loops = loops
    }

    func start() {
        loops[0].loop.assertInLoop()
        guard isOpen, watch == nil else { return }
        do throws(Failure) {
            watch = try loops[0].loop.watch(descriptor, .readable, self)
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
        close(descriptor)
    }

    func isReady(_ events: IOEvents) {
        for _ in 0..<Self.acceptsMax {
            if !sockets.hasRoom { return startLater() }
            let accepted = tm_accept(descriptor)
            if accepted >= 0 {
                deal(accepted)
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
        let (peer, refusal) = sockets.opened(descriptor)
        if handle === loops[0] { return handle.attachedFront.adopt(descriptor, peer: peer, refusal: refusal) }
        handle.loop.execute { handle.attachedFront.adopt(descriptor, peer: peer, refusal: refusal) }
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
