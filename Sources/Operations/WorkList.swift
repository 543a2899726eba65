// Two threads for work that goes by shard: each takes the next one that nobody has taken. Redis and SQLite block and
// belong to one thread, so a worker makes connections of its own; the caller's thread waits and shows progress.

import Dispatch
import ServiceKit
import Synchronization

/// What is left to do, and how far it is. Shared by the workers of one `run`.
final class WorkList: Sendable {
    static let threads = 2
    private static let progressMilliseconds = 100

    private let count: Int
    private let taken = Atomic<Int>(0)
    private let steps = Atomic<Int>(0)
    private let failure = Mutex<Failure?>(nil)

    private init(count: Int) {
        self.count = count
    }

    /// The next number from 0, nil when none is left or a worker has failed.
    func next() -> Int? {
        let number = taken.add(1, ordering: .relaxed).oldValue
        return number < count ? number : nil
    }

    /// Counts towards progress.
    func advance(by done: Int) {
        steps.add(done, ordering: .relaxed)
    }

    /// Runs `worker` on each thread until all numbers below `count` are taken.
    ///
    /// - Parameter progress: gets the steps done so far, again and again, on the caller's thread.
    /// - Throws: the first failure of a worker, when all have ended.
    static func run(
        _ count: Int, progress: (Int) -> Void,
        worker: @escaping @Sendable (WorkList) throws(Failure) -> Void
    ) throws(Failure) {
        let list = WorkList(count: count)
        let ended = DispatchSemaphore(value: 0)
        let threads = (0..<min(threads, max(1, count))).map { number in
            ServiceThread(name: "check-\(number)") {
                do throws(Failure) { try worker(list) } catch { list.stop(error) }
                ended.signal()
            }
        }
        for _ in threads {
            while ended.wait(timeout: .now() + .milliseconds(progressMilliseconds)) == .timedOut {
                progress(list.steps.load(ordering: .relaxed))
            }
        }
        for thread in threads { thread.join() }
        if let failure = list.failure.withLock({ $0 }) { throw failure }
    }

    private func stop(_ error: Failure) {
        failure.withLock { $0 = $0 ?? error }
        taken.store(count, ordering: .relaxed)
    }
}
