// A progress line for work whose size is known only once it has begun.

import ServiceKit

/// Owned by one thread.
final class ShownProgress {
    private let label: String
    private var line: ProgressLine?

    init(_ label: String) {
        self.label = label
    }

    /// Runs `body`, which tells how much is done of how much, and removes the line at its end.
    func whileShown<Value>(
        _ body: ((_ done: Int, _ total: Int) -> Void) throws(Failure) -> Value
    ) throws(Failure) -> Value {
        defer { line?.clear() }
        return try body { done, total in
            let line = self.line ?? ProgressLine(label, total: total)
            self.line = line
            line.update(done: done)
        }
    }
}
