// Redis killed, stopped, full or forbidding: what the caller learns, and that nothing is half-written.

import RedisQueue
import TestSupport
import Testing

@testable import TallyCore

@Suite struct FaultTests {
    let stream = Stream()

    private func pushes(_ range: ClosedRange<UInt64>) -> [QueueCommand] {
        range.map { .push(stream[$0], floor: 0, limitBytes: 1 << 30, topology: .ofTests) }
    }

    @Test func nobodyListens() {
        let link = RedisLink(url: RedisURL(address: .unix(path: "/tmp/tallymill-nobody.sock")))
        #expect(
            throws: RedisError.unreachable("unix:///tmp/tallymill-nobody.sock: No such file or directory")
        ) { try RedisConnection(link) }
    }

    @Test func aKilledServerLosesTheConnectionAndNoConfirmedPush() throws {
        let server = try RedisServer()
        var scene = try Scene(on: server)
        #expect(scene.producer.deliver(pushes(1...3)).answers.allSatisfy { $0 == .push(.ok(applied: 0)) })
        server.kill()
        let landed = scene.producer.deliver(pushes(4...5) + [Scene.heartbeat(stream.id), .readTopology])
        #expect(landed.answers == [.unknown, .unknown, .unknown, .unknown])
        guard case .connectionLost = landed.failure else { throw Unanswered(text: "\(landed)") }
        #expect(!scene.producer.isConnected)
        // The dead connection stays dead.
        #expect(scene.producer.deliver(pushes(4...4)).answers == [.unknown])

        try server.start()
        scene = try Scene(reconnecting: scene)
        #expect(try scene.dump().seqs == [stream.producer: 3])
        // The functions survive a restart.
        #expect(scene.producer.deliver(pushes(4...4)).answers == [.push(.ok(applied: 0))])
    }

    /// The answers are lost, not the commands: what was answered is definite, the rest is unknown, and a second try is
    /// told apart from a first.
    @Test func aConnectionThatIsCutInTheMiddleOfAPipeline() throws {
        let server = try RedisServer()
        let scene = try Scene(on: server)
        let user = scene.names.namespace
        let cut = RedisCommand("CLIENT", "KILL", "USER", "cut", "SKIPME", "no")
        _ = try scene.connection.command(
            RedisCommand("ACL", "SETUSER", "cut", "on", ">pw", "~*", "+@all"))  // always OK
        let url = RedisURL(address: .unix(path: server.socket), user: "cut", password: Secret("pw"))
        let connection = try RedisConnection(RedisLink(url: url, clientName: user))
        try connection.send(RedisCommand("PING"))
        try connection.send(cut)
        try connection.send(RedisCommand("PING"))
        #expect(try connection.receive() == .status("PONG"))
        #expect(try connection.receive() == .integer(1))
        #expect(throws: RedisError.connectionLost("Server closed the connection")) { try connection.receive() }
        #expect(connection.failure == .connectionLost("Server closed the connection"))
        #expect(throws: RedisError.connectionLost("Server closed the connection")) {
            try connection.command(RedisCommand("PING"))
        }
    }

    /// A Redis that has become a replica answers all that was sent, and the connection ends.
    @Test func aReplicaEndsTheConnection() throws {
        let server = try RedisServer()
        let scene = try Scene(on: server)
        let connection = try server.connect()
        #expect(try connection.command(RedisCommand("REPLICAOF", "127.0.0.1", "1")) == .status("OK"))
        let readOnly = "READONLY You can't write against a read only replica."
        let landed = scene.producer.deliver(pushes(1...2) + [.readTopology])
        for answer in landed.answers.prefix(2) {
            guard case .push(.refused(let text)) = answer else { throw Unanswered(text: "\(landed)") }
            #expect(text.contains(readOnly))
        }
        #expect(landed.answers.last == .topology(nil))
        guard case .server("READONLY", _) = landed.failure else { throw Unanswered(text: "\(landed)") }
        #expect(!scene.producer.isConnected)
        // Over a connection that waits for each answer, too; other refusals leave it as it was.
        #expect(throws: RedisError.self) { try connection.command(RedisCommand("LLEN")) }
        #expect(connection.failure == nil)
        #expect(throws: RedisError.self) { try connection.command(RedisCommand("SET", "a", "b")) }
        guard case .server("READONLY", _)? = connection.failure else { throw Unanswered(text: "no failure") }
    }

    @Test func aStoppedServerTimesOut() throws {
        let server = try RedisServer()
        let scene = try Scene(on: server)
        let producer = try ProducerQueue(connection: server.connect(), names: scene.names)
        server.pause()
        let landed = producer.deliver(pushes(1...2), silenceMilliseconds: 100)
        #expect(landed.answers == [.unknown, .unknown])
        #expect(landed.failure == .timedOut(milliseconds: 100))
        // A new connection is accepted by the kernel, and answered by nobody.
        #expect(throws: RedisError.timedOut(milliseconds: 100)) { try server.connect(commandMilliseconds: 100) }
        server.resume()
        // The late execution of the first try is as good as any: the second is a duplicate.
        let isThere = try waitUntil { try scene.dump().seqs == [stream.producer: 2] }
        #expect(isThere)
        #expect(try scene.push(stream[1]) == stream.duplicate(last: 2))
    }

    @Test func aFullRedisRefusesPushesAndLetsConsumersDrain() throws {
        let server = try RedisServer()
        let scene = try Scene(on: server)
        let stream = Stream(bytes: 1 << 20)
        let first = (1...4).map { QueueCommand.push(stream[$0], floor: 0, limitBytes: 1 << 30, topology: .ofTests) }
        #expect(scene.producer.deliver(first).answers.allSatisfy { $0 == .push(.ok(applied: 0)) })
        _ = try scene.connection.command(RedisCommand("CONFIG", "SET", "maxmemory", "3mb"))  // always OK
        let refusal =
            "Redis refused: OOM command not allowed when used memory > 'maxmemory'."
            + " (Redis is over its maxmemory: raise it, or let the consumers catch up)"
        try scene.expectUnchanged(PushReply.refused(refusal)) { try scene.push(stream[5]) }
        #expect(try refusalCode { _ = try scene.queue.waitForBatch(milliseconds: 1) } == "OOM")
        let landed = scene.producer.deliver([Scene.heartbeat(stream.id)])
        #expect(landed.answers == [.heartbeat(.progress(last: 4, applied: 0))])

        let token = try scene.claim().token
        #expect(try scene.queue.renew(token: token, milliseconds: 60_000) == .ok)
        #expect(try scene.peeked().batches == [stream[1].bytes])
        let trim = TrimRequest(token: token, committed: (1...4).map { stream[$0].id }, applied: [stream.producer: 4])
        #expect(try scene.queue.trim(trim) == .trimmed(batches: 4))
        _ = try scene.connection.command(RedisCommand("CONFIG", "SET", "maxmemory", "0"))  // always OK
        #expect(try scene.push(stream[5]) == .ok(applied: 4))
    }

    /// An ACL that allows some of the writes only: without the check before the first one, a push would stop half-way.
    @Test(arguments: ["-hset", "-rpush", "-ltrim", "-llen", "-hget", "-del"])
    func aMissingPermissionLeavesNothingHalfDone(rule: String) throws {
        let server = try RedisServer()
        let scene = try Scene(on: server)
        #expect(try scene.push(stream[1]) == .ok(applied: 0))
        let token = try scene.claim().token
        _ = try scene.connection.command(
            RedisCommand("ACL", "SETUSER", "bob", "on", ">pw", "~*", "+@all", rule))  // always OK
        let url = RedisURL(address: .unix(path: server.socket), user: "bob", password: Secret("pw"))
        let connection = try RedisConnection(RedisLink(url: url))
        let queue = PartitionQueue(connection: connection, names: scene.names, partition: Scene.partition)
        let trim = TrimRequest(token: token, committed: [stream[1].id], applied: [stream.producer: 1])
        let before = try scene.image()
        let producer = try ProducerQueue(connection: RedisConnection(RedisLink(url: url)), names: scene.names)
        let landed = producer.deliver(pushes(2...2))
        if ["-hset", "-rpush", "-hget"].contains(rule) {
            guard case .push(.refused) = landed.answers[0] else { throw Unanswered(text: "\(landed)") }
            #expect(try scene.image() == before)
        }
        let middle = try scene.image()
        let code = try refusalCode { _ = try queue.trim(trim) }
        if ["-hset", "-ltrim", "-llen", "-hget"].contains(rule) {
            #expect(code != nil)
            #expect(try scene.image() == middle)
        }
        #expect(connection.failure == nil)
    }

    @Test func aMissingPermissionIsNamed() throws {
        let server = try RedisServer()
        let scene = try Scene(on: server)
        _ = try scene.connection.command(
            RedisCommand("ACL", "SETUSER", "bob", "on", ">pw", "~*", "+@all", "-rpush"))  // always OK
        let url = RedisURL(address: .unix(path: server.socket), user: "bob", password: Secret("pw"))
        let producer = try ProducerQueue(connection: RedisConnection(RedisLink(url: url)), names: scene.names)
        let refusal =
            "Redis refused: NOPERM user bob: tallymill needs the permission for RPUSH on its keys"
            + " (connect as a user of Redis who may: the sample redis-acl.conf lists what each program needs)"
        #expect(producer.deliver(pushes(1...1)).answers == [.push(.refused(refusal))])
    }

    /// What an ACL has to allow for the work of a node and a consumer.
    @Test func aUserWithNoMoreThanItNeeds() throws {
        let server = try RedisServer()
        let scene = try Scene(on: server)
        var rules = RedisCommand("ACL", "SETUSER", "bob", "on", ">pw", "~\(scene.names.namespace):*", "-@all")
        for name in [
            "fcall", "get", "blmove", "client|setname", "time", "exists", "hget", "hmget", "hgetall", "hset", "hdel",
            "llen", "lrange", "rpush", "ltrim",
        ] { rules.append("+" + name) }
        #expect(try scene.connection.command(rules) == .status("OK"))
        let url = RedisURL(address: .unix(path: server.socket), user: "bob", password: Secret("pw"))
        let connection = try RedisConnection(RedisLink(url: url))
        let producer = try ProducerQueue(connection: RedisConnection(RedisLink(url: url)), names: scene.names)
        let expected: [QueueAnswer] = [
            .push(.ok(applied: 0)), .push(stream.duplicate(last: 1)), .heartbeat(.progress(last: 1, applied: 0)),
            .topology(nil),
        ]
        #expect(
            producer.deliver(pushes(1...1) + pushes(1...1) + [Scene.heartbeat(stream.id), .readTopology]).answers
                == expected)
        let queue = PartitionQueue(connection: connection, names: scene.names, partition: Scene.partition)
        #expect(try queue.waitForBatch(milliseconds: 1_000))
        guard
            case .granted(let claim) = try queue.claim(host: "h", owner: "o", milliseconds: 1_000, topology: .ofTests),
            case .batches(let peeked) = try queue.peek(bytes: 1, batches: 1)
        else { throw Unanswered(text: "no lease or no batch") }
        #expect(peeked.batches == [stream[1].bytes])
        let trim = TrimRequest(
            token: claim.token, committed: [stream[1].id], applied: [stream.producer: 1])
        #expect(try queue.trim(trim) == .trimmed(batches: 1))
        #expect(try queue.renew(token: claim.token, milliseconds: 1) == .ok)
        #expect(try queue.release(token: claim.token) == .ok)
    }

    @Test func withoutTheLibraryEverythingPointsToInit() throws {
        let server = try RedisServer()
        let scene = try Scene(on: server)
        _ = try scene.connection.command(RedisCommand("FUNCTION", "FLUSH"))  // always OK
        let refusal = "Redis refused: ERR Function not found (run `tallymill init`: it loads the functions)"
        #expect(try scene.push(stream[1]) == .refused(refusal))
        #expect(try refusalCode { _ = try scene.claim() } == "ERR")
    }
}
