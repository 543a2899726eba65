// Every figure of a partition reaches the page; what the line for `systemctl status` says; when a queue stalls.

import HTTPFront
import ServiceKit
import Testing

@testable import Operations
@testable import ShardConsumer
@testable import ShardStore
@testable import TallyCore
@testable import Telemetry

@Suite struct ConsumerFiguresTests {
    private func figures(
        _ number: UInt32, _ state: PartitionReport.State = .consuming, lag: Double? = nil, keys: Int = 0,
        stalled: UInt64 = 0
    ) -> PartitionFigures {
        var report = PartitionReport(PartitionID(epoch: 1, number: number))
        report.state = state
        return PartitionFigures(
            report: report,
            queue: QueueLook(
                partition: number, batches: lag == nil ? 0 : 1, bytes: 9, oldestSeconds: lag, owner: nil, behind: 2),
            shard: ShardStatistics(
                keys: keys, total: 0, lastCommitMilliseconds: 1_500, deadLetters: 3, claims: 31, fileBytes: 4_096),
            lost: nil, stalledMilliseconds: stalled)
    }

    private func look(_ partitions: [PartitionFigures], perSecond: Double = 0) -> ConsumerLook {
        ConsumerLook(
            partitions: partitions, queues: QueueState(wasAsked: true),
            process: ProcessMetrics(role: "consumer", build: Build(version: "1", commit: "c")),
            incrementsPerSecond: perSecond, hasProgressed: true)
    }

    @Test func everyFigureHasItsOwnName() {
        var applied = Applied()
        applied.committed = [
            BatchID(
                stream: StreamID(
                    partition: PartitionID(epoch: 1, number: 3), producer: ProducerID(Bytes16(high: 1, low: 1))),
                sequence: 1)
        ]
        applied.applied = Amount(increments: 7, sum: 70)
        applied.repeated = Amount(increments: 11, sum: 0)
        applied.dead = Amount(increments: 13, sum: 0)
        applied.skippedBatches = 17
        var one = figures(3, keys: 19)
        var report = one.report
        report.add(applied, nanoseconds: 2_000_000_000)
        report.redisFailures = 23
        let stream = StreamID(partition: report.partition, producer: ProducerID(Bytes16(high: 1, low: 1)))
        let lost = Lost([
            StreamLoss(stream: stream, sequences: 6...10, amount: Amount(increments: 29, sum: 1)),
            StreamLoss(stream: stream, sequences: 12...12, amount: nil),
        ])
        one = PartitionFigures(report: report, queue: one.queue, shard: one.shard, lost: lost, stalledMilliseconds: 0)
        one.logHeldMilliseconds = 31_000
        var page = MetricPage()
        [one].add(to: &page)
        let lines = String(decoding: page.text, as: UTF8.self).split(separator: "\n").map(String.init)
        let expected = [
            #"tallymill_consumer_consuming{partition="3"} 1"#, #"tallymill_batches_applied_total{partition="3"} 1"#,
            #"tallymill_increments_applied_total{partition="3"} 7"#,
            #"tallymill_increments_repeated_total{partition="3"} 11"#,
            #"tallymill_increments_dead_total{partition="3"} 13"#,
            #"tallymill_batches_skipped_total{partition="3"} 17"#, #"tallymill_shard_keys{partition="3"} 19"#,
            #"tallymill_consumer_redis_failures_total{partition="3"} 23"#,
            #"tallymill_commit_seconds_count{partition="3"} 1"#, #"tallymill_commit_seconds_sum{partition="3"} 2.0"#,
            #"tallymill_dead_letters{partition="3"} 3"#, #"tallymill_claims{partition="3"} 31"#,
            #"tallymill_shard_bytes{partition="3"} 4096"#,
            #"tallymill_last_commit_timestamp_seconds{partition="3"} 1.5"#,
            #"tallymill_shard_log_held_seconds{partition="3"} 31.0"#,
            #"tallymill_batches_lost{partition="3"} 6"#, #"tallymill_increments_lost{partition="3"} 29"#,
        ]
        for line in expected { #expect(lines.contains(line), "\(line)") }
    }

    @Test func aShardThatCannotBeReadHasNoSamples() {
        let one = PartitionFigures(
            report: figures(0).report, queue: nil, shard: nil, lost: nil, stalledMilliseconds: 0)
        var page = MetricPage()
        [one].add(to: &page)
        let text = String(decoding: page.text, as: UTF8.self)
        #expect(!text.contains("tallymill_shard_keys"))
        #expect(text.contains("tallymill_batches_applied_total"))
    }

    @Test func theLineOfOnePartition() {
        let line = look([figures(3, lag: 0.2, keys: 8_123)], perSecond: 1_200).line
        #expect(line == "partition 3: lag 200 ms, 8,123 keys, 1.2 k/s")
    }

    @Test func theLineOfMany() {
        let line = look([figures(0, lag: 0.2, keys: 1), figures(1, lag: 61, keys: 2)], perSecond: 5).line
        #expect(line == "2 partitions: lag 1 m 01 s, 3 keys, 5/s")
    }

    @Test func theLineOfOneThatWaits() {
        let waiting = figures(1, .waiting(reason: "Redis is gone"))
        #expect(look([figures(0), waiting]).line == "partition 1: waiting: Redis is gone")
        #expect(look([figures(0), figures(1, .starting)]).line == "2 partitions: starting")
    }

    @Test func whatKeepsARoleFromBeingReady() {
        #expect(look([figures(0), figures(1)]).readiness.json == #"{"ready":true}"#)
        #expect(look([figures(0), figures(1, .starting)]).obstacle == "partition 1 is starting")
        #expect(look([figures(2, .waiting(reason: "x"))]).obstacle == "partition 2 waits: x")
        #expect(look([figures(0, stalled: 59_999)]).obstacle == nil)
        let stalled = look([figures(0, stalled: 60_000)])
        #expect(stalled.obstacle == "partition 0 has committed nothing for 1 m 00 s, and batches wait")
        #expect(!stalled.readiness.isReady)
        #expect(stalled.readiness.json == #"{"ready":false,"reason":"\#(stalled.obstacle ?? "")"}"#)
    }

    /// It is consumed all the same: what lies there is safer in the file.
    @Test func aRedisThatIsNotFit() {
        var report = figures(1).report
        report.redisUnfit = "no fsync"
        let unfit = look([
            figures(0), PartitionFigures(report: report, queue: nil, shard: nil, lost: nil, stalledMilliseconds: 0),
        ])
        #expect(unfit.readiness.isReady)
        #expect(String(decoding: unfit.status(), as: UTF8.self).contains(#""redis_unfit":"no fsync""#))
        #expect(String(decoding: unfit.metrics(), as: UTF8.self).contains("\ntallymill_redis_fit 0\n"))
        #expect(String(decoding: look([figures(0)]).metrics(), as: UTF8.self).contains("\ntallymill_redis_fit 1\n"))
    }

    @Test func producersThatAreBehind() {
        var queues = QueueState(wasAsked: true)
        queues.queues = [figures(4).queue].compactMap(\.self)
        var page = MetricPage()
        queues.add(to: &page)
        let text = String(decoding: page.text, as: UTF8.self)
        #expect(text.contains(#"tallymill_queue_behind_producers{partition="4"} 2"#))
    }

    @Test func aStallLastsUntilTheNextCommit() {
        var stall = StallWatch()
        #expect(stall.milliseconds(5, isWaiting: true, now: 100) == 0)
        #expect(stall.milliseconds(5, isWaiting: true, now: 900) == 800)
        #expect(stall.milliseconds(6, isWaiting: true, now: 1_000) == 0)
        #expect(stall.milliseconds(6, isWaiting: true, now: 1_500) == 500)
        #expect(stall.milliseconds(6, isWaiting: false, now: 1_600) == 0)
        #expect(stall.milliseconds(6, isWaiting: true, now: 1_700) == 100)
    }
}
