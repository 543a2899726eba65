// The same work on many things, on a few threads of their own: for blocking work, which has no place on an event loop.

import Synchronization

/// Work on several threads that ends together.
public enum Parallel {
    /// What the threads share.
    private final class State<Element: Sendable>: Sendable {
        private struct Fields {
            var rest: ArraySlice<Element>
            var finished = 0
            var failure: Failure?
        }

        private let fields: Mutex<Fields>

        init(_ elements: [Element]) {
            fields = Mutex(Fields(rest: elements[...]))
        }

        /// The next element; nil when there is none left or something has failed.
        func next() -> Element? {
            fields.withLock { $0.failure == nil ? $0.rest.popFirst() : nil }
        }

        /// How many are finished now.
        func finish() -> Int {
            fields.withLock { fields in
                fields.finished += 1
                return fields.finished
            }
        }

        func fail(_ failure: Failure) {
            fields.withLock { $0.failure = $0.failure ?? failure }
        }

        var failure: Failure? { fields.withLock { $0.failure } }
    }

    /// Calls `body` with each of `elements`, at most `threads` at a time, and returns when all are done.
    ///
    /// - Parameter finished: called after each with how many are finished, from any of the threads.
    /// - Throws: the first failure; what had begun by then has ended, and nothing was begun after it.
    public static func forEach<Element: Sendable>(
        _ elements: [Element], threads: Int, finished: @escaping @Sendable (Int) -> Void = { _ in },
        _ body: @escaping @Sendable (Element) throws(Failure) -> Void
    ) throws(Failure) {
        let state = State(elements)
        let workers = (0..<min(threads, elements.count)).map { index in
            ServiceThread(name: "worker-\(index)") {
                while let element = state.next() {
                    do throws(Failure) {
                        try body(element)
                        finished(state.finish())
                    } catch {
                        state.fail(error)
                    }
                }
            }
        }
        for worker in workers { worker.join() }
        if let failure = state.failure { throw failure }
    }
}
