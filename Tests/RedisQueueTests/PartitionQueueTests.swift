// The consumer's side: the lease and its token, peek's bounds, and trim, whatever is repeated, late or rolled back.

import RedisQueue
import TestSupport
import Testing

@testable import TallyCore

@Suite struct PartitionQueueTests {
    let stream = Stream()

    private func filled(_ count: Int, bytes: Int = 200) throws -> (scene: Scene, stream: Stream) {
        let scene = try Scene()
        let stream = Stream(bytes: bytes)
        let pushes = (1...UInt64(count)).map { stream[$0].pushed }
        #expect(scene.producer.deliver(pushes).answers.allSatisfy { $0 == .push(.ok(applied: 0)) })
        return (scene, stream)
    }

    private func claimed(_ scene: Scene, host: String, milliseconds: UInt64 = 60_000) throws -> ClaimReply {
        try scene.queue.claim(host: host, owner: "owner of \(host)", milliseconds: milliseconds, topology: .ofTests)
    }

    // MARK: Lease

    @Test func withoutAGroupThereIsNothingToHold() throws {
        let scene = try Scene(creates: false)
        try scene.expectUnchanged { () throws in
            #expect(try claimed(scene, host: "a") == .noTopology)
            #expect(try scene.queue.renew(token: 1, milliseconds: 1) == .noTopology)
            #expect(try scene.queue.release(token: 1) == .noTopology)
            #expect(try scene.queue.peek(bytes: 1, batches: 1) == .noTopology)
            #expect(try scene.queue.trim(TrimRequest(token: 1, committed: [], applied: [:])) == .noTopology)
        }
    }

    @Test func theLeaseIsHeldAgainstOtherHosts() throws {
        let scene = try Scene()
        guard case .granted(let first) = try claimed(scene, host: "a") else { throw Unanswered(text: "held") }
        #expect(first == Claim(token: first.token, shard: Scene.shard, sealed: false, applied: [:]))
        try scene.expectUnchanged {
            guard case .held(let owner, let left) = try claimed(scene, host: "b") else {
                throw Unanswered(text: "granted twice")
            }
            #expect(owner == "owner of a")
            #expect((1...60_000).contains(left))
        }
        // The same host may: the lock on the file decides there.
        guard case .granted(let second) = try claimed(scene, host: "a") else { throw Unanswered(text: "held") }
        #expect(try scene.queue.renew(token: first.token, milliseconds: 1_000) == .fenced)
        #expect(try scene.queue.release(token: first.token) == .fenced)
        #expect(try scene.queue.release(token: second.token) == .ok)
        guard case .granted(let third) = try claimed(scene, host: "b") else { throw Unanswered(text: "held") }
        #expect(Set([first.token, second.token, third.token]).count == 3)
    }

    /// How a consumer knows that the one before it was killed.
    @Test func aLeaseThatWasNotGivenBackIsStillThere() throws {
        let scene = try Scene()
        #expect(try !scene.queue.isLeaseLeft())
        guard case .granted(let first) = try claimed(scene, host: "a", milliseconds: 1) else {
            throw Unanswered(text: "held")
        }
        // It runs out, and nobody gives it back.
        #expect(
            try waitUntil {
                if case .granted = try claimed(scene, host: "b", milliseconds: 1) { return true }
                return false
            })
        #expect(try scene.queue.isLeaseLeft())
        guard case .granted(let last) = try claimed(scene, host: "b") else { throw Unanswered(text: "held") }
        #expect(try scene.queue.release(token: first.token) == .fenced && scene.queue.isLeaseLeft())
        #expect(try scene.queue.release(token: last.token) == .ok && !scene.queue.isLeaseLeft())
    }

    @Test func anExpiredLeaseIsNobodys() throws {
        let scene = try Scene()
        guard case .granted(let first) = try claimed(scene, host: "a", milliseconds: 30) else {
            throw Unanswered(text: "held")
        }
        var answer = ClaimReply.noTopology
        let isGranted = try waitUntil {
            answer = try claimed(scene, host: "b")
            if case .granted = answer { return true }
            return false
        }
        #expect(isGranted)
        guard case .granted(let claim) = answer else { throw Unanswered(text: "\(answer)") }
        #expect(claim.token != first.token)
    }

    @Test func aRenewedLeaseLastsLonger() throws {
        let scene = try Scene()
        guard case .granted(let claim) = try claimed(scene, host: "a", milliseconds: 1) else {
            throw Unanswered(text: "held")
        }
        // Run out, and nobody took it: still ours.
        #expect(try scene.queue.renew(token: claim.token, milliseconds: 60_000) == .ok)
        guard case .held = try claimed(scene, host: "b") else { throw Unanswered(text: "not held") }
    }

    @Test func aClaimTellsWhatWasApplied() throws {
        let (scene, stream) = try filled(3)
        let other = Stream(producer: 2)
        #expect(try scene.push(other[1]) == .ok(applied: 0))
        let token = try scene.claim().token
        let applied = [stream.producer: UInt64(3), other.producer: 1]
        let ids = (1...3).map { stream[$0].id } + [other[1].id]
        #expect(
            try scene.queue.trim(TrimRequest(token: token, committed: ids, applied: applied)) == .trimmed(batches: 4))
        #expect(try scene.keys.seal(Scene.partition) == .sealed)
        let claim = try scene.claim()
        #expect(claim == Claim(token: claim.token, shard: Scene.shard, sealed: true, applied: applied))
    }

    @Test func namesAreBounded() throws {
        let scene = try Scene()
        for name in ["", String(repeating: "x", count: 256)] {
            try scene.expectUnchanged { () throws in
                #expect(
                    throws: RedisError.server(code: "TALLYMILL", message: "host and owner have 1 to 255 bytes")
                ) { try scene.queue.claim(host: name, owner: "o", milliseconds: 1, topology: .ofTests) }
            }
        }
        guard case .granted = try claimed(scene, host: String(repeating: "x", count: 245)) else {
            throw Unanswered(text: "held")
        }
    }

    // MARK: Peek

    @Test func aPeekIsBoundedByBytesAndBatches() throws {
        let (scene, stream) = try filled(300)
        let all = (1...300).map { stream[$0].bytes }
        #expect(try scene.peeked().batches == all)
        #expect(try scene.peeked(bytes: 1).batches == [all[0]])
        #expect(try scene.peeked(bytes: 599).batches == Array(all[..<2]))
        #expect(try scene.peeked(bytes: 600).batches == Array(all[..<3]))
        #expect(try scene.peeked(batches: 7).batches == Array(all[..<7]))
        let peeked = try scene.peeked(bytes: 200 * 150)
        #expect(peeked == Peeked(shard: Scene.shard, sealed: false, batches: Array(all[..<150]), length: 300, time: 0))
    }

    @Test func aPeekReadsOnBehindWhatItSkips() throws {
        let (scene, stream) = try filled(300)
        let all = (1...300).map { stream[$0].bytes }
        #expect(try scene.peeked(skip: 1, bytes: 600).batches == Array(all[1..<4]))
        #expect(try scene.peeked(skip: 140, batches: 150).batches == Array(all[140..<290]))
        #expect(try scene.peeked(skip: 290).batches == Array(all[290...]))
        #expect(try scene.peeked(skip: 299, bytes: 1).batches == [all[299]])
        for skip in [300, 301, 1 << 52] {
            #expect(
                try scene.peeked(skip: skip)
                    == Peeked(shard: Scene.shard, sealed: false, batches: [], length: 300, time: 0))
        }
    }

    @Test func anEmptyQueueIsAnAnswer() throws {
        let scene = try Scene()
        #expect(try scene.peeked() == Peeked(shard: Scene.shard, sealed: false, batches: [], length: 0, time: 0))
        #expect(try scene.keys.seal(Scene.partition) == .sealed)
        #expect(try scene.peeked().sealed)
    }

    // MARK: Trim

    @Test func aTrimPopsWhatIsCommittedFromTheHead() throws {
        let (scene, stream) = try filled(5)
        let token = try scene.claim().token
        // 4 is committed too, but 3 lies before it.
        let request = TrimRequest(
            token: token, committed: [4, 2, 1].map { stream[$0].id }, applied: [stream.producer: 2])
        #expect(try scene.queue.trim(request) == .trimmed(batches: 2))
        var dump = try scene.dump()
        #expect(dump.queue == (3...5).map { stream[$0].bytes })
        #expect(dump.meta["bytes"] == "600")
        #expect(dump.applied == [stream.producer: 2])
        try scene.expectUnchanged(.trimmed(batches: 0)) { try scene.queue.trim(request) }

        let rest = TrimRequest(
            token: token, committed: (3...5).map { stream[$0].id }, applied: [stream.producer: 5])
        #expect(try scene.queue.trim(rest) == .trimmed(batches: 3))
        dump = try scene.dump()
        #expect(dump.queue == [])
        #expect(dump.meta["bytes"] == "0")
        #expect(dump.applied == [stream.producer: 5])
    }

    @Test func aWatermarkIsNeverLowered() throws {
        let (scene, stream) = try filled(3)
        let token = try scene.claim().token
        let first = TrimRequest(token: token, committed: [], applied: [stream.producer: 3])
        #expect(try scene.queue.trim(first) == .trimmed(batches: 0))
        try scene.expectUnchanged { () throws in
            let late = TrimRequest(token: token, committed: [], applied: [stream.producer: 1])
            #expect(try scene.queue.trim(late) == .trimmed(batches: 0))
        }
    }

    @Test func anotherTokenIsFenced() throws {
        let (scene, stream) = try filled(2)
        let old = try scene.claim().token
        let new = try scene.claim().token
        let ids = [stream[1].id]
        try scene.expectUnchanged { () throws in
            for token in [0, old, new + 1] {
                let request = TrimRequest(token: token, committed: ids, applied: [stream.producer: 1])
                #expect(try scene.queue.trim(request) == .fenced)
            }
        }
        let request = TrimRequest(token: new, committed: ids, applied: [stream.producer: 1])
        #expect(try scene.queue.trim(request) == .trimmed(batches: 1))
    }

    @Test func aTokenOfZeroIsFencedWhereNobodyClaimed() throws {
        let (scene, stream) = try filled(1)
        let request = TrimRequest(token: 0, committed: [stream[1].id], applied: [:])
        try scene.expectUnchanged(.fenced) { try scene.queue.trim(request) }
    }

    @Test func aTrimOfLargeBatchesInLargeNumbers() throws {
        let (scene, stream) = try filled(40, bytes: 100_000)
        let small = Stream(producer: 2, bytes: 130)
        let pushes = (1...UInt64(3000)).map { small[$0].pushed }
        #expect(scene.producer.deliver(pushes).answers.allSatisfy { $0 == .push(.ok(applied: 0)) })
        let token = try scene.claim().token
        let ids = (1...40).map { stream[$0].id } + (1...2999).map { small[$0].id }
        let request = TrimRequest(
            token: token, committed: ids, applied: [stream.producer: 40, small.producer: 2999])
        #expect(try scene.queue.trim(request) == .trimmed(batches: 3039))
        #expect(try scene.dump().queue == [small[3000].bytes])
        #expect(try scene.dump().meta["bytes"] == "130")
    }

    /// Redis went back to before the trim, and to before some pushes: pops are by identity, so nothing is lost.
    @Test func aTrimAfterARollbackPopsOnlyWhatIsCommitted() throws {
        let server = try RedisServer()
        var scene = try Scene(on: server)
        #expect(try scene.push(stream[1]) == .ok(applied: 0))
        let token = try scene.claim().token
        let copy = server.copyData()
        #expect(try scene.push(stream[2]) == .ok(applied: 0))
        let request = TrimRequest(
            token: token, committed: [stream[1].id, stream[2].id], applied: [stream.producer: 2])
        #expect(try scene.queue.trim(request) == .trimmed(batches: 2))

        try server.replaceData(with: copy)
        scene = try Scene(reconnecting: scene)
        let other = Stream(producer: 2)
        #expect(try scene.push(other[1]) == .ok(applied: 0))
        // Released up to 2: the producer goes on when the consumer has said that the shard holds as much.
        #expect(try scene.push(stream[3], floor: 2) == .behind(applied: 0))
        #expect(try scene.peeked().behind == [stream.id])
        #expect(try scene.queue.trim(request) == .trimmed(batches: 1))
        #expect(try scene.push(stream[3], floor: 2) == .ok(applied: 2))
        #expect(try scene.peeked().behind == [])
        #expect(try scene.queue.trim(request) == .trimmed(batches: 0))
        #expect(try scene.dump().queue == [other[1].bytes, stream[3].bytes])
        #expect(try scene.dump().meta["bytes"] == "400")
        #expect(try scene.dump().applied == [stream.producer: 2])
    }

    @Test func everyFunctionRefusesKeysOfAnotherType() throws {
        let (_, stream) = try filled(1)
        let calls: [(String, [Int], (Scene, UInt64) throws -> Void)] = [
            (
                "claim", [2, 3],
                { scene, _ in _ = try scene.queue.claim(host: "host-a", owner: "a", milliseconds: 1, topology: .ofTests)
                }
            ),
            ("renew", [3], { _ = try $0.queue.renew(token: $1, milliseconds: 1) }),
            ("release", [3], { _ = try $0.queue.release(token: $1) }),
            ("peek", [0, 3], { scene, _ in _ = try scene.queue.peek(bytes: 1, batches: 1) }),
            (
                "trim", [0, 2, 3],
                {
                    _ = try $0.queue.trim(
                        TrimRequest(token: $1, committed: [stream[1].id], applied: [stream.producer: 1]))
                }
            ),
            ("seal", [3], { scene, _ in _ = try scene.keys.seal(Scene.partition) }),
            ("collect", [0, 3], { scene, _ in _ = try scene.keys.collect(Scene.partition) }),
            ("bury", [0, 3], { scene, _ in _ = try scene.keys.bury(stream[1].bytes, in: Scene.partition) }),
            ("inspect", [0, 3], { scene, _ in _ = try scene.keys.inspect(Scene.partition) }),
            ("create", [3], { scene, _ in _ = try scene.keys.create(Scene.partition, shard: Scene.shard) }),
        ]
        for (name, touched, call) in calls {
            for index in touched {
                let (scene, _) = try filled(1)
                let token = try scene.claim().token
                if name == "collect" { _ = try scene.keys.seal(Scene.partition) }  // only then the list is read
                let key = scene.names.group(of: Scene.partition).all[index]
                _ = try scene.connection.command(RedisCommand("SET", key, "x"))  // always OK
                try scene.expectUnchanged { () throws in
                    #expect(try refusalCode { try call(scene, token) } == "WRONGTYPE", "\(name) \(key)")
                }
            }
        }
    }

    // MARK: Waiting

    @Test func aWaitEndsWithABatchOrWithoutOne() throws {
        let scene = try Scene()
        #expect(try !scene.queue.waitForBatch(milliseconds: 30))
        #expect(try scene.push(stream[1]) == .ok(applied: 0))
        #expect(try scene.push(stream[2]) == .ok(applied: 0))
        try scene.expectUnchanged(true) { try scene.queue.waitForBatch(milliseconds: 10_000) }
    }

    @Test func aWaitOutlastsTheCommandTimeout() throws {
        let scene = try Scene()
        let connection = try scene.server.connect(commandMilliseconds: 100)
        let queue = PartitionQueue(connection: connection, names: scene.names, partition: Scene.partition)
        #expect(try !queue.waitForBatch(milliseconds: 300))
        #expect(try scene.push(stream[1]) == .ok(applied: 0))
        #expect(try queue.waitForBatch(milliseconds: 300))
    }
}

extension Scene {
    /// The same keys over new connections, after the server was restarted.
    init(reconnecting scene: Scene) throws {
        server = scene.server
        names = scene.names
        connection = try server.connect()
        keys = ClusterKeys(connection: connection, names: names)
        producer = try ProducerQueue(connection: try server.connect(), names: names)
        queue = PartitionQueue(connection: try server.connect(), names: names, partition: Self.partition)
    }
}
