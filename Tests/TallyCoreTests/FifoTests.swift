// An outbox is a queue whose elements stay indexable: it must agree with an array at every step, and let go of what
// has left it.

import Testing

@testable import TallyCore

@Suite struct FifoTests {
    @Test func agreesWithAnArray() {
        let seed: UInt64 = 3
        var generator = SplitMix64(seed: seed)
        var fifo = Fifo<Int>()
        var model: [Int] = []
        for step in 0..<20_000 {
            // Phases of growing and of shrinking, so that it is empty and long in turn.
            let grows = (step / 500).isMultiple(of: 2)
            if model.isEmpty || Int.random(in: 0..<10, using: &generator) < (grows ? 7 : 3) {
                fifo.append(step)
                model.append(step)
            } else {
                #expect(fifo.removeFirst() == model.removeFirst(), "seed \(seed)")
            }
            #expect(fifo.count == model.count && fifo.isEmpty == model.isEmpty && fifo.first == model.first)
            if let index = model.indices.randomElement(using: &generator) {
                #expect(fifo[index] == model[index])
                fifo[index] += 1
                model[index] += 1
            }
        }
    }

    private final class Token {}

    @Test func elementsAreFreedSoonAfterTheyLeft() {
        var fifo = Fifo<Token>()
        weak var oldest: Token?
        for index in 0..<100 {
            let token = Token()
            if index == 0 { oldest = token }
            fifo.append(token)
        }
        for _ in 0..<60 { fifo.removeFirst() }
        #expect(oldest == nil)
        #expect(fifo.count == 40)
    }
}
