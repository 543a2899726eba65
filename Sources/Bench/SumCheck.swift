// The end of a run: what was acknowledged has to be in the shards, by key, and nothing else.
//
// Batches need a moment on their way. The lists are waited for until they are empty, then the totals are compared; if
// they differ, again and again until they agree or the patience is over: a node may hold what Redis has not got yet.

import ServiceKit

/// Totals before and after a run.
struct SumCheck {
    struct Outcome: Sendable {
        let keys: Int
        let differences: [Difference]
        let waitedMilliseconds: Int
        /// Batches in the lists at the last look; nil if nobody looked.
        let waitingBatches: Int?
    }

    private static let pauseMilliseconds = 50

    private let plan: LoadPlan
    private let hooks: BenchHooks
    private let read: BenchHooks.Counters
    private let before: [Int64]

    /// Reads the totals before the run; nil if they are not to be checked.
    ///
    /// - Throws: as the report.
    init?(_ plan: LoadPlan, _ hooks: BenchHooks) throws(Failure) {
        guard let read = hooks.counters else { return nil }
        self.plan = plan
        self.hooks = hooks
        self.read = read
        before = try Self.totals(plan, read)
    }

    private static func totals(_ plan: LoadPlan, _ read: BenchHooks.Counters) throws(Failure) -> [Int64] {
        var totals = KeyTotals(keys: plan.keys, keysPrefix: plan.keysPrefix)
        try read(Array(plan.keysPrefix.utf8)) { key, value in totals.take(key, value) }
        return totals.values
    }

    /// Waits for the shards, and compares.
    ///
    /// - Throws: as the report.
    func compare(_ sums: Sums, stopRequests: Int) throws(Failure) -> Outcome {
        let start = MonotonicClock.milliseconds()
        while true {
            let waiting = waitingBatches()
            let waited = Int(MonotonicClock.milliseconds() - start)
            let asked = try hooks.stopRequests(0)
            let isLast = waited >= plan.patienceMilliseconds || asked > stopRequests
            if isLast || (waiting ?? 0) == 0 {
                let found = sums.differences(before: before, after: try Self.totals(plan, read))
                if isLast || found.isEmpty {
                    return Outcome(
                        keys: plan.keys, differences: found, waitedMilliseconds: waited, waitingBatches: waiting)
                }
            }
            _ = try hooks.stopRequests(Self.pauseMilliseconds)  // asked again at the top
        }
    }

    private func waitingBatches() -> Int? {
        guard let backlog = hooks.backlog else { return nil }
        do throws(Failure) {
            return try backlog().batches
        } catch {
            return nil  // the totals decide; they are waited for all the same
        }
    }
}
