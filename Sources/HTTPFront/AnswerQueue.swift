// The answers that a connection owes, in the order of its requests.
//
// Requests are counted as they come and answered when their level is reached, so answers become ready in any
// order, but HTTP sends them in the order of the requests. A slot waits for its turn; the first ready ones leave.

import TallyCore
import Tokens

/// Slots in request order. Sequence numbers name them and wrap around.
struct AnswerQueue {
    enum Answer {
        /// Nothing is known yet.
        case pending
        case reached(Level)
        indirect case problem(Problem)
        /// Bytes that were ready when the request was read, but had to wait for earlier answers.
        case written([UInt8])
    }

    struct Slot {
        var answer: Answer
        /// Increments of the request.
        var count: Int
        /// The level that was asked for.
        var asked: Level
        var persistence: Persistence
        /// What is left to the token of the request, if it has a limit.
        var quota: Quota?
    }

    private var slots: [Slot] = []
    /// Slots before it have left.
    private var first = 0
    /// The sequence of `slots[0]`.
    private var base: UInt32 = 0
    /// Of answers that are written and wait for earlier ones.
    private(set) var writtenBytes = 0

    var isEmpty: Bool { first == slots.count }
    var count: Int { slots.count - first }
    /// What the next slot will be called.
    var nextSequence: UInt32 { base &+ UInt32(truncatingIfNeeded: slots.count) }

    mutating func append(_ slot: Slot) {
        if case .written(let bytes) = slot.answer { writtenBytes += bytes.count }
        slots.append(slot)
    }

    /// Makes a pending slot ready. False when there is no such slot or it has its answer already.
    mutating func complete(_ sequence: UInt32, _ answer: Answer) -> Bool {
        let index = Int(sequence &- base)
        guard index >= first, index < slots.count, case .pending = slots[index].answer else { return false }
        slots[index].answer = answer
        return true
    }

    /// Whether an answer can leave.
    var isFirstReady: Bool {
        guard first < slots.count else { return false }
        if case .pending = slots[first].answer { return false }
        return true
    }

    /// The first slot, if it is ready.
    mutating func popReady() -> Slot? {
        guard isFirstReady else { return nil }
        let slot = slots[first]
        if case .written(let bytes) = slot.answer { writtenBytes -= bytes.count }
        slots[first].answer = .pending
        first += 1
        if first == slots.count || first == 64 { forgetLeft() }
        return slot
    }

    /// The last answer ends the connection. Only with slots.
    mutating func closeAfterLast() {
        slots[slots.count - 1].persistence = .closes
    }

    private mutating func forgetLeft() {
        base &+= UInt32(first)
        if first == slots.count {
            // A connection that pipelined once should not hold its storage for ever.
            slots.removeAll(keepingCapacity: slots.capacity <= 4)
        } else {
            slots.removeFirst(first)
        }
        first = 0
    }
}
