// A connection that comes about ends no back-off: one that has worked does.

import RedisQueue
import Testing

@testable import TallyCore

@Suite struct ReconnectPaceTests {
    /// Takes the largest of every range.
    private struct Largest: RandomNumberGenerator {
        mutating func next() -> UInt64 { .max }
    }

    @Test func connectionsThatNeverWorkAreMadeAtTheSlowestPace() {
        var pace = ReconnectPace()
        var random = Largest()
        let first = pace.begin(afterWork: false, using: &random)
        #expect(first == 0)
        let waits = (0..<8).map { _ in pace.begin(afterWork: false, using: &random) }
        #expect(waits == [20, 40, 80, 160, 320, 640, 1_000, 1_000])
        // Tries that fail go on from there.
        let next = pace.next(using: &random)
        #expect(next == 1_000)
    }

    @Test func oneThatWorkedIsReplacedAtOnce() {
        var pace = ReconnectPace()
        var random = Largest()
        for _ in 0..<9 { _ = pace.next(using: &random) }  // far up
        let waits = [pace.begin(afterWork: true, using: &random), pace.next(using: &random)]
        #expect(waits == [0, 20])
    }
}
