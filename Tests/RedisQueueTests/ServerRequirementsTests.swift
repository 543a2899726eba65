// Each Redis that would break a promise, and the sentence with which it is refused.

import TestSupport
import Testing

@testable import RedisQueue

@Suite struct ServerRequirementsTests {
    private func problems(
        _ options: [String] = [], allowVolatile: Bool = false, before: [[String]] = []
    ) throws -> [ServerProblem] {
        let server = try RedisServer(options)
        let connection = try server.connect()
        #expect(try FunctionLibrary.load(into: connection) == .loaded)
        for words in before { try run(words, over: connection) }
        return try ServerRequirements.problems(of: connection, allowVolatile: allowVolatile)
    }

    private func run(_ words: [String], over connection: RedisConnection) throws {
        var command = RedisCommand()
        for word in words { command.append(word) }
        #expect(try connection.command(command) == .status("OK"))
    }

    @Test func aServerAsWeWantIt() throws {
        #expect(try problems() == [])
        #expect(try problems(["--appendfsync", "everysec"], allowVolatile: true) == [])
        #expect(try problems(["--appendonly", "no"], allowVolatile: true) == [])
        #expect(try problems(["--no-appendfsync-on-rewrite", "yes"], allowVolatile: true) == [])
    }

    @Test func eviction() throws {
        let expected = ServerProblem.evicting(policy: "allkeys-lru")
        #expect(try problems(["--maxmemory-policy", "allkeys-lru"], allowVolatile: true) == [expected])
        #expect(
            expected.description
                == "this Redis deletes keys when memory runs short (maxmemory-policy allkeys-lru), and increments with "
                + "them: run `CONFIG SET maxmemory-policy noeviction` and write `maxmemory-policy noeviction` into "
                + "redis.conf")
    }

    @Test func durability() throws {
        #expect(try problems(["--appendonly", "no"]) == [.notAppendOnly])
        #expect(try problems(["--appendfsync", "everysec"]) == [.notSynchronous(appendfsync: "everysec")])
        #expect(try problems(["--no-appendfsync-on-rewrite", "yes"]) == [.notSynchronousDuringRewrite])
        #expect(
            ServerProblem.notSynchronousDuringRewrite.description
                == "this Redis confirms writes before they are on disk while it rewrites its file "
                + "(no-appendfsync-on-rewrite yes): write `no-appendfsync-on-rewrite no` into redis.conf and run "
                + "`CONFIG SET no-appendfsync-on-rewrite no`, or pass --allow-volatile-redis")
        #expect(
            ServerProblem.notAppendOnly.description
                == "this Redis does not log writes (appendonly no), a restart would lose increments: write "
                + "`appendonly yes` and `appendfsync always` into redis.conf and restart it, or set both with "
                + "CONFIG SET, or pass --allow-volatile-redis")
        #expect(
            ServerProblem.notSynchronous(appendfsync: "everysec").description
                == "this Redis confirms writes before they are on disk (appendfsync everysec): write "
                + "`appendfsync always` into redis.conf and run `CONFIG SET appendfsync always`, "
                + "or pass --allow-volatile-redis")
    }

    /// A connection over which something is counted begins with the check, and its failure names all that is wrong.
    @Test func aConnectionToOneThatIsFit() throws {
        let server = try RedisServer(["--maxmemory-policy", "volatile-ttl", "--appendfsync", "no"])
        let found: [ServerProblem] = [.evicting(policy: "volatile-ttl"), .notSynchronous(appendfsync: "no")]
        var link = server.link()
        #expect(throws: RedisError.unfit(found)) { try RedisConnection(toFit: link) }
        #expect(RedisError.unfit(found).description == "\(found[0]); \(found[1])")
        #expect(RedisError.unfit(found).problems == found)
        #expect(RedisError.timedOut(milliseconds: 1).problems == nil)
        link.allowVolatile = true
        #expect(throws: RedisError.unfit([found[0]])) { try RedisConnection(toFit: link) }
        let admin = try server.connect()
        try run(["CONFIG", "SET", "maxmemory-policy", "noeviction"], over: admin)
        // The functions are not asked for: a node waits for its topology anyway.
        #expect(try RedisConnection(toFit: link).failure == nil)
    }

    @Test func allAtOnce() throws {
        let found = try problems(
            ["--maxmemory-policy", "volatile-ttl", "--appendfsync", "no"],
            before: [["FUNCTION", "FLUSH"]])
        #expect(found == [.evicting(policy: "volatile-ttl"), .notSynchronous(appendfsync: "no"), .libraryMissing])
    }

    @Test func aReplica() throws {
        #expect(try problems(before: [["REPLICAOF", "127.0.0.1", "1"]]) == [.replica])
        #expect(
            ServerProblem.replica.description
                == "this Redis is a replica and takes no writes: point --redis to its primary")
        // What is its own would be that of another server after a failover.
        #expect(try problems(["--appendonly", "no"], before: [["REPLICAOF", "127.0.0.1", "1"]]) == [.replica])
    }

    @Test func replicasThatAreMissing() throws {
        let found = try problems(before: [["CONFIG", "SET", "min-replicas-to-write", "2"]])
        #expect(found == [.lacksReplicas(0, of: 2)])
        #expect(
            found.first?.description
                == "this Redis takes no writes before 2 replicas follow it (min-replicas-to-write), and 0 do: "
                + "start them, or point --redis to the primary that has them")
        #expect(found.passWithTime && [ServerProblem.replica].passWithTime)
        #expect(![ServerProblem.replica, .notAppendOnly].passWithTime && ![ServerProblem.cluster].passWithTime)
    }

    /// Whether waiting may help with what Redis refuses.
    @Test func refusalsThatPass() {
        for code in ["BUSY", "LOADING", "MASTERDOWN", "MISCONF", "NOREPLICAS", "OOM", "READONLY", "UNBLOCKED"] {
            #expect(RedisError.server(code: code, message: "").passesWithTime, "\(code)")
        }
        #expect(RedisError.server(code: "ERR", message: "max number of clients reached").passesWithTime)
        for code in ["ERR", "MOVED", "NOAUTH", "NOPERM", "WRONGPASS", "WRONGTYPE"] {
            #expect(!RedisError.server(code: code, message: "").passesWithTime, "\(code)")
        }
        #expect(RedisError.unfit([.replica]).passesWithTime && !RedisError.unfit([.notAppendOnly]).passesWithTime)
    }

    @Test func aSentinel() {
        #expect(
            ServerRequirements.stranger(ServerInfo(text: "redis_mode:sentinel"))
                == .sentinel(primary: nil))
        let told = "redis_mode:sentinel\r\nmaster0:name=mine,status=ok,address=10.0.0.1:6379,slaves=2,sentinels=3\r\n"
        let found = ServerRequirements.stranger(ServerInfo(text: told))
        #expect(found == .sentinel(primary: "10.0.0.1:6379"))
        #expect(
            found?.description
                == "this is a Sentinel, which keeps no data: point --redis to the primary (now 10.0.0.1:6379), or to "
                + "an address that follows it")
    }

    /// No ACL brings back a command that is not there.
    @Test func aServerWithoutConfig() throws {
        let server = try RedisServer(["--rename-command", "CONFIG", ""])
        let connection = try server.connect()
        let found = try ServerRequirements.problems(of: connection, allowVolatile: false, needsLibrary: false)
        #expect(found == [.withoutConfig("appendfsync")])
        #expect(
            found.first?.description
                == "appendfsync of this Redis cannot be read: it has no command CONFIG; take `rename-command CONFIG` "
                + "out of redis.conf and restart Redis (an ACL can keep users from CONFIG SET), "
                + "or pass --allow-volatile-redis")
        #expect(try ServerRequirements.problems(of: connection, allowVolatile: true, needsLibrary: false) == [])
    }

    @Test func clusterMode() throws {
        let server = try RedisServer([
            "--cluster-enabled", "yes", "--cluster-port", "\(try RedisServer.freePort())",
        ])
        let found = try ServerRequirements.problems(
            of: server.connect(), allowVolatile: false, needsLibrary: false)
        #expect(found == [.cluster])
        #expect(
            ServerProblem.cluster.description
                == "this Redis runs in cluster mode, which is not supported: use a Redis without cluster-enabled")
    }

    @Test func hiddenSettings() throws {
        let server = try RedisServer()
        let admin = try server.connect()
        #expect(try FunctionLibrary.load(into: admin) == .loaded)
        try run(["ACL", "SETUSER", "bob", "on", ">pw", "~*", "+@all", "-config"], over: admin)
        try run(["ACL", "SETUSER", "eve", "on", ">pw", "~*", "+@all", "-config", "-info"], over: admin)
        let link: (String) -> RedisLink = { user in
            RedisLink(url: RedisURL(address: .unix(path: server.socket), user: user, password: Secret("pw")))
        }
        let bob = try RedisConnection(link("bob"))
        #expect(
            try ServerRequirements.problems(of: bob, allowVolatile: false) == [.unreadable("appendfsync")])
        #expect(try ServerRequirements.problems(of: bob, allowVolatile: true) == [])
        try run(["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"], over: admin)
        try run(["CONFIG", "SET", "appendonly", "no"], over: admin)
        #expect(
            try ServerRequirements.problems(of: bob, allowVolatile: false)
                == [.evicting(policy: "allkeys-lru"), .notAppendOnly])
        let eve = try RedisConnection(link("eve"))
        #expect(try ServerRequirements.problems(of: eve, allowVolatile: true) == [.unreadable("INFO")])
        #expect(
            ServerProblem.unreadable("appendfsync").description
                == "appendfsync of this Redis cannot be read: allow it with `ACL SETUSER <user> +info +config|get`, "
                + "or pass --allow-volatile-redis")
    }

    @Test func theLibrary() throws {
        let server = try RedisServer()
        let connection = try server.connect()
        #expect(try FunctionLibrary.loadedRevision(in: connection) == nil)
        #expect(
            try ServerRequirements.problems(of: connection, allowVolatile: false, needsLibrary: false) == [])
        #expect(try ServerRequirements.problems(of: connection, allowVolatile: false) == [.libraryMissing])
        #expect(try FunctionLibrary.load(into: connection) == .loaded)
        #expect(try FunctionLibrary.load(into: connection) == .current)

        try loadForeign(revision: 0, into: connection)
        #expect(
            try ServerRequirements.problems(of: connection, allowVolatile: false) == [.libraryOutdated(revision: 0)])
        #expect(try FunctionLibrary.load(into: connection) == .loaded)
        try loadForeign(revision: 99, into: connection)
        #expect(try ServerRequirements.problems(of: connection, allowVolatile: false) == [])
        #expect(try FunctionLibrary.load(into: connection) == .newer(revision: 99))
        #expect(try FunctionLibrary.loadedRevision(in: connection) == 99)
        #expect(
            ServerProblem.libraryMissing.description
                == "this Redis has no functions of tallymill: no cluster is in it, or it has lost them")
        #expect(
            ServerProblem.libraryOutdated(revision: 0).description
                == "the functions in this Redis have revision 0, this program needs \(FunctionLibrary.revision): "
                + "run `tallymill init`")
    }

    @Test func anOldVersion() {
        #expect(
            ServerProblem.tooOld(version: "6.2.14").description
                == "Redis 6.2.14 has no functions: use Redis 7.0 or newer")
    }

    private func loadForeign(revision: Int, into connection: RedisConnection) throws {
        let source = """
            #!lua name=tallymill_1
            redis.register_function{function_name = 'tallymill_1_revision', flags = {'no-writes'},
              callback = function() return \(revision) end}
            """
        let reply = try connection.command(RedisCommand("FUNCTION", "LOAD", "REPLACE", source))
        #expect(reply.text == "tallymill_1")
    }
}
