// Who consumes, where, and how to stop it: what a tool says that needs the shards for itself.
//
// On this host the lock beside a shard file names the process, and its control group the unit; on other hosts the
// lease in Redis names host and process. A lease whose consumer was killed runs out by itself.

import Glibc
import ServiceKit
import TallyCore

/// A consumer that runs.
public struct ConsumerAtWork: Hashable, Sendable {
    public let partition: UInt32
    /// As "process 4711" or "web2:4711, on another host".
    public let who: String
    /// The command that stops it.
    public let command: String

    /// The consumers of an epoch: those of this host by their locks, others by their leases.
    ///
    /// - Parameter leases: of partitions that have one that has not run out.
    static func find(_ topology: Topology, in folder: DataFolder, leases: [UInt32: Lease]) throws(Failure)
        -> [ConsumerAtWork]
    {
        let ourHost = Host.owner.prefix { $0 != ":" }
        var found: [ConsumerAtWork] = []
        for partition in topology.partitionIDs {
            let lock = folder.shardPath(partition, of: topology.partitions) + ".lock"
            if let pid = try FileLock.holder(lock) {
                found.append(ConsumerAtWork(partition: partition.number, process: pid))
            } else if let lease = leases[partition.number], lease.isLive,
                lease.owner.prefix(while: { $0 != ":" }) != ourHost
            {
                found.append(ConsumerAtWork(partition: partition.number, lease: lease))
            }
        }
        return found
    }

    private init(partition: UInt32, process: Int32) {
        self.partition = partition
        who = "process \(process)"
        let unit = Self.unit(of: process)
        command = unit.map { "systemctl stop \($0)" } ?? "kill \(process)"
    }

    private init(partition: UInt32, lease: Lease) {
        self.partition = partition
        who = "\(lease.owner), on another host"
        let parts = lease.owner.split(separator: ":")
        command = "ssh \(parts.first ?? "?") systemctl stop tallymill-consumer@\(partition)"
    }

    /// The last part of its control group, if that is a service of systemd.
    private static func unit(of process: Int32) -> String? {
        guard let bytes = try? FileContent.readIfPresent("/proc/\(process)/cgroup", maximumBytes: 4_096) else {
            return nil  // it has ended meanwhile, or cannot be asked: its number will do
        }
        let path = String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline).last ?? ""
        guard let name = path.split(separator: "/").last, name.hasPrefix("tallymill"), name.hasSuffix(".service")
        else { return nil }
        return String(name)
    }
}

extension Failure {
    /// Consumers that have to be stopped first.
    static func consumersAtWork(_ consumers: [ConsumerAtWork]) -> Failure {
        let list = consumers.map { "\n  partition \($0.partition): \($0.who)" }.joined()
        var commands: [String] = []
        for consumer in consumers where !commands.contains(consumer.command) { commands.append(consumer.command) }
        return Failure(
            .locked, "consumers are running:\(list)",
            advice: "Stop them and run this again; web nodes go on:\n    " + commands.joined(separator: "\n    "))
    }
}
