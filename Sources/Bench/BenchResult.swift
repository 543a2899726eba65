// What a run found, and how a command ends with it.

public import ServiceKit

/// The figures of a run.
public struct BenchResult: Sendable {
    /// Connections that sent one increment each and stayed open.
    struct Parked: Sendable {
        let asked: Int
        let tally: Tally
        /// Still open when the load had ended.
        let openAtEnd: Int
        /// Of the server's process, before they were opened and when all were answered; nil without its number.
        let residentBefore: Int?
        let residentAfter: Int?

        var answered: Int { tally.acknowledged }

        /// Bytes of the server's memory for each; nil if it was not looked at.
        var residentPerConnection: Int? {
            guard let residentBefore, let residentAfter, answered > 0 else { return nil }
            return (residentAfter - residentBefore) / answered
        }
    }

    /// How many keys with wrong sums are named.
    static let differencesShown = 10
    static let percentiles: [(name: String, json: String, value: Double)] = [
        ("p50", "p50", 50), ("p90", "p90", 90), ("p99", "p99", 99), ("p99.9", "p99_9", 99.9), ("max", "max", 100),
    ]

    let plan: LoadPlan
    /// nil without a load.
    let load: Tally?
    let parked: Parked?
    let samples: BacklogSamples
    /// nil if the sums were not compared.
    let check: SumCheck.Outcome?

    /// 3 if a sum is wrong, 1 if nothing was acknowledged.
    public var exitCode: ExitCode {
        if check?.differences.isEmpty == false { return .partial }
        return (load?.acknowledged ?? 0) + (parked?.answered ?? 0) > 0 ? .ok : .failure
    }

    /// What to do about requests that were refused for their token, without a full stop; nil if none was.
    public var tokenAdvice: String? {
        func count(_ status: Int) -> Int { (load?.statuses[status] ?? 0) + (parked?.tally.statuses[status] ?? 0) }
        if count(401) > 0 {
            return plan.token == nil
                ? "the server demands a token: name the file of one with --token-file"
                : "the server does not know the token of --token-file"
        }
        if count(403) > 0 { return "the token of --token-file needs the scope write" }
        if count(429) > 0 {
            return "the token of --token-file is over its rate: lower --rate, or raise that of the token"
        }
        return nil
    }

    /// Acknowledged requests a second, from the start to the last answer.
    var acknowledgedPerSecond: Double {
        guard let load, load.elapsedNanoseconds > 0 else { return 0 }
        return Double(load.acknowledged) * 1e9 / Double(load.elapsedNanoseconds)
    }

    var incrementsPerSecond: Double { acknowledgedPerSecond * Double(plan.batch) }
}
