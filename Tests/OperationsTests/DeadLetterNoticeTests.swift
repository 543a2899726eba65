// How often the log is told of dead letters.

import Testing

@testable import ShardConsumer

@Suite struct DeadLetterNoticeTests {
    @Test func aLineAtOnceThenACountAMinute() {
        var notice = DeadLetterNotice()
        #expect(notice.note(0, now: 5) == nil)
        #expect(notice.note(3, now: 10) == 3)
        var told: [UInt64] = []
        // A transaction each 100 ms, for three minutes and a bit.
        for step in 1...1_850 { if let count = notice.note(2, now: 10 + UInt64(step) * 100) { told.append(count) } }
        #expect(told == [1_200, 1_200, 1_200])
        #expect(notice.takeUntold() == 100 && notice.takeUntold() == nil)
    }

    /// The last of them are told when the minute is over, whether more come or not.
    @Test func whatCameLastIsTold() {
        var notice = DeadLetterNotice()
        #expect(notice.note(1, now: 1) == 1)
        #expect(notice.note(4, now: 2) == nil)
        #expect(notice.note(0, now: DeadLetterNotice.pauseMilliseconds) == nil)
        #expect(notice.note(0, now: DeadLetterNotice.pauseMilliseconds + 1) == 4)
        #expect(notice.note(0, now: 1 << 40) == nil)
    }

    @Test func afterAMinuteOfQuietTheNextIsToldAtOnce() {
        var notice = DeadLetterNotice()
        #expect(notice.note(1, now: 1) == 1)
        #expect(notice.note(9, now: 1 + DeadLetterNotice.pauseMilliseconds) == 9)
    }
}
