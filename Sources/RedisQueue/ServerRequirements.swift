// What a Redis must be so that the promises hold.
//
// `queued` means: in a list that is on disk and that nobody throws away. So Redis must not evict (it would delete
// whole key groups), and must fsync before it answers, also while it rewrites its file, unless the operator says that a
// loss is acceptable. What cannot be read is not assumed: if an ACL hides the configuration, INFO tells most of it, and
// the rest is a problem. All problems are returned at once, so that they can be mended at once.
//
// Behind an address may be another Redis tomorrow, or the same with other settings. So everything is looked at on each
// connection over which something is counted, and the settings that CONFIG SET can change again every few seconds, in
// the flight that reads the topology: that costs no round trip, and Redis two microseconds.

/// One reason not to work with this Redis.
public enum ServerProblem: Error, Hashable, Sendable {
    case tooOld(version: String)
    case cluster
    /// Where the primary is that it watches; nil if it does not say.
    case sentinel(primary: String?)
    case replica
    /// It takes no writes before so many replicas follow it (min-replicas-to-write).
    case lacksReplicas(Int, of: Int)
    case evicting(policy: String)
    case notAppendOnly
    /// `appendonly` is yes, and the first file that this needs is still being written: what is confirmed meanwhile goes
    /// with a Redis that dies.
    case logUnfinished
    case notSynchronous(appendfsync: String)
    /// Nothing is fsynced while the file is rewritten.
    case notSynchronousDuringRewrite
    /// The settings could not be read.
    case unreadable(String)
    /// As `unreadable`, because there is no command CONFIG.
    case withoutConfig(String)
    case libraryMissing
    case libraryOutdated(revision: Int)
}

/// Checks a server.
public enum ServerRequirements {
    public static let majorVersionMin = 7

    /// Everything that is wrong, nothing if it serves.
    ///
    /// - Parameters:
    ///   - allowVolatile: accept a Redis that may lose what it has confirmed.
    ///   - needsLibrary: false for who is about to load it.
    ///   - wasOff: whether it was seen without an append-only file: the one that is written first has to be whole.
    public static func problems(
        of connection: RedisConnection, allowVolatile: Bool, needsLibrary: Bool = true, wasOff: Bool = false
    ) throws(RedisError) -> [ServerProblem] {
        guard let info = try ServerInfo(connection) else { return [.unreadable("INFO")] }
        if let stranger = stranger(info) { return [stranger] }
        if info["loading"] == "1" {
            // Until it has loaded, it says `appendonly no` whatever it is configured to.
            throw .server(code: "LOADING", message: "Redis is loading the dataset in memory")
        }
        let version = info["redis_version"] ?? "unknown"
        guard let major = version.split(separator: ".").first.flatMap({ Int($0) }), major >= majorVersionMin else {
            return [.tooOld(version: version)]
        }
        var lacksConfig = false
        let settings = try configuration(connection, &lacksConfig)
        var problems = standing(settings, info)
        // How it keeps what it confirms, and its functions, are those of another server.
        if problems.contains(.replica) { return problems }
        problems += keeping(settings, info, allowVolatile: allowVolatile)
        if lacksConfig { problems = problems.map(\.withoutConfig) }
        if problems.isEmpty, !allowVolatile, isLogUnfinished(info, wasOff: wasOff) { problems.append(.logUnfinished) }
        if needsLibrary {
            switch try FunctionLibrary.loadedRevision(in: connection) {
            case nil: problems.append(.libraryMissing)
            case .some(let revision) where revision < FunctionLibrary.revision:
                problems.append(.libraryOutdated(revision: revision))
            case .some: break
            }
        }
        return problems
    }

    /// Redis does not tell whether a rewrite is the first after `appendonly yes`, when what it confirms is in no file,
    /// or an ordinary one. So whoever connects waits for the end of either; a failed one counts if the setting was seen
    /// off.
    private static func isLogUnfinished(_ info: ServerInfo, wasOff: Bool) -> Bool {
        info["aof_rewrite_in_progress"] == "1" || info["aof_rewrite_scheduled"] == "1"
            || wasOff && info["aof_last_bgrewrite_status"] == "err"
    }

    private static func keeping(
        _ settings: [String: String]?, _ info: ServerInfo, allowVolatile: Bool
    ) -> [ServerProblem] {
        var problems: [ServerProblem] = []
        if let policy = settings?["maxmemory-policy"] ?? info["maxmemory_policy"] {
            if policy != "noeviction" { problems.append(.evicting(policy: policy)) }
        } else {
            problems.append(.unreadable("maxmemory-policy"))
        }
        if allowVolatile { return problems }
        if settings?["appendonly"] == "no" || info["aof_enabled"] == "0" {
            problems.append(.notAppendOnly)
        } else if let appendfsync = settings?["appendfsync"] {
            if appendfsync != "always" {
                problems.append(.notSynchronous(appendfsync: appendfsync))
            } else if settings?["no-appendfsync-on-rewrite"] == "yes" {
                problems.append(.notSynchronousDuringRewrite)
            }
        } else {
            problems.append(.unreadable("appendfsync"))
        }
        return problems
    }

    /// The settings, nil if we may not read them.
    private static func configuration(
        _ connection: RedisConnection, _ lacksConfig: inout Bool
    ) throws(RedisError) -> [String: String]? {
        let reply: RedisReply
        do throws(RedisError) {
            reply = try connection.command(settingsQuestion)
        } catch {
            // Denied by an ACL, or renamed away by a provider: INFO has to do.
            guard case .server = error else { throw error }
            lacksConfig = error.isUnknownCommand
            return nil
        }
        guard let settings = settings(in: reply) else { throw .protocolViolation("CONFIG GET answered \(reply)") }
        return settings
    }

    static func settings(in reply: RedisReply) -> [String: String]? {
        guard case .array(let pairs) = reply else { return nil }
        var settings: [String: String] = [:]
        for index in stride(from: 0, to: pairs.count - 1, by: 2) {
            if let name = pairs[index].text { settings[name] = pairs[index + 1].text }
        }
        return settings
    }

    // MARK: While a connection lives

    /// Asks for the settings that `problems(inSettings:)` judges.
    static let settingsQuestion = RedisCommand(
        "CONFIG", "GET", "maxmemory-policy", "appendonly", "appendfsync", "no-appendfsync-on-rewrite",
        "min-replicas-to-write")

    /// What is wrong with the settings now; nil if we may not read them.
    static func problems(inSettings reply: RedisReply, allowVolatile: Bool) -> [ServerProblem]? {
        settings(in: reply).map { keeping($0, ServerInfo(text: ""), allowVolatile: allowVolatile) }
    }
}

extension RedisConnection {
    /// Connects to a Redis that keeps what it confirms, as far as `link` demands it.
    ///
    /// - Parameter wasOff: whether this Redis was seen without an append-only file.
    /// - Throws: `unfit` with all that is wrong; what every connection throws.
    public convenience init(toFit link: RedisLink, wasOff: Bool = false) throws(RedisError) {
        try self.init(link)
        let problems = try ServerRequirements.problems(
            of: self, allowVolatile: link.allowVolatile, needsLibrary: false, wasOff: wasOff)
        if !problems.isEmpty { throw .unfit(problems) }
    }
}

/// The fields of INFO.
public struct ServerInfo: Hashable, Sendable {
    private var fields: [Substring: Substring] = [:]

    /// nil if we may not read it.
    public init?(_ connection: RedisConnection) throws(RedisError) {
        let reply: RedisReply
        do throws(RedisError) {
            reply = try connection.command(RedisCommand("INFO"))
        } catch .server("NOPERM", _) {
            return nil
        }
        guard let text = reply.text else { throw .protocolViolation("INFO answered \(reply)") }
        self.init(text: text)
    }

    /// Lines of `name:value`; others are headings.
    public init(text: String) {
        for line in text.split(whereSeparator: \.isNewline) {
            guard let colon = line.firstIndex(of: ":") else { continue }
            fields[line[..<colon]] = line[line.index(after: colon)...]
        }
    }

    public subscript(name: Substring) -> String? { fields[name].map(String.init) }
}

extension ServerProblem: CustomStringConvertible {
    /// What is wrong and what to change.
    public var description: String {
        switch self {
        case .tooOld(let version):
            "Redis \(version) has no functions: use Redis \(ServerRequirements.majorVersionMin).0 or newer"
        case .cluster: "this Redis runs in cluster mode, which is not supported: use a Redis without cluster-enabled"
        case .sentinel(let primary):
            "this is a Sentinel, which keeps no data: point --redis to the primary"
                + (primary.map { " (now \($0))" } ?? "") + ", or to an address that follows it"
        case .replica: "this Redis is a replica and takes no writes: point --redis to its primary"
        case .lacksReplicas(let there, let demanded):
            "this Redis takes no writes before \(demanded) replicas follow it (min-replicas-to-write), and \(there) do:"
                + " start them, or point --redis to the primary that has them"
        case .evicting(let policy):
            "this Redis deletes keys when memory runs short (maxmemory-policy \(policy)), and increments with them: "
                + "run `CONFIG SET maxmemory-policy noeviction` and write `maxmemory-policy noeviction` into redis.conf"
        case .notAppendOnly:
            "this Redis does not log writes (appendonly no), a restart would lose increments: write "
                + "`appendonly yes` and `appendfsync always` into redis.conf and restart it, or set both with CONFIG "
                + "SET, "
                + "or pass --allow-volatile-redis"
        case .logUnfinished:
            "this Redis is still writing the file that `appendonly yes` needs first, and would lose with it what it "
                + "confirms meanwhile: wait until `INFO persistence` says aof_rewrite_in_progress:0 and "
                + "aof_last_bgrewrite_status:ok"
        case .notSynchronous(let appendfsync):
            "this Redis confirms writes before they are on disk (appendfsync \(appendfsync)): write "
                + "`appendfsync always` into redis.conf and run `CONFIG SET appendfsync always`, "
                + "or pass --allow-volatile-redis"
        case .notSynchronousDuringRewrite:
            "this Redis confirms writes before they are on disk while it rewrites its file (no-appendfsync-on-rewrite "
                + "yes): write `no-appendfsync-on-rewrite no` into redis.conf and run "
                + "`CONFIG SET no-appendfsync-on-rewrite no`, or pass --allow-volatile-redis"
        case .unreadable(let what):
            "\(what) of this Redis cannot be read: allow it with `ACL SETUSER <user> +info +config|get`"
                + (what == "appendfsync" ? ", or pass --allow-volatile-redis" : "")
        case .withoutConfig(let what):
            "\(what) of this Redis cannot be read: it has no command CONFIG; \(ServerRequirements.configAdvice)"
                + (what == "appendfsync" ? ", or pass --allow-volatile-redis" : "")
        case .libraryMissing: "this Redis has no functions of tallymill: no cluster is in it, or it has lost them"
        case .libraryOutdated(let revision):
            "the functions in this Redis have revision \(revision), this program needs \(FunctionLibrary.revision): "
                + "run `tallymill init`"
        }
    }
}
