// What a server is: a single Redis, or something that cannot be used whatever its settings; and whether it takes writes
// at all: it is a primary, and has the replicas that it demands. A failover changes the latter in seconds, behind an
// address that stays, so it is asked beside the settings, and who meets it waits.

extension ServerRequirements {
    /// What this is if it is no single Redis: nothing else about it matters then.
    public static func stranger(_ info: ServerInfo) -> ServerProblem? {
        if info["redis_mode"] == "cluster" || info["cluster_enabled"] == "1" { return .cluster }
        guard info["redis_mode"] == "sentinel" else { return nil }
        // name=mymaster,status=ok,address=10.0.0.1:6379,slaves=2,sentinels=3
        let fields = info["master0"].map { $0.split(separator: ",") } ?? []
        let address = fields.first { $0.hasPrefix("address=") }
        return .sentinel(primary: address.map { String($0.dropFirst("address=".count)) })
    }

    /// What to do where there is no command CONFIG, which no ACL mends.
    public static let configAdvice =
        "take `rename-command CONFIG` out of redis.conf and restart Redis (an ACL can keep users from CONFIG SET)"

    /// Asks for what `standing` judges, beside the settings.
    static let standingQuestion = RedisCommand("INFO", "replication")

    /// Why it takes no writes now.
    ///
    /// - Parameter settings: nil if we may not read them: Redis is then taken to demand one replica if it demands any.
    public static func standing(_ settings: [String: String]?, _ info: ServerInfo) -> [ServerProblem] {
        if info["role"] == "slave" { return [.replica] }
        // Told only if it demands any.
        guard let there = info["min_slaves_good_slaves"].flatMap({ Int($0) }) else { return [] }
        let demanded = settings?["min-replicas-to-write"].flatMap { Int($0) } ?? 1
        return there < demanded ? [.lacksReplicas(there, of: demanded)] : []
    }
}

extension RedisConnection {
    /// False if this Redis follows another one and did not at the last call.
    func isNoNewReplica() throws(RedisError) -> Bool {
        let reply: RedisReply
        do throws(RedisError) {
            reply = try command(ServerRequirements.standingQuestion)
        } catch {
            guard case .server("NOPERM", _) = error else { throw error }
            return true
        }
        let isReplica = ServerInfo(text: reply.text ?? "")["role"] == "slave"
        defer { wasReplica = isReplica }
        return !isReplica || wasReplica ?? true
    }
}

extension ServerProblem {
    /// As it is where there is no command CONFIG.
    var withoutConfig: ServerProblem {
        if case .unreadable(let what) = self { .withoutConfig(what) } else { self }
    }

    /// Whether a failover, or a file that is being written, may mend it, without anybody who changes a setting.
    var passesWithTime: Bool {
        switch self {
        case .replica, .lacksReplicas, .logUnfinished: true
        case .tooOld, .cluster, .sentinel, .evicting, .notAppendOnly, .notSynchronous, .notSynchronousDuringRewrite,
            .unreadable, .withoutConfig, .libraryMissing, .libraryOutdated:
            false
        }
    }
}

extension [ServerProblem] {
    /// Whether waiting may mend all of them.
    public var passWithTime: Bool { allSatisfy(\.passesWithTime) }
}
