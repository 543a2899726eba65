// Everything that `doctor` asks of Redis, over one connection. Any question may be the one that fails: what was asked
// before it stays, what comes after it is listed as not checked.

import RedisQueue
import ServiceKit
import TallyCore

/// Redis as the other checks need it.
struct RedisSide {
    private(set) var checks: [DoctorCheck] = []
    private(set) var topologyChecks: [DoctorCheck] = []
    private(set) var published: Topology?
    /// Of the partitions that have keys.
    private(set) var groups: [UInt32: Inspection] = [:]
    /// What shards lack that their queues have seen committed.
    private(set) var missing: [MissingBatches] = []
    /// Whether `groups` could be asked for.
    private(set) var areGroupsKnown = false

    /// The checks that need a reading.
    private static let readingChecks: [DoctorCheck.Name] = [
        .redisVersion, .redisRole, .redisPersistence, .redisWrites, .redisEviction, .redisMemory, .redisFunctions,
        .clock,
    ]

    init(_ subject: Doctor.Subject, _ file: ClusterFile?) {
        let access: RedisAccess
        switch subject.access {
        case .success(let found): access = found
        case .failure(let failure):
            let advice = failure.code == .ioError ? "Run this as the user of the consumers." : "Correct the option."
            checks = [.error(.redisConnection, failure, otherwise: advice)]
            skipAll("the way to Redis is not known", and: [.redisOvercommit, .redisHugePages, .redisDisk])
            return
        }
        let url = access.link.url
        var reading: RedisReading?
        do throws(RedisError) {
            let connection = try RedisConnection(access.link)
            let read = try RedisReading(connection, subject.host)
            reading = read
            checks.append(.ok(.redisConnection, "\(url)"))
            lookAtCluster(connection, access, read, subject, file)
            let partitions = (file?.topology ?? published)?.partitions
            checks +=
                RedisChecks(
                    reading: read, url: url, allowVolatile: access.allowVolatile,
                    queuesBytesMax: partitions.map { $0 * subject.queueBytes }
                ).all
        } catch .unfit(let problems) {
            checks = [.ok(.redisConnection, "\(url)")]
            skipAll("this is no single Redis", and: [])
            checks.removeAll { $0.name == .redisRole }
            checks += problems.map {
                .error(.redisRole, "\($0)", DoctorCheck.Mend("\(url.cli) INFO", advice: "Point --redis elsewhere."))
            }
        } catch {
            checks = [Self.unreachable(error, url, subject.folder)]
            skipAll("Redis does not answer", and: [])
        }
        checks += RedisHostChecks(reading: reading, url: url, host: subject.host).all
    }

    /// Whether a consumer of another machine has the list, so that a shard of it here is a copy.
    func isConsumedElsewhere(_ number: UInt32) -> Bool {
        guard let lease = groups[number]?.lease, lease.isLive, let own = try? Host.identity() else {
            return false  // a machine without an id runs no consumer
        }
        return !lease.host.hasPrefix(own)
    }

    private mutating func skipAll(_ reason: String, and more: [DoctorCheck.Name]) {
        checks += (Self.readingChecks + more).map { .skipped($0, reason) }
        topologyChecks = [.skipped(.topology, reason)]
    }

    /// A Redis that gives no usable answer.
    static func unreachable(_ error: RedisError, _ url: RedisURL, _ folder: DataFolder) -> DoctorCheck {
        // Where commands look if nobody says where Redis is, and there was an `up` with one of its own.
        if url.address == .tcp(host: "127.0.0.1", port: RedisURL.portDefault), Folder.exists(folder.upPath) {
            return .error(
                .redisConnection, "\(error)",
                DoctorCheck.Mend(
                    "tallymill up",
                    advice: "The `up` that had this data folder does not run. For another Redis there is --redis."))
        }
        let mend = DoctorCheck.Mend(
            "\(url.cli) PING",
            advice: error.hint.map { "\($0.prefix(1).uppercased())\($0.dropFirst())." }
                ?? "`systemctl start tallymill-redis` starts the one of the package.")
        return .error(.redisConnection, "\(error)", mend)
    }

    /// Topology and key groups.
    private mutating func lookAtCluster(
        _ connection: RedisConnection, _ access: RedisAccess, _ reading: RedisReading, _ subject: Doctor.Subject,
        _ file: ClusterFile?
    ) {
        let keys = ClusterKeys(connection: connection, names: access.names)
        published = try? keys.readTopology()  // what cannot be read is an obstacle of the survey
        guard reading.revision != nil else {
            topologyChecks = [.skipped(.topology, "the functions are not loaded in Redis")]
            return
        }
        do throws(Failure) {
            if let file {
                topologyChecks = ClusterChecks.topologyChecks(
                    try Survey(subject.folder, file, connection, access.names), access)
            } else {
                topologyChecks = [.skipped(.topology, "there is no cluster file to compare with")]
            }
            guard let topology = file?.topology ?? published else { return }
            for partition in topology.partitionIDs {
                let reply = try onRedis { () throws(RedisError) in try keys.inspect(partition) }
                if case .group(let group) = reply { groups[partition.number] = group }
            }
            areGroupsKnown = true
            if let file, file.state == .ready {
                missing = try MissingBatches.findIfBehind(topology, in: subject.folder, keys)
            }
        } catch {
            topologyChecks.append(.error(.topology, error, otherwise: "Run this again."))
        }
    }
}
