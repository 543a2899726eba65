// The rate: a burst, then evenly; never more than the rate allows, whoever asks, and never much less.

import Dispatch
import ServiceKit
import Synchronization
import Testing

@testable import Tokens

@Suite struct RateLimiterTests {
    private static let second: UInt64 = 1_000_000_000

    @Test func aSecondsWorthAtOnceThenEvenly() {
        let limiter = RateLimiter(rate: 4)
        let start = 100 * Self.second
        for left in [3, 2, 1, 0] {
            let (isWithin, quota) = limiter.admit(now: start)
            #expect(isWithin && quota == Quota(limit: 4, remaining: UInt32(left)))
        }
        #expect(!limiter.admit(now: start).isWithin)
        #expect(!limiter.admit(now: start + Self.second / 4 - 1).isWithin)
        #expect(limiter.admit(now: start + Self.second / 4).isWithin)
        #expect(!limiter.admit(now: start + Self.second / 4).isWithin)
        // After any silence, a second's worth and no more.
        #expect((0..<9).count { _ in limiter.admit(now: start + 1_000 * Self.second).isWithin } == 4)
    }

    @Test func aRefusalCostsNothing() {
        let limiter = RateLimiter(rate: 1)
        #expect(limiter.admit(now: Self.second).isWithin)
        for _ in 0..<1_000 { #expect(!limiter.admit(now: Self.second).isWithin) }
        #expect(limiter.admit(now: 2 * Self.second).isWithin)
    }

    @Test func aLoopThatIsBehindIsNotLetThroughMore() {
        let limiter = RateLimiter(rate: 2)
        #expect(limiter.admit(now: 5 * Self.second).isWithin && limiter.admit(now: 5 * Self.second).isWithin)
        #expect(!limiter.admit(now: 5 * Self.second - 10_000_000).isWithin)
    }

    @Test(arguments: [1, 2, 3, 7, 60, 999, 1_000, 333_333, 1_000_000])
    func theBurstIsTheRate(rate: Int) {
        let limiter = RateLimiter(rate: rate)
        var admitted = 0
        while limiter.admit(now: Self.second).isWithin { admitted += 1 }
        #expect(admitted == rate)
    }

    /// Over 20 seconds of requests at random moments, twice as many as permitted, the burst and the rate are given.
    @Test(arguments: [10, 1_000, 30_000])
    func overTimeTheRateIsGiven(rate: Int) {
        let seed = UInt64.random(in: 0..<1_000_000)
        var random = Splitter(state: seed)
        let limiter = RateLimiter(rate: rate)
        let seconds = 20
        var now = Self.second
        var admitted = 0
        while now < UInt64(1 + seconds) * Self.second {
            if limiter.admit(now: now).isWithin { admitted += 1 }
            now += random.next() % (Self.second / UInt64(rate))
        }
        let most = rate * (seconds + 1)
        #expect(admitted <= most + most / 2_000 && admitted >= most - most / 100 - 2, "\(admitted), seed \(seed)")
    }

    @Test func allThreadsTogetherGetTheRate() {
        let limiter = RateLimiter(rate: 10_000)
        let admitted = Atomic<Int>(0)
        DispatchQueue.concurrentPerform(iterations: 4) { _ in
            for _ in 0..<10_000 where limiter.admit(now: Self.second).isWithin {
                admitted.add(1, ordering: .relaxed)
            }
        }
        #expect(admitted.load(ordering: .relaxed) == 10_000)
    }
}

/// SplitMix64.
private struct Splitter: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
