// Time: hours that pass at once, a Redis clock and consumers' clocks that are set, and clients that send again long
// after.

import TallyCore

/// The clocks of the machines.
struct Clocks {
    /// Idempotency claims count for so long.
    static let retention: UInt64 = 2_400_000
    static let normal: Int64 = 1_000_000_000_000

    /// What Redis' clock shows beyond monotonic time.
    var redisOffset = normal
    var hasLeapt = false
    /// What it showed beyond monotonic time, and since when.
    private(set) var history: [(since: UInt64, offset: Int64)] = [(0, normal)]
    /// The same for the consumers' own clocks; nothing depends on them, except in a canary.
    var consumerOffset = normal
    /// Requests that are sent again, and when.
    var retries: [(request: Int, at: UInt64)] = []

    mutating func setRedis(_ offset: Int64, now: UInt64) {
        redisOffset = offset
        history.append((now, offset))
    }

    /// Whether Redis never showed a date at the time for which it stands: hours pass at once here, and a node may not
    /// have looked for as long.
    func isWrong(_ date: Int64, now: UInt64) -> Bool {
        !history.contains { entry in
            let time = date - entry.offset
            guard time >= 0, time <= Int64(clamping: now) else { return false }
            let shown = history.last { Int64(clamping: $0.since) <= time }?.offset ?? Self.normal
            return abs(shown - entry.offset) <= Int64(clamping: Limits.claimErrorMilliseconds)
        }
    }
}

extension World {
    var hasClocks: Bool { mix.faults.contains(.clocks) }

    /// What a consumer's own clock shows.
    var consumerTime: UInt64 { UInt64(clamping: Int64(clamping: now) + clocks.consumerOffset) }

    func disturbClocks() {
        guard hasClocks else { return }
        if random.chance(mix.faults.isDisjoint(with: [.letters, .imports]) ? 0.008 : 0.025) {
            now += UInt64(60_000 * (1 + random.below(15)))
            for consumer in consumers { consumer.loseAnswer(in: self) }
            log("TIME passes")
        }
        if random.chance(0.003) {
            // Once a month ahead: dates of two such times cannot be told apart.
            let minutes = random.pick(clocks.hasLeapt ? [0, 0, -2, 2] : [0, 0, -2, 2, 43_200])
            if minutes == 43_200 { clocks.hasLeapt = true }
            clocks.setRedis(Clocks.normal + Int64(minutes) * 60_000, now: now)
            log("STEP Redis' clock is \(minutes) min wrong")
        }
        if random.chance(0.003) {
            let minutes = random.pick([0, 0, -35, 43_200])
            clocks.consumerOffset = Clocks.normal + Int64(minutes) * 60_000
            log("STEP the consumers' clock is \(minutes) min wrong")
        }
    }

    /// A client that sends again, several times, within the retention of its first request.
    func planRetries(of request: Int) {
        guard hasClocks, oracle[request].isIdempotent else { return }
        for _ in 0..<(1 + random.below(3)) {
            clocks.retries.append((request, now + UInt64(random.below(Int(Clocks.retention)))))
        }
    }

    func retryLate() {
        guard random.chance(0.4), let index = clocks.retries.firstIndex(where: { $0.at <= now }) else { return }
        let request = clocks.retries.remove(at: index).request
        if mayRetry(request) { submit(request) }
    }

    /// Whether a repetition is still promised to be recognised.
    func mayRetry(_ request: Int) -> Bool {
        guard hasClocks, let first = oracle[request].admittedAt else { return true }
        return now < first + Clocks.retention
    }

    /// What nobody can decide about goes to the dead letters, and nothing else does.
    func examineLetters(of file: ModelShard, from count: Int) {
        for letter in file.tables.deadLetters.dropFirst(count) {
            guard letter.isUndecided else {
                log("BURIED \(letter.amount.sum) of \(String(decoding: letter.key ?? [], as: UTF8.self))")
                continue
            }
            counts.undecided += 1
            log("BURIED \(String(decoding: letter.key ?? [], as: UTF8.self)) \(letter.detail)")
            if letter.reason == .late, !isOld(letter) {
                bad("buried as late without a reason: \(String(decoding: letter.key ?? [], as: UTF8.self))")
            }
        }
    }

    /// Whether the node that froze it, or somebody on its behalf, has held it for longer than the shards promise to
    /// wait. Its date may be from a clock that was wrong by minutes, or by a month.
    private func isOld(_ letter: DeadLetter) -> Bool {
        let digits = letter.detail.drop { !$0.isNumber }.prefix { $0.isNumber }
        guard let date = Int64(digits) else { return false }
        // Dated by a clock that was set back while nobody looked: as good as no date. Where it was a month ahead
        // before, the shard takes a date that it does not show yet for one of that time.
        let error = clocks.hasLeapt ? 0 : Int64(clamping: Limits.claimErrorMilliseconds)
        if date > Int64(clamping: redisTime) + error || clocks.isWrong(date, now: now) { return true }
        let longest = Int64(clamping: ClaimClock.holdMax(ofRetention: Clocks.retention))
        let sent = date - Clocks.normal
        let month: Int64 = 43_200 * 60_000
        let held = Int64(clamping: now) - (sent > month ? sent - month : sent)
        return held + 150_000 >= longest
    }
}

extension DeadLetter {
    /// Whether it may have been counted before, for all that its shard knows.
    var isUndecided: Bool { reason == .late || reason == .forgotten }
}

extension ModelShard {
    /// A look at the list: the clock of the claims goes on.
    func keepTime(_ peeked: Peeked, elapsed: UInt64) {
        let shown = tables.claimClock.shown
        let isBlind = tables.mutation == .blindClock && shown > 0
        tables.claimClock.advance(
            to: peeked.time, elapsed: isBlind ? max(peeked.time, shown) - shown : elapsed)
    }

    /// A look at the head of the list: old claims are forgotten; how many.
    func forgetClaims(_ peeked: Peeked, retention: UInt64, consumerTime: UInt64) -> Int {
        let oldest = peeked.batches.first.flatMap { batch in
            batch.withUnsafeBytes { try? BatchHeader(reading: $0) }  // the consumer will raise the alarm
        }
        var expiry = tables.claimClock.expiry(retention: retention, oldestWaiting: oldest?.frozenAt)
        switch tables.mutation {
        case .claimsByArrival: expiry = consumerTime - retention
        case .eagerExpiry: expiry = max(tables.claimClock.time, retention) - retention
        default: break
        }
        let old = tables.idempotency.filter { $0.value < expiry }
        guard let newest = old.values.max() else { return 0 }
        for row in old.keys { tables.idempotency[row] = nil }
        tables.claimClock.forgot(through: newest, retention: retention)
        return old.count
    }
}
