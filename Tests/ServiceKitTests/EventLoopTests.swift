// The order of a turn, descriptors that come and go within one, work from other threads, and time.

import Glibc
import Synchronization
import Testing

@testable import ServiceKit

/// One end of a socket pair that is watched, and the other one in the test's hands.
private final class Line: DescriptorHandler {
    let near: Int32
    let far: Int32
    var watch: Watch?
    var seen: [IOEvents] = []
    var whenReady: () -> Void = {}

    init(_ loop: EventLoop, _ wanted: IOEvents = .readable) throws {
        var ends: [Int32] = [-1, -1]
        let kind = SOCK_STREAM.rawValue | SOCK_NONBLOCK.rawValue
        try #require(socketpair(AF_UNIX, Int32(kind), 0, &ends) == 0)
        (near, far) = (ends[0], ends[1])
        watch = try loop.watch(near, wanted, self)
    }

    func isReady(_ events: IOEvents) {
        seen.append(events)
        whenReady()
    }

    func write() { #expect(Glibc.write(far, "x", 1) == 1) }

    func close() {
        Glibc.close(near)
        Glibc.close(far)
    }
}

@Suite struct EventLoopTests {
    @Test func aTurnHasItsOrder() throws {
        let time = Time()
        let loop = try EventLoop { time.milliseconds.load(ordering: .relaxed) }
        var order: [String] = []
        let line = try Line(loop)
        defer { line.close() }
        let repeated = loop.every(milliseconds: 10) { order.append("repeated") }
        line.whenReady = {
            order.append("ready")
            loop.atEndOfTurn {
                order.append("end")
                loop.atEndOfTurn { order.append("end again") }
            }
        }
        let sent = Mutex(0)
        loop.execute { sent.withLock { $0 += 1 } }
        line.write()
        loop.turn(isWaiting: false)
        #expect(order == ["ready", "end", "end again"])
        #expect(sent.withLock { $0 } == 1)
        // Nothing was read: it is reported again.
        line.whenReady = { order.append("ready") }
        time.milliseconds.store(35, ordering: .relaxed)
        loop.turn(isWaiting: false)
        #expect(order.suffix(2) == ["ready", "repeated"], "a loop that was held up does not catch up")
        repeated.cancel()
        time.milliseconds.store(100, ordering: .relaxed)
        loop.turn(isWaiting: false)
        #expect(order.last == "ready")
    }

    @Test func idleWorkWaitsForATurnWithoutEventsButNotForEver() throws {
        let time = Time()
        let loop = try EventLoop { time.milliseconds.load(ordering: .relaxed) }
        let line = try Line(loop)
        defer { line.close() }
        var runs = 0
        loop.turn(isWaiting: false)
        loop.whenIdle(withinMilliseconds: 5) { runs += 1 }
        line.write()
        loop.turn(isWaiting: false)
        #expect(runs == 0, "there is something else to do")
        time.milliseconds.store(5, ordering: .relaxed)
        loop.turn(isWaiting: false)
        #expect(runs == 1, "the time is up")
        loop.turn(isWaiting: false)
        #expect(runs == 1)
        loop.whenIdle(withinMilliseconds: 5) {
            runs += 1
            loop.atEndOfTurn { runs += 10 }
        }
        loop.turn(isWaiting: false)
        #expect(runs == 1)
        var byte: UInt8 = 0
        #expect(recv(line.near, &byte, 1, 0) == 1)
        loop.turn()
        #expect(runs == 12, "with work for an idle turn, a turn does not wait")
    }

    @Test func whatIsNoLongerWatchedIsNotReported() throws {
        let loop = try EventLoop()
        let lines = try (0..<2).map { _ in try Line(loop) }
        for (line, other) in zip(lines, lines.reversed()) {
            line.write()
            // Whichever comes first ends the other's watch, and a new one takes its place in the same turn.
            line.whenReady = {
                guard let watch = other.watch else { return }
                loop.unwatch(watch)
                other.watch = nil
            }
        }
        loop.turn(isWaiting: false)
        #expect(lines.map(\.seen.count).sorted() == [0, 1])
        let late = try Line(loop)
        loop.turn(isWaiting: false)
        #expect(late.seen == [])
        for line in lines + [late] { line.close() }
    }

    @Test func wantsCanBeChanged() throws {
        let loop = try EventLoop()
        let line = try Line(loop)
        let watch = try #require(line.watch)
        loop.change(watch, [.readable, .writable])
        loop.turn(isWaiting: false)
        #expect(line.seen == [.writable])
        loop.change(watch, [])
        line.write()
        loop.turn(isWaiting: false)
        #expect(line.seen == [.writable])
        Glibc.close(line.far)
        loop.turn(isWaiting: false)
        #expect(line.seen.last?.isDisjoint(with: .hungUp) == false, "reported though nothing is wanted")
        Glibc.close(line.near)
    }

    @Test func runsOnItsThreadUntilItIsStopped() throws {
        let loop = try EventLoop()
        let count = Atomic(0)
        let thread = ServiceThread(name: "loop") { loop.run() }
        for _ in 0..<1_000 {
            loop.execute { count.add(loop.isInLoop ? 1 : 1_000_000, ordering: .relaxed) }
        }
        loop.execute { loop.stop() }
        thread.join()
        #expect(count.load(ordering: .relaxed) == 1_000)
        #expect(!loop.isInLoop)
    }

    private final class Time: Sendable {
        let milliseconds = Atomic<UInt64>(0)
    }
}
