import Histogram
import ServiceKit

/// How old the oldest batch was, over a run.
struct BacklogSamples: Sendable {
    static let intervalMilliseconds: UInt64 = 250
    private static let ageMax: UInt64 = 86_400_000

    private var ages = Histogram<UInt64>(highestTrackableValue: BacklogSamples.ageMax)
    /// Looks that failed.
    private(set) var failures = 0
    private var nextMilliseconds: UInt64 = 0

    var count: Int { Int(ages.totalCount) }
    var maxMilliseconds: Int { Int(ages.maxRecorded) }
    var medianMilliseconds: Int { Int(ages.valueAtPercentile(50)) }

    /// Looks, if it is time to.
    mutating func look(_ hooks: BenchHooks, now: UInt64) {
        guard let backlog = hooks.backlog, now >= nextMilliseconds else { return }
        nextMilliseconds = now + Self.intervalMilliseconds
        do throws(Failure) {
            let age = try backlog().oldestSeconds ?? 0
            ages.record(UInt64(min(age * 1_000, Double(Self.ageMax))))
        } catch {
            failures += 1
        }
    }
}
