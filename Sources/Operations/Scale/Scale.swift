// `scale`: the consumers of this host against the topology. After a rebalance, or on a new host, it says which units
// have to be enabled and which have to go, and does it on request.
//
// The cluster file decides. Where there is none, the topology in Redis does: a host may be prepared before its copy of
// the data folder has come. While an epoch is being built no consumer may run, so nothing is planned then.

import RedisQueue
public import ServiceKit
import ShardConsumer
public import TallyCore

/// What is to be done on this host.
public struct Scale: Sendable {
    public let topology: Topology
    /// The partitions of this host, in ascending order.
    public let wanted: [UInt32]
    public let instances: [ConsumerInstance]
    public let plan: ScalePlan
    /// Wanted partitions whose shard is not in the data folder, as far as this user can see.
    public let withoutShard: [UInt32]

    /// Looks; changes nothing.
    ///
    /// - Parameters:
    ///   - list: the partitions of this host, such as `0-3`; nil for all.
    ///   - access: the way to Redis, for a folder without a cluster file.
    /// - Throws: 69 if there is no systemd, or neither a cluster file nor Redis; 78 if an epoch is being built or a
    ///   partition does not exist; 64 if `list` is no list.
    public init(
        _ folder: DataFolder, list: String?, _ systemctl: Systemctl, access: () throws(Failure) -> RedisAccess
    ) throws(Failure) {
        let file = try folder.readClusterFile()
        if let file, file.state == .building { throw .isBuilding(file, folder) }
        let topology: Topology
        if let file { topology = file.topology } else { topology = try Self.published(folder, try access()) }
        let all = Array(0..<UInt32(topology.partitions))
        wanted =
            try list.map { list throws(Failure) in
                try PartitionList.parse(list, partitions: topology.partitions).sorted()
            } ?? all
        self.topology = topology
        instances = try ConsumerInstance.all(systemctl)
        plan = ScalePlan(instances, wanted: wanted, partitions: topology.partitions)
        withoutShard = file == nil ? [] : wanted.filter { Folder.isMissing(folder.shard($0, of: topology).path) }
    }

    private static func published(_ folder: DataFolder, _ access: RedisAccess) throws(Failure) -> Topology {
        let keys = try access.keys()
        if let topology = try onRedis({ () throws(RedisError) in try keys.readTopology() }) { return topology }
        throw Failure(
            .configuration, "there is no cluster, neither in \(folder.path) nor in Redis",
            advice: "--data-dir names another folder; `tallymill init --partitions 4` makes a cluster in this one.",
            mayBeMisplaced: true)
    }

    /// Runs the commands, and stops at the first that fails.
    ///
    /// - Parameter told: gets each command and what came of it; nil for success, else the words of systemctl.
    /// - Throws: 1 for a command that failed, 69.
    public func apply(_ systemctl: Systemctl, told: (ScalePlan.Step, String?) -> Void) throws(Failure) {
        for (index, step) in plan.steps.enumerated() {
            let answer = try systemctl.run(step.arguments)
            told(step, answer.succeeded ? nil : answer.words)
            if answer.succeeded { continue }
            let left = Self.left(plan.steps.count - index - 1)
            let isForbidden = answer.words.contains("authentication required") || answer.words.contains("Access denied")
            let next =
                isForbidden
                ? "Run this as root."
                : "`journalctl -u \(ShellWord.quoted(step.unit)) -n 20` says more; then run this again."
            throw Failure(
                .failure, "`\(step.command)` \(answer.ending): \(answer.words)",
                advice: "\(left). \(next)")
        }
    }

    private static func left(_ count: Int) -> String {
        switch count {
        case 0: "It was the last command"
        case 1: "1 more was not run"
        default: "\(count) more were not run"
        }
    }

    // MARK: Words

    /// One line: what matches, or how much does not.
    public var summary: String {
        let place = "epoch \(topology.epoch), partitions \(PartitionList.text(wanted)) of \(topology.partitions)"
        if plan.steps.isEmpty { return "\(place): every consumer is enabled and running, none is too many" }
        let starts = plan.steps.count { $0.action == .enable }
        let stops = plan.steps.count { $0.action == .disable }
        return "\(place): \(starts) to start, \(stops) to stop"
    }

    /// What a person should know beside the commands, a sentence each without a full stop.
    public var notices: [String] {
        guard !withoutShard.isEmpty else { return plan.notices }
        let isOne = withoutShard.count == 1
        return plan.notices + [
            "partition\(isOne ? "" : "s") \(PartitionList.text(withoutShard)) \(isOne ? "has" : "have") no shard in the"
                + " data folder: --partitions names those of this host"
        ]
    }

    /// - Parameter outcomes: of the commands that were run: nil for success; no list if none was to be.
    public func json(_ outcomes: [String?]?) -> String {
        let rows = instances.map { instance in
            #"{"unit":\#(JSONText.quote(instance.unit)),"partition":\#(instance.partition.map { "\($0)" } ?? "null"),"#
                + #""enabled":\#(instance.isEnabled),"active":"\#(instance.activity.rawValue)"}"#
        }
        let steps = plan.steps.enumerated().map { index, step in
            let outcome: String? =
                outcomes.map {
                    $0.indices.contains(index) ? $0[index].map { JSONText.quote($0) } ?? #""done""# : "null"
                }
            return #"{"command":\#(JSONText.quote(step.command))\#(outcome.map { #","outcome":\#($0)"# } ?? "")}"#
        }
        let told = notices.map { JSONText.quote($0) }.joined(separator: ",")
        return #"{"epoch":\#(topology.epoch),"partitions":\#(topology.partitions),"#
            + #""wanted":[\#(wanted.map { "\($0)" }.joined(separator: ","))],"applied":\#(outcomes != nil),"#
            + #""instances":[\#(rows.joined(separator: ","))],"notices":[\#(told)],"#
            + #""commands":[\#(steps.joined(separator: ","))]}"#
    }
}

extension Failure {
    fileprivate static func isBuilding(_ file: ClusterFile, _ folder: DataFolder) -> Failure {
        Failure(
            .configuration,
            "epoch \(file.topology.epoch) with \(Humanized.count(file.topology.partitions, "partition")) is still being"
                + " built",
            at: folder.clusterFilePath,
            advice: file.isUnfinished
                ? "`tallymill rebalance status` shows how far it is, and `tallymill rebalance resume` goes on with an"
                    + " interrupted one. Then run this again."
                : "`tallymill init` completes it. Then run this again.")
    }
}
