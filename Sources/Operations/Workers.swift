// Independent tasks on a few threads of their own, because each of them blocks on files. The first failure is the one
// that is reported; tasks that have begun are ended by what they look at themselves, others do not begin.

import Dispatch
import ServiceKit
import Synchronization

/// Threads that share a list of tasks.
enum Workers {
    /// What threads write, under its lock.
    private final class Board<Value: Sendable>: Sendable {
        struct State {
            var next = 0
            var values: [Value?]
            var failure: Failure?
        }

        let state: Mutex<State>

        init(count: Int) {
            state = Mutex(State(values: Array(repeating: nil, count: count)))
        }

        /// The next task, nil if none is left or one has failed.
        func take() -> Int? {
            state.withLock { state in
                guard state.failure == nil, state.next < state.values.count else { return nil }
                defer { state.next += 1 }
                return state.next
            }
        }

        func finished(_ index: Int, _ value: Value) {
            state.withLock { $0.values[index] = value }
        }

        func failed(_ failure: Failure) {
            state.withLock { $0.failure = $0.failure ?? failure }
        }
    }

    private static let meanwhileMilliseconds = 100

    /// Does the tasks 0..<count and returns their values in order.
    ///
    /// - Parameters:
    ///   - name: of the threads; its first 15 bytes count.
    ///   - meanwhile: called now and then on the caller's thread, to show how far the tasks are.
    ///   - task: runs on any of the threads.
    ///   - whenOneFails: tells the tasks that are under way to end; their failures are not reported.
    /// - Throws: what the first task that failed threw.
    static func map<Value: Sendable>(
        _ count: Int, threads: Int, name: String, whenOneFails: @escaping @Sendable () -> Void = {},
        meanwhile: () -> Void = {},
        _ task: @escaping @Sendable (Int) throws(Failure) -> Value
    ) throws(Failure) -> [Value] {
        let board = Board<Value>(count: count)
        let ended = DispatchSemaphore(value: 0)
        let started = (0..<min(threads, count)).map { _ in
            ServiceThread(name: name) {
                while let index = board.take() {
                    do throws(Failure) {
                        board.finished(index, try task(index))
                    } catch {
                        board.failed(error)
                        whenOneFails()
                    }
                }
                ended.signal()
            }
        }
        for _ in started {
            while ended.wait(timeout: .now() + .milliseconds(meanwhileMilliseconds)) == .timedOut { meanwhile() }
        }
        for thread in started { thread.join() }
        return try board.state.withLock { state throws(Failure) in
            if let failure = state.failure { throw failure }
            return state.values.map { value in
                guard let value else { preconditionFailure("a task that did not fail has no value") }
                return value
            }
        }
    }
}

/// How much of something is done, counted by all threads.
final class StepCount: Sendable {
    private let done = Atomic<Int>(0)

    var value: Int { done.load(ordering: .relaxed) }

    func add(_ steps: Int) { done.add(steps, ordering: .relaxed) }
}
