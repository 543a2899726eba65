// When the claims of idempotency keys may be forgotten. No step of a clock forgets one.
//
// The claims of a shard have a clock of their own. It goes on with the monotonic clock of the consumer and stands still
// while no consumer runs, so it is never ahead of the time that has passed, whatever the clocks of machines show. A
// claim is dated by it when it is counted, and lives for the retention R and a grace.
//
// When a batch was sent its date says, which is Redis' time. What a date is on the clock of the claims is known from
// the looks at Redis' clock: as far back as that went evenly, by the difference; before that, by the difference to what
// it showed last before it was set, or before no consumer ran; between the two, that moment.
//
//      Redis' clock   ....x────────────x before          start x────────────────x shown      now
//      this clock     ....x────────────x startTime ─────────── x────────────────x time
//
// What was forgotten is remembered as one number, `decidesFrom`: of an increment that was sent before it and has no
// claim, nobody can say whether it was counted.

/// The time of the claims of one shard, in milliseconds. Kept in the shard's `meta`.
public struct ClaimClock: Hashable, Sendable {
    /// How long consumers have run, all together.
    public private(set) var time: UInt64
    /// Claims of increments that were sent before are incomplete.
    public private(set) var decidesFrom: UInt64
    /// What Redis' clock showed at the last look, 0 before the first.
    public private(set) var shown: UInt64
    /// Since when Redis' clock has gone evenly: what it showed then, what it would have shown then had it gone on as
    /// before, and this clock then.
    public private(set) var start: UInt64
    public private(set) var before: UInt64
    public private(set) var startTime: UInt64

    public init(
        time: UInt64 = 0, decidesFrom: UInt64 = 0, shown: UInt64 = 0, start: UInt64 = 0, before: UInt64 = 0,
        startTime: UInt64 = 0
    ) {
        self.time = time
        self.decidesFrom = decidesFrom
        self.shown = shown
        self.start = start
        self.before = before
        self.startTime = startTime
    }

    /// How much longer than the retention claims are kept, in milliseconds.
    public static func grace(ofRetention retention: UInt64) -> UInt64 {
        max(retention / 4, Limits.claimGraceMillisecondsMin)
    }

    /// How long a node may hold a batch before nobody can decide about its repetition any more, in milliseconds.
    public static func holdMax(ofRetention retention: UInt64) -> UInt64 {
        grace(ofRetention: retention) - Limits.claimErrorMilliseconds
    }

    /// Redis' clock has shown `redisTime`. To be called with every peek, of a drain too, before its batches are
    /// applied.
    ///
    /// - Parameter elapsed: monotonic milliseconds since the last call in this process; 0 for the first, and if the
    ///   clock in the file is not the one that this process has left there: somebody else has dated claims by it
    ///   meanwhile.
    public mutating func advance(to redisTime: UInt64, elapsed: UInt64) {
        let expected = shown + elapsed
        if redisTime > expected + Limits.claimStepMilliseconds || redisTime + Limits.claimStepMilliseconds < expected {
            before = shown == 0 ? redisTime : expected
            start = redisTime
            startTime = time + elapsed
        }
        shown = redisTime
        time += elapsed
    }

    /// Time has passed since the last call of `advance`: to be called before what was peeked is applied.
    ///
    /// - Parameter elapsed: monotonic milliseconds since the last call in this process.
    public mutating func pass(_ elapsed: UInt64) {
        shown += elapsed
        time += elapsed
    }

    /// The time of a claim that is counted now.
    public var stamp: UInt64 { time }

    /// What the date `sent` of a batch is on this clock.
    public func time(ofSent sent: UInt64) -> UInt64 {
        if sent <= shown {
            // What was frozen just before the first look is of the same run.
            if sent + Limits.claimErrorMilliseconds >= start { return time - min(time, shown - sent) }
            return startTime - min(startTime, before - min(before, sent))
        }
        // Dated by a clock that was set back since, or that its node still takes for the right one.
        if sent <= before { return startTime - min(startTime, before - sent) }
        if sent <= shown + Limits.claimErrorMilliseconds { return time }
        let since = sent - before
        return since <= time - startTime + Limits.claimStepMilliseconds ? min(time, startTime + since) : 0
    }

    /// Whether nobody can say any more if something that was sent at `sent` was counted before.
    public func isTooLate(sent: UInt64) -> Bool { time(ofSent: sent) < decidesFrom }

    /// Claims with a stamp below this may be forgotten; 0: none.
    ///
    /// - Parameters:
    ///   - retention: R, in milliseconds.
    ///   - oldestWaiting: the date of the oldest batch of the list, nil if the list is empty.
    public func expiry(retention: UInt64, oldestWaiting: UInt64?) -> UInt64 {
        let from = min(time, oldestWaiting.map { time(ofSent: $0) } ?? time)
        let age = retention + Self.grace(ofRetention: retention)
        return from > age ? from - age : 0
    }

    /// Claims up to `stamp` have been forgotten.
    public mutating func forgot(through stamp: UInt64, retention: UInt64) {
        decidesFrom = max(decidesFrom, stamp + retention + 1 + Limits.claimErrorMilliseconds)
    }

    /// Takes the clock of another shard in, for a shard that takes over the claims of both: it is ahead of both.
    public mutating func join(_ other: ClaimClock) {
        let mine = self
        time = max(mine.time, other.time)
        decidesFrom = max(raised(mine.decidesFrom, of: mine), raised(other.decidesFrom, of: other))
        // Their clocks may have stood still at other times: dates are read by the one that makes them older.
        let older = age(of: mine) < age(of: other) ? other : mine
        shown = older.shown
        start = older.start
        before = older.before
        startTime = older.startTime + offset(of: older)
    }

    private func age(of other: ClaimClock) -> Int64 {
        other.shown == 0
            ? .min : Int64(clamping: other.before) - Int64(clamping: other.startTime + offset(of: other))
    }

    /// By how much the stamps of a shard whose clock was joined have to be raised.
    public func offset(of other: ClaimClock) -> UInt64 { time - other.time }

    /// 0 stands for none.
    private func raised(_ time: UInt64, of other: ClaimClock) -> UInt64 { time == 0 ? 0 : time + offset(of: other) }
}

/// What became of an attempt to claim (idempotency key, key).
public enum IdempotentClaim: Hashable, Sendable {
    case new
    case repeated
    /// Its claim, if there was one, has been forgotten.
    case tooLate
}
