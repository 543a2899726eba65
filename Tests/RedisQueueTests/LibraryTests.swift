// What no function may do, whatever it is given: come with a token that another lease had, accept arguments that do not
// fit, or stop half-way where a permission is missing.

import RedisQueue
import TestSupport
import Testing

@testable import TallyCore

@Suite struct LibraryTests {
    let stream = Stream()

    // MARK: Tokens

    @Test func aTokenIsNoNumberThatComesAgain() throws {
        let scene = try Scene()
        let tokens = try (0..<200).map { _ in try scene.claim().token }
        #expect(Set(tokens).count == 200)
        #expect(!zip(tokens, tokens.dropFirst()).contains { $0 + 1 == $1 })
        #expect(tokens.allSatisfy { (1...Limits.sequenceMax).contains($0) })
        // A counter would need no more than ten bits.
        #expect(tokens.filter { $0 > 1 << 40 }.count > 190)
    }

    @Test func aTokenOfAForgottenLeaseIsFenced() throws {
        let server = try RedisServer()
        var scene = try Scene(on: server)
        #expect(try scene.push(stream[1]) == .ok(applied: 0))
        let copy = server.copyData()
        let forgotten = try scene.claim().token
        try server.replaceData(with: copy)
        scene = try Scene(reconnecting: scene)
        let held = try scene.claim().token
        #expect(held != forgotten)
        try scene.expectUnchanged(.fenced) {
            try scene.queue.trim(TrimRequest(token: forgotten, committed: [stream[1].id], applied: [:]))
        }
        #expect(
            try scene.queue.trim(TrimRequest(token: held, committed: [stream[1].id], applied: [:]))
                == .trimmed(batches: 1))
    }

    /// An earlier release's claim counts on from any token, also from the highest, and learns no cluster.
    @Test(
        arguments: [(1, 2), (77, 78), (Limits.sequenceMax - 1, Limits.sequenceMax), (Limits.sequenceMax, 1)]
            as [(UInt64, UInt64)])
    func anEarlierReleasesClaimCounts(before: UInt64, after: UInt64) throws {
        let scene = try Scene()
        let meta = scene.names.group(of: Scene.partition).meta
        _ = try scene.connection.command(RedisCommand("HSET", meta, "token", "\(before)"))  // no new field
        let reply = try scene.call("claim", [Array("h".utf8), Array("o".utf8), Array("1000".utf8)])
        guard case .array(let parts) = reply else { throw Unanswered(text: "\(reply)") }
        #expect(parts[0].text == "GRANTED" && parts[1] == .integer(Int64(after)))
        #expect(try scene.queue.renew(token: after, milliseconds: 1) == .ok)
    }

    // MARK: Create

    @Test func createSeedsWhatTheFileHolds() throws {
        let scene = try Scene(creates: false)
        let applied = Dictionary(uniqueKeysWithValues: (1...300).map { (Stream(producer: $0).producer, $0) })
        #expect(
            try scene.keys.create(Scene.partition, shard: Scene.shard, topology: .ofTests, applied: applied) == .created
        )
        #expect(try scene.dump().applied == applied)
        #expect(try scene.keys.watermarks(of: Scene.partition) == applied)
        #expect(try scene.queue.watermarks() == applied)
        #expect(try scene.claim().applied == applied)
        // A node goes on behind what was counted, and an older copy of the file is recognised.
        let seventh = Stream(producer: 7)
        #expect(try scene.push(seventh[8], floor: 7) == .ok(applied: 7))
        #expect(try scene.push(Stream(producer: 8)[10], floor: 9) == .behind(applied: 8))
        try scene.expectUnchanged(.existing(Scene.shard, sealed: false)) {
            try scene.keys.create(
                Scene.partition, shard: Scene.shard, topology: .ofTests, applied: [seventh.producer: 99])
        }
    }

    @Test func aWatermarkOfZeroIsNone() throws {
        let scene = try Scene(creates: false)
        let applied: [ProducerID: UInt64] = [stream.producer: 0]
        #expect(
            try scene.keys.create(Scene.partition, shard: Scene.shard, topology: .ofTests, applied: applied) == .created
        )
        #expect(try scene.dump().applied == [:])
    }

    // MARK: Time

    @Test func aPeekAndANodeSeeRedisTime() throws {
        let scene = try Scene()
        func time() throws -> UInt64 {
            guard case .time(let time?)? = scene.producer.deliver([.readTime]).answers.first else {
                throw Unanswered(text: "no time")
            }
            return time
        }
        let before = try time()
        guard case .batches(let peeked) = try scene.queue.peek(bytes: 1, batches: 1) else {
            throw Unanswered(text: "no peek")
        }
        #expect((before...(try time())).contains(peeked.time))
        #expect(before > 1_700_000_000_000)
    }

    // MARK: Arguments

    @Test func argumentsThatDoNotFitChangeNothing() throws {
        let scene = try Scene()
        let batch = stream[1]
        let text = { (text: String) in Array(text.utf8) }
        let push = [batch.id.stream.producer.bytes.array, text("1"), text("0"), text("1000"), batch.bytes]
        let cluster = text(Topology.ofTests.ownerText)
        let chain = [UInt8](repeating: 0, count: 8)
        let calls: [(String, [[UInt8]])] = [
            ("push", push + [cluster, chain]), ("push", push + [cluster, chain, chain, chain]),
            ("push", push + [cluster, chain, Array(chain.dropLast())]), ("push", push + [cluster, [], chain]),
            ("push", push + [text("c"), chain, chain]), ("push", Array(push.dropLast())),
            ("claim", [text("h"), text("o"), text("1000"), text("7")]),
            ("claim", [text("h"), text("o"), text("1000"), text("0"), cluster]),
            ("claim", [text("h"), text("o"), text("1000"), text("9007199254740992"), cluster]),
            ("claim", [text("h"), text("o"), text("1000"), text("7"), text("x")]),
            ("create", [cluster, cluster]), ("create", [cluster, text("x"), []]),
            ("create", [cluster, cluster, text("x")]), ("create", [text("x")]),
            ("heartbeat", [push[0], text("1")]), ("heartbeat", [push[0], text("x"), cluster]),
            ("compare", [cluster]), ("compare", [text("x"), []]), ("compare", [cluster, text("x")]),
            ("compare", [cluster, [UInt8](repeating: 0xFF, count: 32)]),
            ("trim", [text("1"), [], [], text("x")]),
        ]
        for (function, arguments) in calls {
            try scene.expectUnchanged {
                let code = try refusalCode { _ = try scene.call(function, arguments) }
                #expect(code == "TALLYMILL", "\(function) with \(arguments.count) arguments")
            }
        }
    }

    @Test(arguments: ["1 1234567", "1 123456789", " 12345678", "x 12345678", "9007199254740992 12345678"])
    func aDamagedSequenceIsRefused(text: String) throws {
        let scene = try Scene()
        var set = RedisCommand("HSET", scene.names.group(of: Scene.partition).seqs)
        set.append(stream.producer.bytes.array)
        set.append(text)
        _ = try scene.connection.command(set)  // how many fields are new
        try scene.expectUnchanged {
            guard case .refused(let refusal) = try scene.push(stream[2]) else { throw Unanswered(text: text) }
            #expect(refusal.contains("TALLYMILL last sequence is not"))
        }
    }

    /// Nothing that a trim looks at may be found out after its first write.
    @Test func aDamagedNoteStopsATrimBeforeItWrites() throws {
        let scene = try Scene()
        #expect(try scene.push(stream[1]) == .ok(applied: 0))
        let token = try scene.claim().token
        var set = RedisCommand("HSET", scene.names.group(of: Scene.partition).meta, "behind")
        set.append(stream.producer.bytes.array + [UInt8](repeating: 0xFF, count: 8))
        _ = try scene.connection.command(set)  // how many fields are new
        try scene.expectUnchanged {
            let trim = TrimRequest(token: token, committed: [stream[1].id], applied: [stream.producer: 1])
            #expect(
                throws: RedisError.server(code: "TALLYMILL", message: "a sequence is not below 2^53")
            ) { try scene.queue.trim(trim) }
        }
    }

    // MARK: Permissions

    /// Every function, with every write denied in turn: it does all of its work, or none.
    @Test(arguments: ["hset", "hdel", "rpush", "ltrim", "del", "set"])
    func aDeniedWriteLeavesEverythingAsItWas(denied: String) throws {
        let server = try RedisServer()
        _ = try server.connect().command(
            RedisCommand("ACL", "SETUSER", "bob", "on", ">pw", "~*", "+@all", "-" + denied))  // always OK
        let url = RedisURL(address: .unix(path: server.socket), user: "bob", password: Secret("pw"))
        var refused: Set<String> = []
        for (name, writes, call) in calls {
            let scene = try Scene(on: server, creates: name != "create")
            let bob = try ACLScene(scene, stream, RedisConnection(RedisLink(url: url)))
            if name != "create" { try bob.prepare(isSealed: name == "collect") }
            let before = try scene.image()
            let topology = try scene.keys.readTopology()
            if try refusalCode({ try call(bob) }) != nil {
                refused.insert(name)
                #expect(try scene.image() == before, "\(name) without \(denied)")
                #expect(try scene.keys.readTopology() == topology)
            }
            #expect(refused.contains(name) == writes.contains(denied), "\(name) without \(denied)")
        }
    }

    /// What bob, who lacks a permission, asks for.
    private struct ACLScene {
        let scene: Scene
        let stream: Stream
        let connection: RedisConnection
        let queue: PartitionQueue
        let keys: ClusterKeys

        init(_ scene: Scene, _ stream: Stream, _ connection: RedisConnection) throws {
            self.scene = scene
            self.stream = stream
            self.connection = connection
            queue = PartitionQueue(connection: connection, names: scene.names, partition: Scene.partition)
            keys = ClusterKeys(connection: connection, names: scene.names)
        }

        /// A batch in the list, somebody behind, and a lease with the token 5.
        func prepare(isSealed: Bool) throws {
            if !isSealed { #expect(try scene.push(stream[1]) == .ok(applied: 0)) }
            #expect(try scene.push(Stream(producer: 2)[5], floor: 4) == .behind(applied: 0))
            _ = try scene.call("claim", ["h", "o", "60000", "5", Topology.ofTests.ownerText].map { Array($0.utf8) })
            if isSealed { #expect(try scene.keys.seal(Scene.partition) == .sealed) }
        }

        func push(_ batch: Batch, floor: Int) throws {
            let chain = [batch.chain.before, batch.chain.through].map { link in
                (0..<8).map { UInt8(truncatingIfNeeded: link >> ($0 * 8)) }
            }
            let arguments =
                [batch.id.stream.producer.bytes.array]
                + ["\(batch.id.sequence)", "\(floor)", "1000000"].map { Array($0.utf8) }
                + [batch.bytes, Array(Topology.ofTests.ownerText.utf8)] + chain
            _ = try scene.call("push", over: connection, arguments)
        }
    }

    /// Name, the writes that it cannot do without, and the call.
    private var calls: [(String, Set<String>, (ACLScene) throws -> Void)] {
        [
            ("push", ["rpush", "hset"], { try $0.push($0.stream[2], floor: 0) }),
            ("push of a duplicate", ["hset"], { try $0.push($0.stream[1], floor: 0) }),
            ("push behind", ["hset"], { try $0.push($0.stream[10], floor: 9) }),
            (
                "heartbeat behind", ["hset"],
                {
                    _ = try $0.scene.call(
                        "heartbeat", over: $0.connection,
                        [$0.stream.producer.bytes.array, Array("9".utf8), Array(Topology.ofTests.ownerText.utf8)])
                }
            ),
            (
                "compare", ["hset"],
                {
                    let floor = $0.stream.producer.bytes.array + [UInt8](repeating: 1, count: 14) + [0, 0]
                    _ = try $0.scene.call(
                        "compare", over: $0.connection, [Array(Topology.ofTests.ownerText.utf8), floor])
                }
            ),
            (
                "claim", ["hset"],
                { _ = try $0.queue.claim(host: "h", owner: "o", milliseconds: 1, topology: .ofTests) }
            ),
            ("renew", ["hset"], { _ = try $0.queue.renew(token: 5, milliseconds: 1) }),
            ("release", ["hdel"], { _ = try $0.queue.release(token: 5) }),
            (
                "trim", ["hset", "ltrim"],
                {
                    _ = try $0.queue.trim(
                        TrimRequest(
                            token: 5, committed: [$0.stream[1].id],
                            applied: [$0.stream.producer: 1, Stream(producer: 2).producer: 4]))
                }
            ),
            (
                "create", ["hset"],
                {
                    _ = try $0.keys.create(
                        Scene.partition, shard: Scene.shard, topology: .ofTests, applied: [$0.stream.producer: 3])
                }
            ),
            ("seal", ["hset"], { _ = try $0.queue.seal() }),
            ("collect", ["del"], { _ = try $0.keys.collect(Scene.partition) }),
            ("bury", ["hset", "ltrim"], { _ = try $0.keys.bury($0.stream[1].bytes, in: Scene.partition) }),
            (
                "topology", ["set"],
                { _ = try $0.keys.publish(Topology(cluster: .ofTests, epoch: 1, partitions: 1)) }
            ),
        ]
    }

    /// Which keys are somebody's is a permission, too: one on `meta` alone seeds no watermarks.
    @Test func createAsksForEveryKeyThatItWrites() throws {
        let server = try RedisServer()
        let scene = try Scene(on: server, creates: false)
        let group = scene.names.group(of: Scene.partition)
        var rules = RedisCommand("ACL", "SETUSER", "bob", "on", ">pw", "+@all")
        for key in [group.queue, group.seqs, group.meta] { rules.append("~" + key) }
        rules.append("%R~" + group.applied)
        #expect(try scene.connection.command(rules) == .status("OK"))
        let url = RedisURL(address: .unix(path: server.socket), user: "bob", password: Secret("pw"))
        let keys = ClusterKeys(connection: try RedisConnection(RedisLink(url: url)), names: scene.names)
        let code = try refusalCode {
            _ = try keys.create(
                Scene.partition, shard: Scene.shard, topology: .ofTests, applied: [stream.producer: 3])
        }
        #expect(code == "NOPERM")
        #expect(try scene.image() == [.null, .null, .null, .null])
    }
}
