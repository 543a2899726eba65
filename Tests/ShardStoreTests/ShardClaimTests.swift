// How long a shard remembers the claims of idempotency keys: at least the retention, whatever is sent late, whatever
// waits in the list, whatever clocks do, and across a restart.

import TallyCore
import Testing

@testable import ShardStore

@Suite struct ShardClaimTests {
    let folder = Folder()
    let shard: ShardFile
    private let retention: UInt64 = 1_000_000
    /// The retention and its grace.
    private let age: UInt64 = 1_600_000
    /// By how much dates may be wrong.
    private let error: UInt64 = 300_000
    /// What Redis' clock shows when the tests begin; that of the claims is at 0.
    private let start: UInt64 = 1_000_000_000

    init() throws {
        shard = try ShardFile.sample(in: folder)
        shard.advanceClaimClock(to: start, elapsed: 0)
    }

    /// Claims `id` for the key `a`, as sent at `sent`; how many increments were counted.
    @discardableResult
    private func claim(
        _ id: String, sent: UInt64, _ maker: inout BatchMaker, in file: ShardFile? = nil
    ) throws -> Applied {
        maker.frozenAt = sent
        let batch = maker.make([], groups: [(id, [TestEntry("a", 1)])])
        return try #require(try (file ?? shard).apply([batch], timeMilliseconds: 1).applied)
    }

    private func forget(oldestWaiting: UInt64? = nil, limit: Int = 50) throws -> Int {
        try shard.forgetClaims(retention: retention, oldestWaiting: oldestWaiting, limit: limit)
    }

    /// The times of all claims of clients, in order.
    private func times() -> String {
        shell(folder.shard, "SELECT seen_ms FROM claim ORDER BY seen_ms").replacing("\n", with: " ")
    }

    private func toolStamps() -> String {
        shell(folder.shard, "SELECT id || '=' || seen_ms FROM idempotency ORDER BY id").replacing("\n", with: " ")
    }

    private func reasons() throws -> [DeadLetter.Reason] {
        try ShardReader(at: folder.shard).deadLetters(limit: 99).map(\.reason)
    }

    @Test func aClaimIsDatedWhenItIsCounted() throws {
        var one = BatchMaker(1)
        try claim("early", sent: start - 500, &one)
        shard.advanceClaimClock(to: start + 600, elapsed: 600)
        shard.passClaimTime(100)
        try claim("late", sent: start - 9, &one)
        #expect(times() == "0 700")
    }

    @Test func aClaimLivesForTheRetentionAndItsGrace() throws {
        var one = BatchMaker(1)
        try claim("early", sent: start - 500, &one)
        shard.advanceClaimClock(to: start + 700, elapsed: 700)
        try claim("late", sent: start + 700, &one)
        shard.advanceClaimClock(to: start + age, elapsed: age - 700)
        #expect(try forget() == 0)
        #expect(try claim("early", sent: start + age, &one).repeated.increments == 1)
        shard.advanceClaimClock(to: start + age + 1, elapsed: 1)
        #expect(try forget() == 1)
        #expect(times() == "700")
        #expect(shard.claimClock.decidesFrom == retention + 1 + error)
    }

    @Test func whatWaitsKeepsClaimsAlive() throws {
        var one = BatchMaker(1)
        try claim("id", sent: start, &one)
        shard.advanceClaimClock(to: start + 9 * age, elapsed: 9 * age)
        #expect(try forget(oldestWaiting: start + age) == 0)
        #expect(try forget(oldestWaiting: 0) == 0)
        #expect(try claim("id", sent: start + age, &one).repeated.increments == 1)
        #expect(try forget(oldestWaiting: start + age + 1) == 1)
    }

    @Test func whatCannotBeDecidedIsADeadLetter() throws {
        var one = BatchMaker(1)
        try claim("forgotten", sent: start, &one)
        shard.advanceClaimClock(to: start + 700, elapsed: 700)
        try claim("kept", sent: start + 700, &one)
        shard.advanceClaimClock(to: start + age + 1, elapsed: age + 1 - 700)
        #expect(try forget() == 1)
        let edge = start + retention + error
        // One that was never claimed cannot be told from one that was.
        #expect(try claim("forgotten", sent: edge, &one).dead == Amount(increments: 1, sum: 1))
        #expect(try claim("other", sent: edge, &one).dead == Amount(increments: 1, sum: 1))
        #expect(try claim("kept", sent: edge, &one).repeated == Amount(increments: 1, sum: 1))
        #expect(try reasons() == [.late, .late])
        #expect(try claim("another", sent: edge + 1, &one).applied == Amount(increments: 1, sum: 1))
        // Buried once.
        #expect(try claim("other", sent: edge, &one).repeated == Amount(increments: 1, sum: 1))
        #expect(
            shell(folder.shard, "SELECT detail, idempotency_id, key FROM dead_letter LIMIT 1")
                == "it was sent at \(edge), and claims from then have been forgotten|forgotten|a")
        // Plain increments are not asked for their age.
        one.frozenAt = 1
        let plain = one.make([TestEntry("a", 5)])
        #expect(try shard.apply([plain], timeMilliseconds: 1).applied?.applied.sum == 5)
    }

    @Test func forgettingIsBoundedAndOldestFirst() throws {
        var one = BatchMaker(1)
        for number in 0..<10 {
            try claim("id\(number)", sent: start + UInt64(number), &one)
            shard.passClaimTime(1)
        }
        shard.advanceClaimClock(to: start + 2 * age, elapsed: 2 * age)
        #expect(try forget(limit: 4) == 4)
        #expect(shard.claimClock.decidesFrom == 3 + retention + 1 + error)
        #expect(times().hasPrefix("4 5 "))
        #expect(try forget(limit: 50) == 6)
        #expect(shard.claimClock.decidesFrom == 9 + retention + 1 + error)
        #expect(try forget(limit: 50) == 0)
    }

    /// Of claims of one millisecond some may be forgotten and some not: those are still found, of these nobody can say.
    @Test func claimsOfOneMomentMayBeForgottenInParts() throws {
        var one = BatchMaker(1)
        one.frozenAt = start
        let ids = (0..<10).map { "id\($0)" }
        let batch = one.make([], groups: ids.map { ($0, [TestEntry("a", 1)]) })
        _ = try shard.apply([batch], timeMilliseconds: 1)
        shard.advanceClaimClock(to: start + 2 * age, elapsed: 2 * age)
        #expect(try forget(limit: 4) == 4)
        let again = one.make([], groups: ids.map { ($0, [TestEntry("a", 1)]) })
        let applied = try #require(try shard.apply([again], timeMilliseconds: 1).applied)
        #expect(applied.repeated.increments == 6 && applied.dead.increments == 4 && applied.applied == .zero)
    }

    @Test func toolsClaimsNeverExpireAndAreNeverLate() throws {
        let id = Bytes16(high: 9, low: 9)
        var one = BatchMaker(1)
        for name in ["import:\(id)", "import:\(id):2", "dead-letter:\(id):5"] { try claim(name, sent: start, &one) }
        for name in ["import:\(id)5", "import:mine", "client"] { try claim(name, sent: start, &one) }
        shard.advanceClaimClock(to: start + 9 * age, elapsed: 9 * age)
        #expect(try forget() == 3)
        let endless = Int64.max
        #expect(
            toolStamps() == "dead-letter:\(id):5=\(endless) import:\(id)=\(endless) import:\(id):2=\(endless)")
        #expect(try claim("import:\(id)", sent: 1, &one).repeated.increments == 1)
        #expect(try claim("dead-letter:\(id):6", sent: 1, &one).applied.increments == 1)
        #expect(try claim("import:mine", sent: 1, &one).dead.increments == 1)
    }

    // MARK: Across a restart

    @Test func whatWasForgottenIsRememberedAcrossARestart() throws {
        let folder = Folder()
        var one = BatchMaker(1)
        var file: ShardFile? = try ShardFile.sample(in: folder)
        file?.advanceClaimClock(to: start, elapsed: 0)
        try claim("id", sent: start, &one, in: file)
        file?.advanceClaimClock(to: start + age + 5, elapsed: age + 5)
        #expect(try file?.forgetClaims(retention: retention, oldestWaiting: nil, limit: 9) == 1)
        let clock = file?.claimClock
        file = nil
        let again = try ShardFile.openSample(folder.shard)
        #expect(again.claimClock == clock)
        #expect(again.claimClock.time == age + 5)
        #expect(try claim("id", sent: start + 9, &one, in: again).dead.increments == 1)
        #expect(try ShardReader(at: folder.shard).memory().claimClock == clock)
    }

    /// The clock does not believe in the time that passed while nobody looked.
    @Test func theClockStandsStillWhileNoConsumerRuns() throws {
        let folder = Folder()
        var one = BatchMaker(1)
        var file: ShardFile? = try ShardFile.sample(in: folder)
        file?.advanceClaimClock(to: start, elapsed: 0)
        try claim("id", sent: start, &one, in: file)
        file = nil
        let again = try ShardFile.openSample(folder.shard)
        again.advanceClaimClock(to: start + 30 * 86_400_000, elapsed: 0)
        #expect(again.claimClock.time == 0)
        again.advanceClaimClock(to: start + 60 * 86_400_000, elapsed: 8_000)
        #expect(again.claimClock.time == 8_000)
        #expect(try again.forgetClaims(retention: retention, oldestWaiting: nil, limit: 9) == 0)
    }

    @Test func anIdleFileWritesItsClockDownNowAndThen() throws {
        #expect(try forget() == 0)
        shard.advanceClaimClock(to: start + 600_000, elapsed: 600_000)
        #expect(try forget() == 0)
        #expect(try ShardReader(at: folder.shard).memory().claimClock.time == 0)
        shard.advanceClaimClock(to: start + 600_001, elapsed: 1)
        #expect(try forget() == 0)
        #expect(try ShardReader(at: folder.shard).memory().claimClock.time == 600_001)
        // Only claims need it: other batches write none of it.
        var one = BatchMaker(1)
        shard.advanceClaimClock(to: start + 600_009, elapsed: 8)
        _ = try shard.apply([one.make([TestEntry("a", 1)])], timeMilliseconds: 1)
        #expect(try ShardReader(at: folder.shard).memory().claimClock.time == 600_001)
        try claim("id", sent: 5, &one)
        #expect(try ShardReader(at: folder.shard).memory().claimClock.time == 600_009)
    }

    @Test func aFileThatWasWrittenALittleAgoIsLeftAlone() throws {
        let folder = Folder()
        var file: ShardFile? = try ShardFile.sample(in: folder)
        file?.advanceClaimClock(to: start, elapsed: 0)
        #expect(try file?.forgetClaims(retention: retention, oldestWaiting: nil, limit: 9) == 0)
        file = nil
        let again = try ShardFile.openSample(folder.shard)
        let bytes = size(folder.shard + "-wal")
        again.advanceClaimClock(to: start + 50, elapsed: 50)
        #expect(try again.forgetClaims(retention: retention, oldestWaiting: nil, limit: 9) == 0)
        #expect(size(folder.shard + "-wal") == bytes)
    }

    /// Killed anywhere: what is gone is remembered as gone, and nothing else is.
    @Test func killedWhileItForgets() throws {
        let seed = UInt64.random(in: 0 ... .max)
        print("killedWhileItForgets: seed \(seed)")
        var random = SplitMix64(seed: seed)
        let folder = Folder()
        let count = 600
        do {
            let file = try ShardFile.sample(in: folder)
            file.advanceClaimClock(to: 10, elapsed: 0)
            var one = BatchMaker(1)
            for number in 0..<count {
                let batch = one.make([], groups: [("id\(number)", [TestEntry("a", 1)])])
                _ = try file.apply([batch], timeMilliseconds: 1)
                file.passClaimTime(1)
            }
        }
        var left = count
        while left > 0 {
            let child = Child.probe(["forget", folder.shard, "\(start + 2 * age)", "\(retention)"])
            #expect(child.readLine() == "open")
            for _ in 0..<random.next(upTo: 60) where child.readLine() == nil { break }
            child.kill()
            let reader = try ShardReader(at: folder.shard)
            let oldest = shell(folder.shard, "SELECT min(seen_ms), count(*) FROM claim").split(separator: "|")
            left = try #require(Int(oldest[oldest.count - 1]))
            let forgotten = UInt64(count - left)
            // One less than the number of the oldest that is left.
            let expected = forgotten == 0 ? 0 : forgotten + retention + error
            #expect(try reader.memory().claimClock.decidesFrom == expected, "seed \(seed), \(left) left")
            if left > 0 { #expect(oldest[0] == "\(forgotten)", "seed \(seed)") }
        }
    }
}
