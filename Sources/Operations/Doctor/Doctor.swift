// `doctor`: what goes wrong in practice, looked for in one go, each finding with the command that mends it.
//
// It has to be useful in every state, so nothing stops it: a Redis that is down is a finding, and what would have been
// asked of it is listed as not checked. It changes nothing, and everything may run meanwhile. What it does not do is
// read counters: `verify` and `audit` prove that the sums are right, `doctor` says why they may soon not move.

import RedisQueue
public import ServiceKit
import TallyCore

/// An examination of the cluster as seen from this host.
public struct Doctor: Sendable {
    /// What is examined.
    public struct Subject: Sendable {
        public var folder: DataFolder
        /// The way to Redis, or why there is none.
        public var access: Result<RedisAccess, Failure>
        /// Most bytes of one list.
        public var queueBytes = Limits.queueBytes
        /// Most connections of one web node.
        public var connectionsMax = 20_000
        public var secrets: [SecretFile] = []
        /// The consumers of systemd, or why they could not be asked.
        public var instances: Result<[ConsumerInstance], Failure>
        public var host = HostFacts()
        /// What commands are completed with.
        public var given = GivenOptions.none

        public init(
            folder: DataFolder, access: Result<RedisAccess, Failure>, instances: Result<[ConsumerInstance], Failure>
        ) {
            self.folder = folder
            self.access = access
            self.instances = instances
        }
    }

    /// In the order in which they were made: Redis, the cluster, this host.
    public private(set) var checks: [DoctorCheck] = []
    private let subject: Subject

    public init(_ subject: Subject) {
        self.subject = subject
        examine()
        checks = checks.map { $0.completed(by: subject.given) }
    }

    private mutating func examine() {
        let (file, fileFinding) = readClusterFile()
        let redis = RedisSide(subject, file)
        checks = redis.checks
        let topology = file?.topology ?? redis.published
        if let fileFinding {
            checks += [fileFinding, .skipped(.rebalance, Self.unreadable)]
        } else {
            let cluster = ClusterChecks(folder: subject.folder, file: file, published: redis.published)
            do throws(Failure) {
                checks += try cluster.fileChecks()
            } catch {
                checks.append(.error(.rebalance, error, otherwise: "Run this as the user of the consumers."))
            }
        }
        checks += redis.topologyChecks
        var shards: ShardChecks?
        // The shards of an epoch that is being built are the business of whoever builds it.
        if let file, file.state == .ready {
            shards = ShardChecks(subject.folder, file.topology, groups: redis.groups, missing: redis.missing)
        }
        checks +=
            shards?.checks ?? [
                .skipped(
                    .shards,
                    file != nil
                        ? "the epoch is being built" : fileFinding == nil ? "there is no cluster file" : Self.unreadable
                )
            ]
        let ours = (shards?.here ?? []).filter { !redis.isConsumedElsewhere($0) }
        let units = UnitCheck(
            topology: shards == nil ? nil : file?.topology, here: ours, instances: subject.instances)
        addQueues(topology, redis, isBuilding: file?.state == .building, hasUnits: units.isInUse)
        checks += FolderChecks(folder: subject.folder, topology: file?.topology, host: subject.host).all
        checks += subject.secrets.compactMap { $0.check(subject.host) }.orOK(.secrets, secretsSeen)
        checks += FileLimitCheck(connectionsMax: subject.connectionsMax, host: subject.host).all
        checks += file?.state == .building ? [.skipped(.units, "the epoch is being built")] : units.all
    }

    private static let unreadable = "the cluster file cannot be read"

    private var secretsSeen: String {
        subject.secrets.isEmpty ? "no file holds a password" : "for their owner and its group alone"
    }

    private func readClusterFile() -> (ClusterFile?, DoctorCheck?) {
        do throws(Failure) {
            return (try subject.folder.readClusterFile(), nil)
        } catch {
            return (nil, .error(.clusterFile, error, otherwise: "Run this as the user of the consumers."))
        }
    }

    private mutating func addQueues(_ topology: Topology?, _ redis: RedisSide, isBuilding: Bool, hasUnits: Bool) {
        guard let topology, redis.areGroupsKnown else {
            let reason = topology == nil ? "the number of partitions is not known" : "Redis cannot be asked"
            checks += [.skipped(.consumers, reason), .skipped(.queues, reason), .skipped(.behind, reason)]
            return
        }
        let lists = QueueChecks(
            topology: topology, groups: redis.groups, queueBytesMax: subject.queueBytes, hasUnits: hasUnits,
            folder: subject.folder)
        // Consumers stand still then, and the lists fill.
        checks += isBuilding ? [.skipped(.consumers, "the epoch is being built")] : lists.consumers
        checks += lists.queues + lists.behind
    }

    // MARK: Result

    /// 0 without findings, else 3.
    public var exitCode: ExitCode { checks.contains { $0.severity != nil } ? .partial : .ok }

    /// The findings first, then what could not be checked, then what is well.
    public var text: String {
        let order = [
            checks.filter { $0.severity == .error }, checks.filter { $0.severity == .warning },
            checks.filter { if case .skipped = $0.outcome { true } else { false } },
            checks.filter { if case .ok = $0.outcome { true } else { false } },
        ]
        return order.joined().map(\.text).joined() + summary + "\n"
    }

    /// One line.
    public var summary: String {
        func count(_ number: Int, _ noun: String) -> String { "\(number) \(noun)\(number == 1 ? "" : "s")" }
        let errors = checks.count { $0.severity == .error }
        let warnings = checks.count { $0.severity == .warning }
        let skipped = checks.count { if case .skipped = $0.outcome { true } else { false } }
        let names = Set(checks.map(\.name)).count
        let rest = skipped == 0 ? "" : ", \(skipped) not made"
        return "\(count(names, "check")): \(count(errors, "error")), \(count(warnings, "warning"))\(rest)"
    }

    public var json: String {
        let errors = checks.count { $0.severity == .error }
        let warnings = checks.count { $0.severity == .warning }
        return #"{"errors":\#(errors),"warnings":\#(warnings),"#
            + #""checks":[\#(checks.map(\.json).joined(separator: ","))]}"#
    }
}
