// Partitions that take nothing while others do: what clients, /readyz and the log are told, and when.

import ClusterSupport
import HTTPFront
import RedisQueue
import ServiceKit
import TestSupport
import Testing

@testable import TallyCore
@testable import WebNode

@Suite struct ClosedPartitionTests {
    private let producer = ProducerID(Bytes16(high: 0xAB, low: 0xCD))

    @Test func theSentenceOfAShardThatIsBehind() {
        let name = "00000000000000ab00000000000000cd"
        let refuser = Refuser(producer: producer, place: "unix:///r, namespace n", given: .none)
        let refusal = HTTPFront.Refusal(
            .shardBehind(partition: PartitionID(epoch: 2, number: 3), missing: 6...10), of: refuser)
        #expect(
            refusal
                == .unavailable(
                    reason: "the shard of partition 3 lacks batches 6-10 of producer \(name), which it had, unless its"
                        + " consumer stands still: `tallymill verify` shows what is missing; put the newest copy of the"
                        + " shard back, or run `tallymill repair --accept-loss e2.p3/\(name):6-10`",
                    retryAfterSeconds: 5))
    }

    @Test func oneLineWhenOneClosesAndOneWhenItIsOpen() {
        var told = ClosedPartitions()
        let one = PartitionID(epoch: 1, number: 1)
        let full = ClosedPartition(number: 1, refusal: .queueFull(partition: 1))
        let behind = ClosedPartition(number: 1, refusal: .shardBehind(partition: one, missing: 1...2))
        #expect(told.changes([], now: 0) == [])
        #expect(told.changes([full], now: 10) == [.closed(full)])
        #expect(told.changes([full], now: 20) == [])
        // A full list opens for a moment whenever something was taken from it.
        #expect(told.changes([], now: 30) == [])
        #expect(told.changes([full], now: 40) == [])
        // The numbers of a reason may change, another reason is news.
        #expect(told.changes([behind], now: 50) == [.closed(behind)])
        let more = ClosedPartition(number: 1, refusal: .shardBehind(partition: one, missing: 1...9))
        #expect(told.changes([more], now: 60) == [])
        #expect(told.changes([], now: 100) == [])
        #expect(told.changes([], now: 1_099) == [])
        #expect(!told.isEmpty)
        #expect(told.changes([], now: 1_100) == [.opened(1)])
        #expect(told.isEmpty)
    }

    @Test func aListOfManyIsCut() {
        let many = (0..<1_024).map { ClosedReport(partition: $0, reason: .queueFull, sentence: "full") }
        #expect(many.json.split(separator: "{").count == [ClosedReport].listedMax + 1)
        #expect([ClosedReport]().allClosed == nil)
    }

    /// The shard says that it has less than the node has released: closed, named, and open when that is mended.
    @Test func aShardThatIsBehind() throws {
        let fixture = try NodeFixture()
        try #require(waitUntil { fixture.isReady() })
        let id = fixture.producer
        let key = fixture.key(in: 0)
        for _ in 0..<3 { #expect(fixture.post(key).0 == 200) }
        // A consumer has all three; then file and list go back together, without the node.
        try trim(fixture, id, through: 3)
        try #require(waitUntil(seconds: 5) { fixture.node.report()[0].outboxBytes == 0 })
        for name in [fixture.group(0).applied, fixture.group(0).seqs] { try fixture.command("DEL", name) }

        // Taken into memory before the node can know; then the door is closed.
        #expect(fixture.post(key, wait: 0).0 == 202)
        try #require(waitUntil(seconds: 5) { fixture.post(key, level: "memory").0 == 503 })
        let (status, body) = fixture.post(key)
        #expect(status == 503)
        #expect(body.contains("the shard of partition 0 lacks batches 1-3 of producer \(id)"))
        #expect(body.contains("`tallymill repair --accept-loss e1.p0/\(id):1-3`"))
        #expect(fixture.post(fixture.key(in: 1)).0 == 200)
        let readiness = fixture.readiness()
        #expect(readiness?.status == 200)
        #expect(readiness?.text.contains(#""closed":[{"partition":0,"reason":"the shard of partition 0 lacks"#) == true)
        #expect(fixture.node.report()[0].closed.map(\.reason) == [.shardBehind])

        // The operator accepts the loss: the watermark is there again.
        try trim(fixture, id, through: 3)
        try #require(waitUntil(seconds: 10) { fixture.post(key).0 == 200 })
        #expect(fixture.readiness()?.text.contains("closed") == false)
        let opened = "info requests for a partition are admitted: 0"
        try #require(waitUntil(seconds: 10) { fixture.lines.count(opened) == 1 })
        #expect(
            fixture.lines.all.count { $0.hasPrefix("warning requests for a partition are refused: 0: the shard of") }
                == 1)
    }

    @Test func noPartitionIsLeft() throws {
        let fixture = try NodeFixture()
        try #require(waitUntil { fixture.isReady() })
        for partition: UInt32 in [0, 1] { try fixture.command("DEL", fixture.group(partition).meta) }
        for partition in [0, 1] { _ = fixture.post(fixture.key(in: partition), wait: 0) }  // 202: in memory
        try #require(waitUntil(seconds: 10) { !fixture.isReady() })
        let text = fixture.readiness()?.text ?? ""
        #expect(
            text.hasPrefix(
                #"{"ready":false,"reason":"no partition takes requests: partition 0 is closed or missing in Redis, or "#
                    + #"of another epoch than this node has seen: run `tallymill repair`","epoch":1,"#))
        #expect(text.contains(#""closed":[{"partition":0,"#))
        #expect(text.contains(#"{"partition":1,"#))
    }

    /// What a consumer does after a commit.
    private func trim(_ fixture: NodeFixture, _ id: ProducerID, through sequence: UInt64) throws {
        let partition = PartitionID(epoch: 1, number: 0)
        let queue = PartitionQueue(connection: fixture.redis, names: fixture.names, partition: partition)
        guard
            case .granted(let claim) = try queue.claim(
                host: "test", owner: "test", milliseconds: 60_000, topology: .ofTests)
        else { throw HarnessError("no lease") }
        let stream = StreamID(partition: partition, producer: id)
        let committed = (1...sequence).map { BatchID(stream: stream, sequence: $0) }
        let reply = try queue.trim(TrimRequest(token: claim.token, committed: committed, applied: [id: sequence]))
        guard case .trimmed = reply else { throw HarnessError("\(reply)") }
    }
}
