// Pieces of work that each yield a value.

import ServiceKit
import Synchronization
import TallyCore

extension Workers {
    /// Where threads leave their values.
    private final class Values<Value: Sendable>: Sendable {
        let slots: Mutex<[Value?]>

        init(count: Int) {
            slots = Mutex(Array(repeating: nil, count: count))
        }
    }

    /// Calls `body` once for each number below `count` and returns what it returned, in order; otherwise as `run`.
    static func map<Value: Sendable>(
        _ count: Int, name: String, tick: () -> Void = {},
        _ body: @escaping @Sendable (Int, WorkState) throws(Failure) -> Value
    ) throws(Failure) -> [Value] {
        let values = Values<Value>(count: count)
        try run(count, threads: Limits.buildThreads, name: name, tick: tick) { piece, state throws(Failure) in
            let value = try body(piece, state)
            values.slots.withLock { $0[piece] = value }
        }
        return values.slots.withLock { slots in
            slots.map { value in
                guard let value else { preconditionFailure("a piece of work that did not fail has no value") }
                return value
            }
        }
    }
}
