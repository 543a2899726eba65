// The result for machines: one object, whose names are part of the command's contract. Times carry their unit.

import TallyCore

extension BenchResult {
    /// One line, without its line end.
    public var json: String {
        let fields = [
            #""url":"http://\#(plan.endpoint)""#, #""seed":\#(plan.seed)"#,
            #""keys_prefix":\#(JSONText.quote(plan.keysPrefix))"#, #""keys":\#(plan.keys)"#,
            #""body":"\#(plan.body.rawValue)""#, #""batch":\#(plan.batch)"#, #""level":"\#(plan.level)""#,
            #""connections":\#(plan.connections)"#, #""threads":\#(plan.threads)"#,
            #""load":\#(load.map(loadJSON) ?? "null")"#, #""parked":\#(parked.map(Self.parkedJSON) ?? "null")"#,
            #""oldest_batch_ms":\#(samplesJSON)"#, #""sums":\#(check.map(checkJSON) ?? "null")"#,
        ]
        return "{\(fields.joined(separator: ","))}"
    }

    private func loadJSON(_ load: Tally) -> String {
        let rate =
            switch plan.rate {
            case .perSecond(let rate): "\(rate)"
            case .flood, .none: "null"
            }
        let latency = Self.percentiles.map { #""\#($0.json)":\#(load.latencyMicroseconds(percent: $0.value))"# }
        let fields = [
            #""rate":\#(rate)"#, #""duration_ms":\#(plan.durationMilliseconds)"#,
            #""elapsed_ms":\#(load.elapsedNanoseconds / 1_000_000)"#,
            #""requests":{"acknowledged":\#(load.acknowledged),"refused":\#(load.refused),"unknown":\#(load.unknown),"#
                + #""unsent":\#(load.unsent)}"#,
            #""statuses":{\#(Self.statuses(load).map { #""\#($0.status)":\#($0.count)"# }.joined(separator: ","))}"#,
            #""increments":{"acknowledged":\#(load.increments),"unknown":\#(load.unknownIncrements)}"#,
            #""requests_per_s":\#(Self.tenths(acknowledgedPerSecond))"#,
            #""increments_per_s":\#(Self.tenths(incrementsPerSecond))"#,
            #""bytes":{"sent":\#(load.bytesSent),"received":\#(load.bytesReceived)}"#,
            #""connections_lost":\#(load.lostConnections),"connections_failed":\#(load.failedConnections)"#,
            #""latency_us":{\#(latency.joined(separator: ","))}"#,
        ]
        return "{\(fields.joined(separator: ","))}"
    }

    private static func parkedJSON(_ parked: Parked) -> String {
        let number = { (value: Int?) in value.map { "\($0)" } ?? "null" }
        return #"{"asked":\#(parked.asked),"answered":\#(parked.answered),"open_at_end":\#(parked.openAtEnd),"#
            + #""resident_before":\#(number(parked.residentBefore)),"resident_after":\#(number(parked.residentAfter)),"#
            + #""resident_per_connection":\#(number(parked.residentPerConnection))}"#
    }

    private var samplesJSON: String {
        if samples.count == 0 { return "null" }
        return #"{"max":\#(samples.maxMilliseconds),"median":\#(samples.medianMilliseconds),"#
            + #""samples":\#(samples.count),"failed":\#(samples.failures)}"#
    }

    private func checkJSON(_ check: SumCheck.Outcome) -> String {
        let first = check.differences.prefix(Self.differencesShown).map { difference in
            #"{"key":\#(JSONText.quote("\(plan.keysPrefix)\(difference.key)")),"grown":\#(difference.grown),"#
                + #""lowest":\#(difference.bounds.lowerBound),"highest":\#(difference.bounds.upperBound)}"#
        }
        return #"{"exact":\#(check.differences.isEmpty),"keys":\#(check.keys),"#
            + #""differences":\#(check.differences.count),"first":[\#(first.joined(separator: ","))],"#
            + #""waited_ms":\#(check.waitedMilliseconds)}"#
    }

    /// The statuses that came, in order.
    static func statuses(_ tally: Tally) -> [(status: Int, count: Int)] {
        tally.statuses.enumerated().filter { $0.element > 0 }.map { (status: $0.offset, count: $0.element) }
    }

    static func tenths(_ value: Double) -> String {
        let tenths = Int((value * 10).rounded())
        return "\(tenths / 10).\(tenths % 10)"
    }
}
