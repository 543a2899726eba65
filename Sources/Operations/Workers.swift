// Pieces of work of which any two can be done at once, on two threads: one shard each. The caller's thread waits, and
// looks after the progress line meanwhile.

import ServiceKit
import Synchronization

/// Does numbered pieces of work.
enum Workers {
    private static let tickMilliseconds: UInt64 = 100

    /// Calls `body` once for each number below `count`. After the first failure no further piece is begun.
    ///
    /// - Parameters:
    ///   - name: of the threads.
    ///   - tick: called on this thread ten times a second.
    ///   - body: called on one of the threads. Its second argument says whether to give up.
    /// - Throws: the first failure.
    static func run(
        _ count: Int, threads: Int = 2, name: String, tick: () -> Void = {},
        _ body: @escaping @Sendable (Int, WorkState) throws(Failure) -> Void
    ) throws(Failure) {
        let state = WorkState()
        let ends = Mailbox<Void>()
        let number = min(count, threads)
        let started = (0..<number).map { _ in
            ServiceThread(name: name) {
                while let piece = state.next(below: count) {
                    do throws(Failure) { try body(piece, state) } catch { state.fail(error) }
                }
                ends.send(())
            }
        }
        var running = number
        while running > 0 {
            if ends.receive(waitingMilliseconds: tickMilliseconds) != nil { running -= 1 } else { tick() }
        }
        for thread in started { thread.join() }
        if let failure = state.failure { throw failure }
    }
}

/// What the threads share.
final class WorkState: Sendable {
    private let first = Mutex<Failure?>(nil)
    private let taken = Atomic<Int>(0)

    /// Why the others should give up.
    var failure: Failure? { first.withLock { $0 } }

    fileprivate func fail(_ failure: Failure) {
        first.withLock { $0 = $0 ?? failure }
    }

    fileprivate func next(below count: Int) -> Int? {
        if failure != nil { return nil }
        let piece = taken.add(1, ordering: .relaxed).oldValue
        return piece < count ? piece : nil
    }
}

/// How much of something is done, counted by all threads.
final class StepCount: Sendable {
    private let done = Atomic<Int>(0)

    var value: Int { done.load(ordering: .relaxed) }

    func add(_ steps: Int) { done.add(steps, ordering: .relaxed) }
}
