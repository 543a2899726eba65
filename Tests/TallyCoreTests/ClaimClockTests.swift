// The clock of the claims: it goes with the consumers, dates are read by the looks at Redis' clock, and no step of that
// one forgets a claim.

import Testing

@testable import TallyCore

@Suite struct ClaimClockTests {
    static let epoch: UInt64 = 1_700_000_000_000
    static let day: UInt64 = 86_400_000
    static let week = 7 * day

    /// A clock that has run for a day.
    private func clock() -> ClaimClock {
        var clock = ClaimClock()
        clock.advance(to: Self.epoch, elapsed: 0)
        clock.advance(to: Self.epoch + Self.day, elapsed: Self.day)
        return clock
    }

    @Test func goesWithTheConsumerAlone() {
        var clock = clock()
        #expect(clock.time == Self.day && clock.stamp == Self.day)
        // A downtime of a week, and a clock that is set a year ahead.
        clock.advance(to: Self.epoch + Self.day + Self.week, elapsed: 0)
        #expect(clock.time == Self.day)
        clock.advance(to: Self.epoch + 365 * Self.day, elapsed: 5)
        clock.advance(to: Self.epoch, elapsed: 5)
        #expect(clock.time == Self.day + 10)
        clock.pass(7)
        #expect(clock.time == Self.day + 17 && clock.shown == Self.epoch + 7)
    }

    @Test func aDateOfTheSameRunIsReadByItsAge() {
        let clock = clock()
        #expect(clock.time(ofSent: Self.epoch + Self.day) == Self.day)
        #expect(clock.time(ofSent: Self.epoch + Self.day - 1_000) == Self.day - 1_000)
        #expect(clock.time(ofSent: Self.epoch + Self.day + Limits.claimErrorMilliseconds) == Self.day, "coarseness")
        #expect(clock.time(ofSent: Self.epoch - Self.day) == 0, "before the first look")
    }

    @Test func whatWaitedWhileNoConsumerRanIsNotOlderForIt() {
        var clock = clock()
        let stop = Self.epoch + Self.day
        clock.advance(to: stop + Self.week, elapsed: 0)
        clock.advance(to: stop + Self.week + 100, elapsed: 100)
        #expect(clock.time(ofSent: stop - 50) == Self.day - 50)
        #expect(clock.time(ofSent: stop + Self.day) == Self.day, "in between")
        #expect(
            clock.time(ofSent: stop + Self.week - Limits.claimErrorMilliseconds)
                == Self.day - Limits.claimErrorMilliseconds, "just before the first look")
        #expect(clock.time(ofSent: stop + Self.week - Limits.claimErrorMilliseconds - 1) == Self.day)
        #expect(clock.time(ofSent: stop + Self.week + 40) == Self.day + 40)
    }

    @Test func datesFromBeforeTheClockWasSetBack() {
        var clock = clock()
        let last = Self.epoch + Self.day
        clock.advance(to: last - 3_600_000, elapsed: 0)
        clock.advance(to: last - 3_600_000 + 100, elapsed: 100)
        #expect(clock.time(ofSent: last - 10) == Self.day - 10, "later than Redis shows: from before")
        #expect(clock.time(ofSent: last + 60) == Self.day + 60, "its node has not looked since")
        #expect(clock.time(ofSent: last + Self.day) == 0, "nobody knows")
        #expect(clock.time(ofSent: last - 3_600_000 + 100) == Self.day + 100)
    }

    /// A consumer that slept for two days, while the clock was set ahead by an hour.
    @Test func aStepAfterALongPauseIsReadAtItsEnd() {
        var clock = clock()
        let hour: UInt64 = 3_600_000
        clock.advance(to: Self.epoch + 3 * Self.day + hour, elapsed: 2 * Self.day)
        #expect(clock.time(ofSent: Self.epoch + 3 * Self.day + hour - 100) == 3 * Self.day - 100, "since the step")
        #expect(clock.time(ofSent: Self.epoch + 2 * Self.day) == 2 * Self.day, "by the clock as it was")
    }

    /// At the bound of a step, and one past it.
    @Test func aStepIsMoreThanCoarseness() {
        for (difference, isStep) in [
            (Int64(Limits.claimStepMilliseconds), false), (Int64(Limits.claimStepMilliseconds) + 1, true),
            (-Int64(Limits.claimStepMilliseconds), false), (-Int64(Limits.claimStepMilliseconds) - 1, true),
        ] {
            var clock = clock()
            clock.advance(to: UInt64(Int64(Self.epoch + Self.day) + difference), elapsed: 0)
            #expect((clock.startTime == Self.day) == isStep, "\(difference)")
        }
    }

    @Test func aClaimLivesForRetentionAndGrace() {
        let grace = ClaimClock.grace(ofRetention: Self.day)
        #expect(grace == Self.day / 4)
        #expect(ClaimClock.grace(ofRetention: 4 * Limits.claimGraceMillisecondsMin) == Limits.claimGraceMillisecondsMin)
        #expect(ClaimClock.grace(ofRetention: 1) == Limits.claimGraceMillisecondsMin)
        var clock = clock()
        #expect(clock.expiry(retention: Self.day, oldestWaiting: nil) == 0)
        clock.advance(to: Self.epoch + 3 * Self.day, elapsed: 2 * Self.day)
        #expect(clock.expiry(retention: Self.day, oldestWaiting: nil) == 2 * Self.day - grace)
        // A batch that waits holds back what it might repeat.
        #expect(
            clock.expiry(retention: Self.day, oldestWaiting: Self.epoch + 2 * Self.day) == Self.day - grace)
        #expect(clock.expiry(retention: Self.day, oldestWaiting: Self.epoch) == 0)
    }

    @Test func whatWasForgottenCannotBeDecidedAnyMore() {
        var clock = clock()
        #expect(!clock.isTooLate(sent: 0), "nothing was forgotten")
        clock.advance(to: Self.epoch + 3 * Self.day, elapsed: 2 * Self.day)
        clock.forgot(through: 1_000, retention: Self.day)
        let bound = Self.epoch + 1_000 + Self.day + 1 + Limits.claimErrorMilliseconds
        #expect(clock.isTooLate(sent: bound - 1))
        #expect(!clock.isTooLate(sent: bound))
        clock.forgot(through: 10, retention: Self.day)
        #expect(clock.isTooLate(sent: bound - 1), "never less")
    }

    @Test func aJoinedClockIsAheadOfBoth() {
        var left = ClaimClock(time: 500, decidesFrom: 100, shown: 9_000, start: 8_500, before: 8_500, startTime: 0)
        let right = ClaimClock(time: 300, decidesFrom: 250, shown: 9_100, start: 8_900, before: 8_900, startTime: 100)
        left.join(right)
        #expect(left.time == 500 && left.offset(of: right) == 200)
        #expect(left.decidesFrom == 450)
        #expect(left.time(ofSent: 8_950) == 350, "the right one makes it older")
        var still = ClaimClock(time: 500, shown: 9_000, start: 9_000, before: 2_000, startTime: 500)
        let even = ClaimClock(time: 500, shown: 8_990, start: 8_000, before: 7_900, startTime: 400)
        still.join(even)
        #expect(still.time(ofSent: 1_900) == 0, "not 400, as by the clock that stood still")
        var empty = ClaimClock()
        empty.join(ClaimClock())
        #expect(empty == ClaimClock() && empty.decidesFrom == 0)
    }

    @Test func redisTimeGoesOnBetweenTwoLooks() {
        var clock = RedisClock(guess: 5_000, at: 1_000)
        #expect(clock.time(at: 1_500) == 5_500)
        clock.learn(9_000, at: 2_000)
        #expect(clock.time(at: 2_010) == 9_010)
        clock.learn(100, at: 3_000)
        #expect(clock.time(at: 2_900) == 0, "never below zero")
    }
}
