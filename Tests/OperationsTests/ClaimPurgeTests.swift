// Forgetting keeps up with claiming.

import Testing

@testable import ShardConsumer

@Suite struct ClaimPurgeTests {
    @Test func onceASecond() {
        var purge = ClaimPurge()
        #expect(purge.due(now: 5, made: 0) == ClaimPurge.rows)
        #expect(purge.due(now: 1_004, made: 0) == nil)
        #expect(purge.due(now: 1_005, made: 0) == ClaimPurge.rows)
    }

    /// What came while it was not its time counts.
    @Test func twiceAsManyAsHaveCome() {
        var purge = ClaimPurge()
        #expect(purge.due(now: 1_000, made: 7) == ClaimPurge.rows)
        #expect(purge.due(now: 1_500, made: 500_000) == nil)
        #expect(purge.due(now: 2_000, made: 1_000_007) == 2_000_000)
        #expect(purge.due(now: 3_000, made: 1_000_007) == ClaimPurge.rows)
    }

    /// Claims come at a rate, for hours, and expire an hour later; transactions are as long as they may be. What has
    /// expired and is still there is never more than came in two of them.
    @Test(arguments: [100, 20_000, 80_000]) func whatHasExpiredDoesNotGrow(rate: Int) {
        var purge = ClaimPurge()
        var forgotten = 0
        let seconds = 12
        for step in 1...1_200 {
            let made = step * seconds * rate
            let expired = max(0, made - 3_600 * rate)
            guard let most = purge.due(now: UInt64(step * seconds) * 1_000, made: made) else { continue }
            forgotten += min(most, expired - forgotten)
            #expect(expired - forgotten <= 2 * seconds * rate, "step \(step)")
        }
        #expect(forgotten > 0)
    }
}
