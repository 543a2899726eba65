// The result for people.

import ServiceKit

extension BenchResult {
    /// Lines, each with its line end.
    public var table: String {
        var lines: [String] = []
        if let load { lines += [heading, ""] + figures(load) + [""] + latencies(load) + [""] }
        if let parked { lines += parkedLines(parked) }
        lines += samplesLines + checkLines
        return lines.map { $0 + "\n" }.joined()
    }

    private var heading: String {
        let seconds = Humanized.duration(milliseconds: plan.durationMilliseconds)
        let rate =
            switch plan.rate {
            case .perSecond(let rate): "\(Humanized.count(rate)) requests/s for \(seconds)"
            case .flood, .none: "flood for \(seconds)"
            }
        let increments = plan.batch == 1 ? "one increment" : "\(Humanized.count(plan.batch)) increments"
        return "\(rate) to http://\(plan.endpoint), \(plan.connections) connections, "
            + "\(increments) a request as \(plan.body.rawValue), level \(plan.level)"
    }

    private func figures(_ load: Tally) -> [String] {
        var table = TextTable([.left("REQUESTS"), .right("COUNT"), .left("")])
        let rate = "\(Humanized.count(Int(acknowledgedPerSecond.rounded())))/s"
        let increments = "\(Humanized.count(Int(incrementsPerSecond.rounded()))) increments/s"
        table.add(["acknowledged", Humanized.count(load.acknowledged), "\(rate), \(increments)"])
        let statuses = Self.statuses(load).map { "\(Humanized.count($0.count)) with \($0.status)" }
        table.add(["refused", Humanized.count(load.refused), "nothing of them counted"])
        table.add(["unknown", Humanized.count(load.unknown), "counted or not: no answer, or not a known one"])
        if load.unsent > 0 {
            table.add([
                "not sent", Humanized.count(load.unsent), "the run was stopped, or no connection came free in time",
            ])
        }
        var lines = table.text.split(separator: "\n").map(String.init)
        lines.append("answers: \(statuses.isEmpty ? "none" : statuses.joined(separator: ", "))")
        let sent = Humanized.bytes(load.bytesSent)
        lines.append("bytes: \(sent) sent, \(Humanized.bytes(load.bytesReceived)) received")
        if load.lostConnections + load.failedConnections > 0 {
            lines.append(
                "connections: \(Humanized.count(load.lostConnections)) lost, "
                    + "\(Humanized.count(load.failedConnections)) attempts failed")
        }
        return lines
    }

    private func latencies(_ load: Tally) -> [String] {
        var table = TextTable([.left("LATENCY")] + Self.percentiles.map { .right($0.name) })
        let values = Self.percentiles.map { Self.milliseconds(load.latencyMicroseconds(percent: $0.value)) }
        let from = plan.rate == .flood ? "ms, from sending" : "ms, from the time it was due"
        table.add([from] + values)
        return table.text.split(separator: "\n").map(String.init)
    }

    private func parkedLines(_ parked: Parked) -> [String] {
        var lines = [
            "connections: \(Humanized.count(parked.answered)) of \(Humanized.count(parked.asked)) were answered, "
                + "\(Humanized.count(parked.openAtEnd)) were open at the end"
        ]
        if let before = parked.residentBefore, let after = parked.residentAfter,
            let each = parked.residentPerConnection
        {
            lines.append(
                "server's resident memory: \(Humanized.bytes(before)) before, \(Humanized.bytes(after)) with them: "
                    + "\(Humanized.count(each)) bytes each")
        }
        return lines
    }

    private var samplesLines: [String] {
        if samples.count == 0 { return load == nil ? [] : ["oldest batch: not looked at"] }
        let failed = samples.failures > 0 ? ", failed: \(samples.failures)" : ""
        return [
            "oldest batch: max \(samples.maxMilliseconds) ms, median \(samples.medianMilliseconds) ms in "
                + "\(samples.count) looks\(failed)"
        ]
    }

    private var checkLines: [String] {
        let stay = "keys: they begin with \(plan.keysPrefix) and stay in the shards"
        guard let check else { return ["sums: not compared", stay] }
        let keys = Humanized.count(check.keys)
        if check.differences.isEmpty {
            let waited = Humanized.duration(milliseconds: check.waitedMilliseconds)
            return ["sums: exact for all \(keys) keys, after \(waited)", stay]
        }
        var lines = ["SUMS DIFFER for \(Humanized.count(check.differences.count)) of \(keys) keys:"]
        for difference in check.differences.prefix(Self.differencesShown) {
            lines.append("  \(difference.sentence(keysPrefix: plan.keysPrefix))")
        }
        if check.differences.count > Self.differencesShown { lines.append("  ...") }
        if let waiting = check.waitingBatches, waiting > 0 {
            lines.append(
                "  \(Humanized.count(waiting)) batches still wait in Redis: `tallymill status` shows who is late")
        }
        return lines + [stay]
    }

    /// Microseconds as milliseconds with three digits behind the point.
    static func milliseconds(_ microseconds: UInt64) -> String {
        let digits = String(microseconds % 1_000)
        return "\(microseconds / 1_000).\(String(repeating: "0", count: 3 - digits.count))\(digits)"
    }
}
