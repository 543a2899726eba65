// What a Redis must be, from what it says of itself. The demands are those of ServerRequirements, made on each
// connection; here each of them is told with the command that mends it, beside what only shows in time: failed writes,
// memory that runs short, a clock that drifts.

import RedisQueue
import ServiceKit

/// The checks of one reading.
struct RedisChecks {
    let reading: RedisReading
    let url: RedisURL
    let allowVolatile: Bool
    /// The most that the lists of all partitions may hold, in bytes; nil if K is not known.
    let queuesBytesMax: Int?

    /// Redis may use so much of the memory that it has, in percent, before it is told.
    static let memoryPercentMax = 80
    static let clockWarningMilliseconds: Int64 = 1_000
    static let clockErrorMilliseconds: Int64 = 30_000

    private var info: ServerInfo { reading.info }

    var all: [DoctorCheck] {
        [version, role] + persistence + writes + [eviction] + memory + [functions, clock]
    }

    static func majorVersion(_ info: ServerInfo) -> Int? {
        info["redis_version"]?.split(separator: ".").first.flatMap { Int($0) }
    }

    private static let rewriteAdvice =
        "CONFIG REWRITE fails for a Redis without a configuration file: change its options."

    private func set(_ name: String, _ value: String) -> [String] {
        ["\(url.cli) CONFIG SET \(name) \(value)", "\(url.cli) CONFIG REWRITE"]
    }

    private func setting(_ name: String, _ value: String) -> DoctorCheck.Mend {
        DoctorCheck.Mend(set(name, value), advice: Self.rewriteAdvice)
    }

    private var version: DoctorCheck {
        let text = info["redis_version"] ?? "of an unknown version"
        guard let major = Self.majorVersion(info), major >= ServerRequirements.majorVersionMin else {
            return .error(
                .redisVersion, "Redis \(text) has no functions: \(ServerRequirements.majorVersionMin).0 is needed",
                DoctorCheck.Mend("apt-get install redis-server", advice: "Debian 12 and Ubuntu 22.10 bring 7.0."))
        }
        return .ok(.redisVersion, "Redis \(text)")
    }

    private var role: DoctorCheck {
        guard info["role"] == "slave" else { return replicas }
        let primary = "\(info["master_host"] ?? "?"):\(info["master_port"] ?? "?")"
        return .error(
            .redisRole, "this Redis is a replica of \(primary) and takes no writes",
            DoctorCheck.Mend(
                "\(url.cli) REPLICAOF NO ONE",
                advice: "Point --redis to the primary; only if that is gone for good, make this one the primary."))
    }

    /// Of a primary: whether it has the replicas without which it takes no writes.
    private var replicas: DoctorCheck {
        guard let problem = ServerRequirements.standing(reading.settings, info).first else {
            return .ok(.redisRole, "primary")
        }
        return .error(
            .redisRole, "\(problem)",
            DoctorCheck.Mend("\(url.cli) INFO replication", advice: "It lists the replicas that follow it."))
    }

    private var persistence: [DoctorCheck] {
        if allowVolatile { return [.ok(.redisPersistence, "--allow-volatile-redis accepts whatever it is")] }
        var found: [DoctorCheck] = []
        if reading.settings?["appendonly"] == "no" || info["aof_enabled"] == "0" {
            found.append(
                .error(
                    .redisPersistence, "it does not log writes (appendonly no): a restart loses what was acknowledged",
                    setting("appendonly", "yes")))
        }
        if let appendfsync = reading.settings?["appendfsync"] {
            if appendfsync != "always" {
                found.append(
                    .error(
                        .redisPersistence, "it confirms writes before they are on disk (appendfsync \(appendfsync))",
                        setting("appendfsync", "always")))
            } else if reading.settings?["no-appendfsync-on-rewrite"] == "yes" {
                found.append(
                    .error(
                        .redisPersistence,
                        "it confirms writes before they are on disk while it rewrites its file"
                            + " (no-appendfsync-on-rewrite yes)",
                        setting("no-appendfsync-on-rewrite", "no")))
            }
        } else {
            found.append(unreadable(.redisPersistence, "appendfsync"))
        }
        return found.orOK(.redisPersistence, "appendonly yes, appendfsync always")
    }

    private func unreadable(_ name: DoctorCheck.Name, _ setting: String) -> DoctorCheck {
        if reading.lacksConfig {
            let advice = "\(ServerRequirements.configAdvice), or accept that with --allow-volatile-redis."
            return .error(
                name, "\(setting) cannot be read: there is no command CONFIG",
                DoctorCheck.Mend(advice: "\(advice.prefix(1).uppercased())\(advice.dropFirst())"))
        }
        return .error(
            name, "\(setting) cannot be read",
            DoctorCheck.Mend("\(url.cli) ACL SETUSER \(url.user ?? "default") +info '+config|get'"))
    }

    /// Whether what it wanted to write arrived on its disk.
    private var writes: [DoctorCheck] {
        let look = "\(url.cli) INFO persistence"
        var found: [DoctorCheck] = []
        if let status = info["aof_last_write_status"], status != "ok" {
            found.append(
                .error(
                    .redisWrites, "its last write to the append-only file failed, and it refuses new ones",
                    DoctorCheck.Mend(look, advice: "Free space on its disk, and look at its log.")))
        }
        if let status = info["aof_last_bgrewrite_status"], status != "ok" {
            found.append(
                .warning(
                    .redisWrites, "its last rewrite of the append-only file failed: the file grows without end",
                    DoctorCheck.Mend("\(url.cli) BGREWRITEAOF", advice: "Its log says why: disk or memory.")))
        }
        if let status = info["rdb_last_bgsave_status"], status != "ok" {
            let refuses =
                reading.settings?["stop-writes-on-bgsave-error"] != "no" && reading.settings?["save"]?.isEmpty == false
            let what = "its last snapshot failed" + (refuses ? ", and it refuses writes until one succeeds" : "")
            let mend = DoctorCheck.Mend("\(url.cli) BGSAVE", advice: "Its log says why: disk or memory.")
            found.append(refuses ? .error(.redisWrites, what, mend) : .warning(.redisWrites, what, mend))
        }
        return found.orOK(.redisWrites, "the last write, rewrite and snapshot succeeded")
    }

    private var eviction: DoctorCheck {
        guard let policy = reading.settings?["maxmemory-policy"] ?? info["maxmemory_policy"] else {
            return unreadable(.redisEviction, "maxmemory-policy")
        }
        if policy == "noeviction" { return .ok(.redisEviction, "noeviction") }
        return .error(
            .redisEviction, "it deletes keys when memory runs short (maxmemory-policy \(policy)), and counts with them",
            setting("maxmemory-policy", "noeviction"))
    }

    /// What it uses and may come to use, against its limit and the memory of its host.
    private var memory: [DoctorCheck] {
        guard let used = number("used_memory"), let limit = number("maxmemory") else {
            return [.skipped(.redisMemory, "INFO does not tell its memory")]
        }
        let total = number("total_system_memory") ?? 0
        let room = limit > 0 ? limit : total
        let whose = limit > 0 ? "its maxmemory" : "its host has"
        let raise = DoctorCheck.Mend(
            limit > 0 ? set("maxmemory", "\(Self.roundedUp(needed(beside: used), room))") : [],
            advice:
                "Let the consumers catch up, or give it more memory, or lower TALLYMILL_QUEUE_BYTES of the web nodes."
        )
        var found: [DoctorCheck] = []
        if room > 0, used / 100 >= room / 10_000 * Self.memoryPercentMax {
            found.append(
                .error(
                    .redisMemory,
                    "it uses \(Humanized.bytes(used)), over \(Self.memoryPercentMax)% of the \(Humanized.bytes(room))"
                        + " that \(limit > 0 ? "are its maxmemory" : "its host has")",
                    raise))
        } else if room > 0, let queuesBytesMax, queuesBytesMax > room {
            found.append(
                .warning(
                    .redisMemory,
                    "the lists may hold \(Humanized.bytes(queuesBytesMax)), more than \(whose)"
                        + " (\(Humanized.bytes(room))): it would run out before web nodes refuse",
                    raise))
        }
        if limit > 0, total > 0, limit > total {
            found.append(
                .warning(
                    .redisMemory,
                    "its maxmemory, \(Humanized.bytes(limit)), is more than its host has, \(Humanized.bytes(total))",
                    setting("maxmemory", "\(total / 100 * Self.memoryPercentMax)")))
        }
        let bound = limit > 0 ? "maxmemory \(Humanized.bytes(limit))" : "no maxmemory"
        return found.orOK(.redisMemory, "\(Humanized.bytes(used)) used, \(bound), host \(Humanized.bytes(total))")
    }

    /// Room for full lists and for what is there now.
    private func needed(beside used: Int) -> Int { (queuesBytesMax ?? 0) + used }

    /// To whole MiB, a quarter more than is needed, and more than there was.
    private static func roundedUp(_ needed: Int, _ room: Int) -> Int {
        let bytes = max(needed, room) + max(needed, room) / 4
        let mib = 1 << 20
        return (bytes + mib - 1) / mib * mib
    }

    private func number(_ field: Substring) -> Int? { info.number(field) }

    private var functions: DoctorCheck {
        switch reading.revision {
        case nil:
            .error(
                .redisFunctions, "the functions of tallymill are not loaded", DoctorCheck.Mend("tallymill repair"))
        case let revision? where revision < FunctionLibrary.revision:
            .error(
                .redisFunctions,
                "the functions have revision \(revision), this release needs \(FunctionLibrary.revision)",
                DoctorCheck.Mend("tallymill repair"))
        case let revision?: .ok(.redisFunctions, "revision \(revision)")
        }
    }

    private var clock: DoctorCheck {
        let ahead = reading.clockAheadMilliseconds
        let text = Humanized.duration(milliseconds: Int(ahead.magnitude))
        guard ahead.magnitude > UInt64(Self.clockWarningMilliseconds) else {
            return .ok(.clock, "Redis and this host differ by \(text)")
        }
        let what = "the clock of Redis is \(text) \(ahead > 0 ? "ahead of" : "behind") this host's"
        let mend = DoctorCheck.Mend(
            "timedatectl set-ntp true",
            advice: "Ages of batches and how long an Idempotency-Key is kept are told by the hosts' clocks: run this"
                + " on the host that is wrong.")
        return ahead.magnitude > UInt64(Self.clockErrorMilliseconds)
            ? .error(.clock, what, mend) : .warning(.clock, what, mend)
    }
}
