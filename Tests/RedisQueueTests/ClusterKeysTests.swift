// The administration's side: what is created once, sealed for good, never lowered, and only collected when it is empty.

import RedisQueue
import TestSupport
import Testing

@testable import TallyCore

@Suite struct ClusterKeysTests {
    let stream = Stream()
    let cluster = ClusterID(Bytes16(high: 1, low: 2))

    @Test func createOnlyCreates() throws {
        let scene = try Scene(creates: false)
        #expect(try scene.keys.create(Scene.partition, shard: Scene.shard) == .created)
        #expect(
            try scene.dump().meta
                == [
                    "state": "open", "shard": "0123456789abcdeffedcba9876543210", "bytes": "0", "token": "0",
                    "cluster": Topology.ofTests.ownerText,
                ])
        let other = ShardUUID(Bytes16(high: 7, low: 7))
        try scene.expectUnchanged(.existing(Scene.shard, sealed: false)) {
            try scene.keys.create(Scene.partition, shard: other)
        }
        #expect(try scene.keys.seal(Scene.partition) == .sealed)
        try scene.expectUnchanged(.existing(Scene.shard, sealed: true)) {
            try scene.keys.create(Scene.partition, shard: Scene.shard)
        }
    }

    @Test func createRefusesARestOfAGroup() throws {
        let scene = try Scene(creates: false)
        let group = scene.names.group(of: Scene.partition)
        _ = try scene.connection.command(RedisCommand("RPUSH", group.queue, "x"))  // the new length
        try scene.expectUnchanged {
            let message = "keys of the group are left without \(group.meta): they come and go together"
            #expect(throws: RedisError.server(code: "TALLYMILL", message: message)) {
                try scene.keys.create(Scene.partition, shard: Scene.shard)
            }
        }
    }

    @Test func sealAndCollect() throws {
        let scene = try Scene(creates: false)
        #expect(try scene.keys.seal(Scene.partition) == .noTopology)
        #expect(try scene.keys.collect(Scene.partition) == .noTopology)
        #expect(try scene.keys.create(Scene.partition, shard: Scene.shard) == .created)
        #expect(try scene.push(stream[1]) == .ok(applied: 0))
        try scene.expectUnchanged(.open) { try scene.keys.collect(Scene.partition) }
        #expect(try scene.keys.seal(Scene.partition) == .sealed)
        try scene.expectUnchanged(.sealed) { try scene.keys.seal(Scene.partition) }
        try scene.expectUnchanged(.filled(batches: 1)) { try scene.keys.collect(Scene.partition) }
        let request = TrimRequest(
            token: try scene.claim().token, committed: [stream[1].id], applied: [stream.producer: 1])
        #expect(try scene.queue.trim(request) == .trimmed(batches: 1))
        #expect(try scene.keys.collect(Scene.partition) == .collected)
        #expect(try scene.image() == [.null, .null, .null, .null])
        #expect(try scene.push(stream[2]) == .noTopology)
    }

    @Test func inspection() throws {
        let scene = try Scene(creates: false)
        #expect(try scene.keys.inspect(Scene.partition) == .noTopology)
        #expect(try scene.keys.create(Scene.partition, shard: Scene.shard) == .created)
        let empty = Inspection(
            shard: Scene.shard, sealed: false, length: 0, bytes: 0, duplicates: 0, token: 0, lease: nil, head: [])
        try scene.expectUnchanged(.group(empty)) { try scene.keys.inspect(Scene.partition) }

        #expect(try scene.push(stream[1]) == .ok(applied: 0))
        #expect(try scene.push(stream[1]) == stream.duplicate(last: 1))
        guard
            case .granted(let claim) = try scene.queue.claim(
                host: "h", owner: "me", milliseconds: 60_000, topology: .ofTests)
        else { throw Unanswered(text: "not granted") }
        #expect(try scene.keys.seal(Scene.partition) == .sealed)
        guard case .group(let found) = try scene.keys.inspect(Scene.partition), let lease = found.lease else {
            throw Unanswered(text: "no lease")
        }
        #expect(lease.owner == "me" && lease.host == "h" && (1...60_000).contains(lease.millisecondsLeft))
        let expected = Inspection(
            shard: Scene.shard, sealed: true, length: 1, bytes: 200, duplicates: 1, token: claim.token, lease: lease,
            head: Array(stream[1].bytes.prefix(128)))
        #expect(found == expected)
        let header = try found.head.withUnsafeBytes { try BatchHeader(reading: $0) }
        #expect(header.frozenAt == 1_700_000_000_001)
        #expect(try scene.queue.release(token: claim.token) == .ok)
        guard case .group(let released) = try scene.keys.inspect(Scene.partition) else {
            throw Unanswered(text: "no group")
        }
        #expect(released.lease == nil && released.token == claim.token)
    }

    @Test func theTopologyIsNeverLowered() throws {
        let scene = try Scene(creates: false)
        #expect(try scene.keys.readTopology() == nil)
        let second = Topology(cluster: cluster, epoch: 2, partitions: 8)
        #expect(try scene.keys.publish(second) == .published)
        #expect(try scene.keys.publish(second) == .published)
        #expect(try scene.keys.publish(Topology(cluster: cluster, epoch: 1, partitions: 4)) == .newer(second))
        #expect(try scene.keys.readTopology() == second)
        #expect(try scene.queue.readTopology() == second)
        #expect(scene.producer.deliver([.readTopology]).answers == [.topology(second)])
        let third = Topology(cluster: cluster, epoch: 3, partitions: 2)
        #expect(try scene.keys.publish(third) == .published)
        #expect(try scene.keys.readTopology() == third)
    }

    @Test func theTopologyIsOneClusters() throws {
        let scene = try Scene(creates: false)
        #expect(try scene.keys.publish(Topology(cluster: cluster, epoch: 2, partitions: 8)) == .published)
        let key = scene.names.topology
        let otherCluster = ClusterID(Bytes16(high: 3, low: 4))
        #expect(
            throws: RedisError.server(
                code: "OTHERCLUSTER", message: "\(key) belongs to cluster \(cluster), not to \(otherCluster)")
        ) { try scene.keys.publish(Topology(cluster: otherCluster, epoch: 9, partitions: 8)) }
        #expect(
            throws: RedisError.server(code: "OTHERPARTITIONS", message: "epoch 2 has 8 partitions, not 9")
        ) { try scene.keys.publish(Topology(cluster: cluster, epoch: 2, partitions: 9)) }
        #expect(try scene.keys.readTopology() == Topology(cluster: cluster, epoch: 2, partitions: 8))
    }

    @Test(arguments: ["", "x", "[]", "{}", #"{"cluster":1,"epoch":1,"partitions":1}"#])
    func aDamagedTopologyIsNotReplaced(text: String) throws {
        let scene = try Scene(creates: false)
        let key = scene.names.topology
        _ = try scene.connection.command(RedisCommand("SET", key, text))  // always OK
        let message = "\(key) cannot be read: delete it and run `tallymill repair`"
        #expect(throws: RedisError.server(code: "TALLYMILL", message: message)) {
            try scene.keys.publish(Topology(cluster: cluster, epoch: 1, partitions: 1))
        }
        #expect(try scene.connection.command(RedisCommand("GET", key)).text == text)
    }

    @Test func aTopologyKeyOfAnotherTypeIsRefused() throws {
        let scene = try Scene(creates: false)
        _ = try scene.connection.command(RedisCommand("RPUSH", scene.names.topology, "x"))  // the new length
        let topology = Topology(cluster: cluster, epoch: 1, partitions: 1)
        #expect(try refusalCode { _ = try scene.keys.publish(topology) } == "WRONGTYPE")
        #expect(try refusalCode { _ = try scene.keys.readTopology() } == "WRONGTYPE")
    }
}
