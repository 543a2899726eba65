// How a verification reads, for people and for programs.

public import ServiceKit
import TallyCore

extension Verification {
    /// With commands that can be pasted.
    public func completed(by given: GivenOptions) -> Verification {
        var told = self
        told.findings = findings.map { $0.completed(by: given) }
        return told
    }

    /// Findings with what to do, notes, and the sum of it all.
    public var text: String {
        let listed = findings.errors + findings.notes
        return listed.map(\.text).joined() + skippedText + summary + "\n"
    }

    private var skippedText: String {
        redisSkipped.map { "note: Redis was not looked at (\($0)): the shards alone were checked\n" } ?? ""
    }

    /// One line.
    public var summary: String {
        let errors = findings.errors.count
        let outcome = errors == 0 ? "no findings" : errors == 1 ? "1 finding" : "\(Humanized.count(errors)) findings"
        let all = Humanized.count(topology.partitions, "shard")
        let read = shards == topology.partitions ? all : "\(shards) of \(all)"
        return "\(read), \(Humanized.count(keys, "key")), total \(total): \(outcome)"
    }

    public var json: String {
        let rows = findings.map(\.json).joined(separator: ",")
        let skipped = redisSkipped.map { JSONText.quote($0) } ?? "null"
        return #"{"cluster":"\#(topology.cluster)","epoch":\#(topology.epoch),"partitions":\#(topology.partitions),"#
            + #""shards":\#(shards),"keys":\#(keys),\#(JSONText.total(total)),"redis_skipped":\#(skipped),"#
            + #""clean":\#(findings.errors.isEmpty),"findings":[\#(rows)]}"#
    }
}
