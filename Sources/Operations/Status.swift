// `status`: what waits in Redis, how long, and who takes care of it.

import RedisQueue
public import ServiceKit
import ShardConsumer
import ShardStore
public import TallyCore

/// A look at all partitions.
public struct Status: Sendable {
    public struct Partition: Sendable {
        public let number: UInt32
        /// Batches in the list.
        public let length: Int
        /// Bytes of them.
        public let bytes: Int
        /// Age of the oldest batch; nil if there is none.
        public let oldestSeconds: Double?
        /// Who holds the lease; nil if nobody.
        public let owner: String?
        /// Milliseconds since 1970; nil if the shard was never written, or is not on this host.
        public let lastCommitMilliseconds: UInt64?
        /// What is wrong with it; nil if nothing.
        public fileprivate(set) var finding: String?
        var lagMilliseconds: Int? { oldestSeconds.map { Int($0 * 1_000) } }
    }

    public let topology: Topology
    public private(set) var partitions: [Partition]
    /// What is due, or wrong, each with the command that mends it; empty if nothing.
    public private(set) var findings: [String]

    /// - Throws: 69 if Redis is unreachable, 78 if there is no topology.
    public init(_ folder: DataFolder, _ access: RedisAccess) throws(Failure) {
        let connection = try access.connect(waitingMilliseconds: 0)
        let keys = ClusterKeys(connection: connection, names: access.names)
        let file = try folder.readClusterFile()
        let published = try onRedis { () throws(RedisError) in try keys.readTopology() }
        guard let topology = file?.topology ?? published else {
            throw Failure(
                .configuration, "there is no cluster, neither in \(folder.path) nor in Redis",
                advice: "--data-dir names another folder; `tallymill init --partitions 4` makes a cluster in this one.",
                mayBeMisplaced: true)
        }
        self.topology = topology
        findings =
            try file.map { file throws(Failure) in
                let survey = try Survey(folder, file, connection, access.names)
                return Self.findings(survey, access) + (try Self.missing(survey, folder, keys))
            } ?? []
        partitions = try onRedis { () throws(RedisError) in
            try topology.partitionIDs.map { partition throws(RedisError) in
                // With a cluster file the keys that are missing are a finding already.
                Self.partition(partition, topology, folder, try keys.inspect(partition), isTold: file != nil)
            }
        }
    }

    /// With commands that can be pasted.
    public func completed(by given: GivenOptions) -> Status {
        var told = self
        told.findings = findings.map { given.completing($0) }
        told.partitions = partitions.map { partition in
            var partition = partition
            partition.finding = partition.finding.map { given.completing($0) }
            return partition
        }
        return told
    }

    /// Batches that shards lack which their queues have seen committed.
    private static func missing(
        _ survey: Survey, _ folder: DataFolder, _ keys: ClusterKeys
    ) throws(Failure) -> [String] {
        guard survey.file.state == .ready, survey.canAsk else { return [] }
        let file = survey.file
        let missing = try MissingBatches.findIfBehind(file.topology, in: folder, keys)
        return missing.map { range in
            let path = folder.shardPath(range.partition, of: file.topology.partitions)
            return "\(range): they \(range.cause). Put back the newest copy of \(path)."
                + MissingBatches.wayOn([range])
        }
    }

    private static func findings(_ survey: Survey, _ access: RedisAccess) -> [String] {
        if survey.isNothingThere {
            return ["nothing of this cluster is in \(access.place): \(Surroundings.wayOfEmpty)"]
        }
        let isUnfinishedInit = survey.file.state == .building && survey.file.earlier.isEmpty
        let command = isUnfinishedInit ? "tallymill init" : "tallymill repair"
        let due = survey.due.map { due in
            if case .building = due, !isUnfinishedInit { return "\(due): run `tallymill rebalance resume`" }
            return "\(due): run `\(command)`"
        }
        return due + survey.obstacles.map { $0.advice == nil ? $0.sentence : "\($0.sentence). \($0.advice ?? "")" }
    }

    private static func partition(
        _ partition: PartitionID, _ topology: Topology, _ folder: DataFolder, _ reply: InspectReply, isTold: Bool
    ) -> Partition {
        let path = folder.shardPath(partition, of: topology.partitions)
        // A status has no opinion on files: they may be on another host.
        let commit = try? ShardReader(at: path).lastCommitMilliseconds()
        guard case .group(let group) = reply else {
            return Partition(
                number: partition.number, length: 0, bytes: 0, oldestSeconds: nil, owner: nil,
                lastCommitMilliseconds: commit,
                finding: "no keys in Redis" + (isTold ? "" : ": run `tallymill repair`"))
        }
        return Partition(
            number: partition.number, length: group.length, bytes: group.bytes,
            oldestSeconds: oldestSeconds(group.head), owner: group.lease?.owner, lastCommitMilliseconds: commit,
            finding: group.sealed ? "sealed" : nil)
    }

    static func oldestSeconds(_ head: [UInt8]?) -> Double? {
        guard let head else { return nil }
        let header = head.withUnsafeBytes { try? BatchHeader(reading: $0) }  // unreadable: the consumer will say so
        guard let header else { return nil }
        return max(0, Double(WallClock.milliseconds() - Int64(clamping: header.frozenAt)) / 1_000)
    }

    public var json: String {
        let rows = partitions.map { partition in
            let lag = partition.length == 0 ? "0" : partition.lagMilliseconds.map { "\($0)" } ?? "null"
            let owner = partition.owner.map { JSONText.quote($0) } ?? "null"
            let commit = partition.lastCommitMilliseconds.map { "\($0)" } ?? "null"
            return #"{"partition":\#(partition.number),"batches":\#(partition.length),"bytes":\#(partition.bytes),"#
                + #""lag_ms":\#(lag),"owner":\#(owner),"last_commit_ms":\#(commit)}"#
        }
        let due = findings.map { JSONText.quote($0) }.joined(separator: ",")
        return #"{"epoch":\#(topology.epoch),"partitions":[\#(rows.joined(separator: ","))],"due":[\#(due)]}"#
    }

    public var table: String {
        var table = TextTable([
            .right("PARTITION"), .right("BATCHES"), .right("BYTES"), .right("OLDEST"), .left("OWNER"),
            .left("LAST COMMIT"), .left(""),
        ])
        for partition in partitions {
            table.add([
                "\(partition.number)", "\(partition.length)", Humanized.bytes(partition.bytes),
                partition.lagMilliseconds.map { Humanized.duration(milliseconds: $0) } ?? "-",
                partition.owner ?? "nobody",
                partition.lastCommitMilliseconds.map { Timestamp.rfc3339(milliseconds: Int64($0)) } ?? "-",
                partition.finding ?? "",
            ])
        }
        let head = "epoch \(topology.epoch), \(Humanized.count(topology.partitions, "partition"))\n"
        return head + table.text + findings.map { "DUE: \($0)\n" }.joined()
    }
}
