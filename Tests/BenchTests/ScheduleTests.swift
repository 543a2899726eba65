import Testing

@testable import Bench

@Suite struct ScheduleTests {
    private static let second: UInt64 = 1_000_000_000

    /// Request n is due at start + n / rate, to the nanosecond, however late it is asked for.
    @Test func requestsKeepTheirTimes() {
        var schedule = Schedule(.constant(perSecond: 9_000, total: 9_001, first: 0, step: 1))
        #expect(schedule.nextDue(now: 5) == nil, "nothing is due before the start")
        schedule.start(now: 1_000)
        #expect(schedule.take(now: 999) == nil)
        #expect(schedule.take(now: 1_000) == 1_000)
        #expect(schedule.nextDue(now: 1_000) == 112_111)
        #expect(schedule.take(now: 112_110) == nil)
        // A stall of a second: all requests of it are overdue, and count from when they were due.
        let late = 1_000 + Self.second
        let intended = (1...9_000).map { _ in schedule.take(now: late) }
        #expect(intended == (1...9_000).map { 1_000 + UInt64($0) * Self.second / 9_000 })
        #expect(schedule.isOver(now: late) && schedule.take(now: late) == nil && schedule.sent == 9_001)
    }

    @Test func threadsShareTheRequests() {
        var all: [UInt64] = []
        for first in 0..<3 {
            var schedule = Schedule(.constant(perSecond: 10, total: 7, first: first, step: 3))
            schedule.start(now: 0)
            #expect(schedule.count == [3, 2, 2][first])
            while let due = schedule.take(now: Self.second) { all.append(due) }
            #expect(schedule.endNanoseconds == all.last)
        }
        #expect(all.sorted() == (0..<7).map { $0 * Self.second / 10 })
    }

    /// Days at the highest rate do not overflow.
    @Test func longRunsStayExact() {
        let perSecond = LoadPlan.rateMax
        let total = perSecond * 86_400 * 7
        var schedule = Schedule(.constant(perSecond: perSecond, total: total, first: total - 1, step: 1))
        schedule.start(now: 7)
        #expect(schedule.take(now: .max) == 7 + 604_800 * Self.second - 100)
        #expect(schedule.take(now: .max) == nil)
    }

    @Test func aFloodEndsWithItsTime() {
        var schedule = Schedule(.flood(nanoseconds: 50))
        schedule.start(now: 100)
        #expect(schedule.take(now: 100) == 100 && schedule.take(now: 149) == 149)
        #expect(!schedule.isOver(now: 149) && schedule.isOver(now: 150) && schedule.take(now: 150) == nil)
        #expect(schedule.count == nil && schedule.endNanoseconds == 150)
    }

    @Test func stoppingEndsIt() {
        var schedule = Schedule(.once(2))
        schedule.start(now: 3)
        #expect(schedule.take(now: 4) == 4)
        schedule.stop()
        #expect(schedule.take(now: 4) == nil && schedule.isOver(now: 4) && schedule.sent == 1)
    }

    @Test func ringKeepsTheOrder() {
        var ring = IndexRing(capacity: 3)
        var expected: [Int] = []
        for round in 0..<20 {
            while expected.count < 1 + round % 3 {
                ring.append(round * 3 + expected.count)
                expected.append(round * 3 + expected.count)
            }
            #expect(ring.first == expected.first && ring.count == expected.count)
            ring.removeFirst()
            expected.removeFirst()
        }
    }
}
