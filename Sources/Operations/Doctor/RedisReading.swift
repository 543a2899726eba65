// Everything that `doctor` wants to know of a Redis, read over one connection: what it says of itself, its settings as
// far as we may see them, its clock against ours, and our functions in it.

import RedisQueue
import ServiceKit

/// One look at a server.
struct RedisReading {
    let info: ServerInfo
    /// nil if we may not read them.
    let settings: [String: String]?
    /// Whether there is no command CONFIG to read them with.
    let lacksConfig: Bool
    /// Of the functions; nil: not loaded.
    let revision: Int?
    /// How far its clock is ahead of ours, in milliseconds.
    let clockAheadMilliseconds: Int64

    init(
        info: ServerInfo, settings: [String: String]?, lacksConfig: Bool = false, revision: Int?,
        clockAheadMilliseconds: Int64
    ) {
        self.info = info
        self.settings = settings
        self.lacksConfig = lacksConfig
        self.revision = revision
        self.clockAheadMilliseconds = clockAheadMilliseconds
    }

    /// - Throws: also if we may not read INFO, it still loads its data, or is no single Redis.
    init(_ connection: RedisConnection, _ host: HostFacts) throws(RedisError) {
        guard let info = try ServerInfo(connection) else {
            throw .server(code: "NOPERM", message: "this user may not run INFO")
        }
        if let stranger = ServerRequirements.stranger(info) { throw .unfit([stranger]) }
        if info["loading"] == "1" {
            throw .server(code: "LOADING", message: "Redis is loading the dataset in memory")
        }
        self.info = info
        (settings, lacksConfig) = try Self.settings(connection)
        revision = try Self.revision(connection, info)
        let before = host.wallClock()
        let time = try Self.time(connection)
        let after = host.wallClock()
        // What the answer took may lie on either side.
        clockAheadMilliseconds = time > after ? time - after : time < before ? time - before : 0
    }

    private static func settings(
        _ connection: RedisConnection
    ) throws(RedisError) -> ([String: String]?, lacksConfig: Bool) {
        let reply: RedisReply
        do throws(RedisError) {
            reply = try connection.command(
                RedisCommand(
                    "CONFIG", "GET", "appendonly", "appendfsync", "no-appendfsync-on-rewrite", "maxmemory-policy",
                    "dir", "save", "stop-writes-on-bgsave-error", "min-replicas-to-write"))
        } catch {
            guard case .server = error else { throw error }
            // Denied by an ACL, renamed away, or older than 7.0, which takes one name at a time.
            return (nil, error.isUnknownCommand)
        }
        guard case .array(let pairs) = reply else { throw .protocolViolation("CONFIG GET answered \(reply)") }
        var settings: [String: String] = [:]
        for index in stride(from: 0, to: pairs.count - 1, by: 2) {
            if let name = pairs[index].text { settings[name] = pairs[index + 1].text }
        }
        return (settings, false)
    }

    private static func revision(_ connection: RedisConnection, _ info: ServerInfo) throws(RedisError) -> Int? {
        guard RedisChecks.majorVersion(info) ?? 0 >= ServerRequirements.majorVersionMin else { return nil }
        return try FunctionLibrary.loadedRevision(in: connection)
    }

    /// Milliseconds since 1970, by its clock.
    private static func time(_ connection: RedisConnection) throws(RedisError) -> Int64 {
        let reply = try connection.command(RedisCommand("TIME"))
        guard case .array(let parts) = reply, parts.count == 2, let seconds = parts[0].text.flatMap({ Int64($0) }),
            let microseconds = parts[1].text.flatMap({ Int64($0) }), (0..<1 << 40).contains(seconds)
        else { throw .protocolViolation("TIME answered \(reply)") }
        return seconds * 1_000 + microseconds / 1_000
    }
}

extension RedisURL {
    /// How a shell reaches it; a password is asked for, never written.
    var cli: String {
        var words = ["redis-cli"]
        switch address {
        case .unix(let path): words += ["-s", path]
        case .tcp(let host, let port): words += ["-h", host, "-p", "\(port)"]
        }
        if let user { words += ["--user", user] }
        if password != nil { words.append("--askpass") }
        if database != 0 { words += ["-n", "\(database)"] }
        return words.map { ShellWord.quoted($0) }.joined(separator: " ")
    }

    /// The host that it is on; nil for this one.
    var otherHost: String? {
        guard case .tcp(let host, _) = address else { return nil }
        return host == "localhost" || host == "::1" || host.hasPrefix("127.") ? nil : host
    }
}

extension ServerInfo {
    /// A number of INFO; whatever a server says, such numbers can be added and multiplied by some.
    func number(_ field: Substring) -> Int? { self[field].flatMap { Int($0) }.map { min(max($0, 0), 1 << 53) } }
}
