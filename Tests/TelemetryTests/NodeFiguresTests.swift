// Every figure of every loop reaches the page, under its own name and no other.

import HTTPFront
import ServiceKit
import Testing

@testable import TallyCore
@testable import Telemetry
@testable import WebNode

@Suite struct NodeFiguresTests {
    /// Figures of which no two are alike, `factor` times those of a factor of 1.
    private func loop(
        _ factor: UInt64, epoch: UInt32, refusal: String? = nil, reason: RefusalReason? = nil,
        closed: [ClosedReport] = []
    ) -> LoopReport {
        var statistics = LoopStatistics()
        statistics.accepted = [2 * factor, 3 * factor, 5 * factor]
        statistics.refused = [.queueFull: 7 * factor, .outboxFull: 11 * factor]
        statistics.expired = 13 * factor
        statistics.disconnections = 17 * factor
        for _ in 0..<19 * factor { statistics.pushes.record(nanoseconds: 1_000_000) }
        var producer = Producer.Statistics()
        producer.requests = 23 * factor
        producer.increments = 29 * factor
        producer.batches = 31 * factor
        producer.entries = 37 * factor
        producer.replays = 41 * factor
        producer.duplicates = 43 * factor
        producer.gaps = 1
        producer.rollbacks = 3
        statistics.rollbacks = 47 * factor
        return LoopReport(
            statistics: statistics, producer: producer, front: FrontStatistics(), connections: Int(53 * factor),
            waiting: Int(59 * factor), outboxBytes: Int(61 * factor), isConnected: true,
            topology: Topology(cluster: ClusterID(Bytes16(high: 1, low: 2)), epoch: epoch, partitions: 4),
            refusal: refusal, refusalReason: reason, closed: closed)
    }

    private func page(_ figures: NodeFigures) -> [String] {
        var page = MetricPage()
        figures.add(to: &page)
        return String(decoding: page.text, as: UTF8.self).split(separator: "\n").map(String.init)
    }

    @Test func loopsAreAddedUp() {
        let lines = page(NodeFigures([loop(1, epoch: 3), loop(100, epoch: 2)]))
        let expected = [
            #"tallymill_requests_accepted_total{level="memory"} 202"#,
            #"tallymill_requests_accepted_total{level="queued"} 303"#,
            #"tallymill_requests_accepted_total{level="stored"} 505"#,
            #"tallymill_requests_rejected_total{reason="queue_full"} 707"#,
            #"tallymill_requests_rejected_total{reason="outbox_full"} 1111"#,
            #"tallymill_requests_rejected_total{reason="not_found"} 0"#,
            "tallymill_level_waits_expired_total 1313", "tallymill_redis_disconnections_total 1717",
            "tallymill_push_seconds_count 1919", "tallymill_increments_accepted_total 2929",
            "tallymill_batches_total 3131", "tallymill_batch_entries_total 3737",
            "tallymill_batches_replayed_total 4141", "tallymill_batches_duplicate_total 4343",
            "tallymill_redis_rollbacks_total 4747", "tallymill_connections 5353",
            "tallymill_level_waiting_requests 5959", "tallymill_outbox_bytes 6161", "tallymill_epoch 3",
            "tallymill_redis_fit 1", #"tallymill_partitions_closed{reason="shard_behind"} 0"#,
        ]
        for line in expected { #expect(lines.contains(line), "\(line)") }
    }

    @Test func oneLoopThatRefusesIsEnough() {
        #expect(NodeFigures([loop(1, epoch: 1), loop(1, epoch: 1, refusal: "no")]).refusal == "no")
        #expect(NodeFigures([loop(1, epoch: 1)]).refusal == nil)
    }

    /// A partition that two loops refuse counts once, and the node is ready for the others.
    @Test func partitionsThatAreClosed() {
        func closed(_ number: UInt32, _ reason: RefusalReason) -> ClosedReport {
            ClosedReport(partition: number, reason: reason, sentence: "\(reason.rawValue) \(number)")
        }
        let figures = NodeFigures([
            loop(1, epoch: 1, closed: [closed(2, .shardBehind), closed(5, .queueFull)]),
            loop(1, epoch: 1, closed: [closed(1, .shardBehind), closed(2, .shardBehind)]),
        ])
        #expect(figures.closed.map(\.partition) == [1, 2, 5])
        let lines = page(figures)
        for (reason, count) in [("shard_behind", 2), ("queue_full", 1), ("repair_due", 0), ("redis_refuses", 0)] {
            #expect(lines.contains(#"tallymill_partitions_closed{reason="\#(reason)"} \#(count)"#), "\(reason)")
        }
        let look = NodeLook(
            address: Endpoint(host: "127.0.0.1", port: 1), figures: figures, queues: QueueState(wasAsked: true),
            process: ProcessMetrics(role: "web", build: Build(version: "1", commit: "c")), incrementsPerSecond: 0,
            gearRatio: 0)
        #expect(
            look.readiness.json
                == #"{"ready":true,"closed":[{"partition":1,"reason":"shard_behind 1"},"#
                + #"{"partition":2,"reason":"shard_behind 2"},{"partition":5,"reason":"queue_full 5"}]}"#)
        #expect(look.line.hasSuffix(", closed: partitions 1-2,5"))
        let status = String(decoding: look.status(), as: UTF8.self)
        #expect(status.contains(#""redis_fit":true,"closed":[{"partition":1,"reason":"shard_behind 1"},"#))
    }

    @Test func aRedisThatIsNotFit() {
        let lines = page(NodeFigures([loop(1, epoch: 1), loop(1, epoch: 1, refusal: "x", reason: .redisUnfit)]))
        #expect(lines.contains("tallymill_redis_fit 0"))
    }

    @Test func theGearRatioIsThatOfTheLastEntries() {
        var gear = GearRatio()
        #expect(gear.value == 0)
        gear.update(increments: 10, entries: 5)
        #expect(gear.value == 2)
        gear.update(increments: 20, entries: 5)
        #expect(gear.value == 2)
        gear.update(increments: 110, entries: 6)
        #expect(gear.value == 100)
    }

    @Test func aRateNeedsTwoLooks() {
        var rate = Rate()
        rate.update(5, at: 1_000_000_000)
        #expect(rate.perSecond == 0)
        rate.update(25, at: 3_000_000_000)
        #expect(rate.perSecond == 10)
        // A count that falls is another process's.
        rate.update(1, at: 4_000_000_000)
        #expect(rate.perSecond == 10)
        rate.update(2, at: 5_000_000_000)
        #expect(rate.perSecond == 1)
    }
}
