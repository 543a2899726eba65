// A Redis that becomes one that may lose what it confirms, at its restart or by CONFIG SET: the node takes nothing
// until it is mended, and says why.

import ClusterSupport
import TestSupport
import Testing

@testable import RedisQueue
@testable import TallyCore
@testable import WebNode

@Suite struct UnfitRedisTests {
    /// Longer than the interval at which a living connection is looked at.
    private static let noticeSeconds = Double(Limits.topologyMilliseconds) / 1_000 + 5

    private func reason(_ problem: ServerProblem) -> String { problem.description }

    /// By CONFIG SET, over a connection that lives on; without a request that would reveal it.
    @Test(arguments: [
        ("appendfsync", "everysec", "always", ServerProblem.notSynchronous(appendfsync: "everysec")),
        ("no-appendfsync-on-rewrite", "yes", "no", .notSynchronousDuringRewrite),
        ("maxmemory-policy", "allkeys-lru", "noeviction", .evicting(policy: "allkeys-lru")),
        ("appendonly", "no", "yes", .notAppendOnly),
        ("min-replicas-to-write", "1", "0", .lacksReplicas(0, of: 1)),
    ])
    func aLivingConnection(name: String, bad: String, good: String, problem: ServerProblem) throws {
        let fixture = try NodeFixture()
        try #require(waitUntil { fixture.isReady() })
        #expect(fixture.post("a").0 == 200)
        try fixture.set(name, bad)
        try #require(waitUntil(seconds: Self.noticeSeconds) { !fixture.isReady() })
        let reason = reason(problem)
        #expect(fixture.readiness()?.text.hasPrefix(#"{"ready":false,"reason":\#(JSONText.quote(reason)),"#) == true)
        let (status, body) = fixture.post("a")
        #expect(status == 503)
        #expect(body.contains(JSONText.quote(reason)))
        let report = fixture.node.report()[0]
        #expect(report.refusalReason == .redisUnfit)
        #expect(report.statistics.refused[.redisUnfit] == 1)

        try fixture.set(name, good)
        try #require(waitUntil { fixture.isReady() })
        #expect(fixture.post("a").0 == 200)
        #expect(fixture.lines.count("warning requests are refused: \(reason)") == 1)
        #expect(fixture.lines.all.last == "info requests are admitted")
    }

    /// A demoted Redis that goes on answering: without a request that would reveal it, too.
    @Test func aLivingConnectionToAReplica() throws {
        let fixture = try NodeFixture()
        try #require(waitUntil { fixture.isReady() })
        #expect(fixture.post("a").0 == 200)
        try fixture.command("REPLICAOF", "127.0.0.1", "1")
        try #require(waitUntil(seconds: Self.noticeSeconds) { fixture.node.report()[0].refusalReason == .redisUnfit })
        #expect(fixture.readiness()?.text.contains(JSONText.quote(reason(.replica))) == true)
        try fixture.command("REPLICAOF", "NO", "ONE")
        try #require(waitUntil { fixture.isReady() })
        #expect(fixture.post("a").0 == 200)
    }

    /// Redis begins to refuse writes on a connection that lives: the next one, which leads to the same, is not used.
    @Test func aRefusedPushEndsTheConnection() throws {
        let fixture = try NodeFixture()
        try #require(waitUntil { fixture.isReady() })
        try fixture.command("REPLICAOF", "127.0.0.1", "1")
        #expect(fixture.post("a", wait: 1).0 != 200)
        try #require(waitUntil(seconds: 3) { fixture.node.report()[0].refusalReason == .redisUnfit })
        try fixture.command("REPLICAOF", "NO", "ONE")
        try #require(waitUntil { fixture.isReady() })
        // What it had admitted has arrived.
        try #require(try waitUntil { try fixture.length(0) == .integer(1) || fixture.length(1) == .integer(1) })
    }

    /// The check ends the flight that it came with: what that has brought in is not acknowledged before it is mended.
    @Test func aFlightThatMeetsIt() throws {
        let fixture = try NodeFixture()
        let queue = try ProducerQueue(
            connection: try RedisConnection(toFit: fixture.server.link()), names: fixture.names)
        var producer = Producer(
            id: ProducerID(Bytes16(high: 1, low: 2)), configuration: Producer.Configuration(),
            clock: RedisClock(guess: 1, at: 1))
        producer.connection(isUp: true, now: 1)
        func fly(isChecked: Bool) throws -> ProducerQueue.Landed {
            var landed = queue.send(producer.nextFlight(now: 1_000), isChecked: isChecked)
            _ = waitUntil {
                landed = landed ?? (queue.isWriting ? queue.write() : queue.read())
                return landed != nil
            }
            return try #require(landed)
        }
        let first = try fly(isChecked: true)
        #expect(first.failure == nil)
        for (command, answer) in zip(first.commands, first.answers) {
            producer.received(answer, to: command, now: 1_000)
        }
        producer.flightEnded()
        var buffer = IncrementBuffer()
        #expect(Array("a".utf8).withUnsafeBytes { buffer.append(key: $0, delta: 1) } == nil)
        #expect(try producer.admit(buffer, level: .memory, idempotencyKey: nil, now: 1_000) == nil)
        try fixture.set("appendfsync", "no")
        let second = try fly(isChecked: true)
        #expect(second.commands.count == 1)
        #expect(second.answers == [.unknown])
        #expect(second.failure == .unfit([.notSynchronous(appendfsync: "no")]))
        #expect(!queue.isConnected)
        // It was done, and the next try will be told so.
        #expect(try fixture.length(0) == .integer(1) || fixture.length(1) == .integer(1))
    }

    @Test func anotherServerBehindTheAddress() throws {
        let fixture = try NodeFixture()
        try #require(waitUntil { fixture.isReady() })
        try fixture.set("appendfsync", "no")
        try fixture.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        // At once: each connection begins with the check.
        try #require(waitUntil(seconds: 3) { !fixture.isReady() })
        try #require(waitUntil(seconds: 3) { fixture.node.report()[0].refusalReason == .redisUnfit })
        #expect(fixture.post("a").0 == 503)
        // Something else is wrong now, and is told.
        try fixture.set("appendfsync", "always")
        try fixture.set("maxmemory-policy", "volatile-ttl")
        let other = reason(.evicting(policy: "volatile-ttl"))
        try #require(
            waitUntil(seconds: 10) { fixture.lines.count("warning requests are refused: \(other)") == 1 })
        try fixture.set("maxmemory-policy", "noeviction")
        try #require(waitUntil { fixture.isReady() })
    }

    @Test func aLossThatTheOperatorAccepts() throws {
        let fixture = try NodeFixture(
            ["--appendonly", "no", "--no-appendfsync-on-rewrite", "yes"], allowVolatile: true)
        try #require(waitUntil { fixture.isReady() })
        #expect(fixture.post("a").0 == 200)
        // Eviction would take the keys of a whole partition: that nobody accepts.
        try fixture.set("maxmemory-policy", "allkeys-lru")
        try #require(waitUntil(seconds: Self.noticeSeconds) { !fixture.isReady() })
    }

    /// An ACL that hides the settings is looked at when connecting, as ever, and asked no more over that connection.
    @Test func settingsThatAreHidden() throws {
        let server = try RedisServer()
        let admin = try server.connect()
        var command = RedisCommand("ACL")
        for word in ["SETUSER", "bob", "on", ">pw", "~*", "+@all", "-config"] { command.append(word) }
        #expect(try admin.command(command) == .status("OK"))
        var link = RedisLink(url: RedisURL(address: .unix(path: server.socket), user: "bob", password: Secret("pw")))
        #expect(throws: RedisError.unfit([.unreadable("appendfsync")])) { try RedisConnection(toFit: link) }
        link.allowVolatile = true
        let queue = try ProducerQueue(
            connection: try RedisConnection(toFit: link), names: try KeyNames(namespace: "web"))
        for _ in 0..<2 {
            var landed = queue.send([.readTime], isChecked: true)
            #expect(
                waitUntil {
                    landed = landed ?? (queue.isWriting ? queue.write() : queue.read())
                    return landed != nil
                })
            #expect(landed?.failure == nil)
            #expect(queue.isConnected)
        }
        let log = try admin.command(RedisCommand("ACL", "LOG"))
        guard case .array(let entries) = log, case .array(let fields) = entries.first else {
            throw HarnessError("ACL LOG answered \(log)")
        }
        // The count of equal entries: once for each connection, and once over the second when it lived.
        #expect(fields.dropFirst().first == .integer(3))
    }
}
