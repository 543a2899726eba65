// Looks at the consumers of a process: what they have committed, what waits for them, and what their shards hold.

public import Operations
import ServiceKit
public import ShardConsumer
import ShardStore
import TallyCore
import WebNode

/// The observer of the consumers of a process.
public final class ConsumerObserver: Observer {
    private let consumers: ShardConsumer
    /// In the order of the consumers' reports.
    private let shards: [ShardLocation]
    private let queues: QueueWatch
    private let process: ProcessMetrics
    private var rate = Rate()
    private var lastSteps: [UInt64] = []
    private var stalls: [StallWatch]

    public init(_ consumers: ShardConsumer, shards: [ShardLocation], _ access: RedisAccess, _ build: Build) {
        self.consumers = consumers
        self.shards = shards
        queues = QueueWatch(access)
        process = ProcessMetrics(role: "consumer", build: build)
        stalls = shards.map { _ in StallWatch() }
    }

    public func look() -> any Look {
        let reports = consumers.report()
        let now = MonotonicClock.nanoseconds()
        queues.look(at: shards.map(\.partition), now: now / 1_000_000)
        let partitions = reports.indices.map { index in
            let queue = queues.state.queues.first { $0.partition == reports[index].partition.number }
            let stalled = stalls[index].milliseconds(
                reports[index].batches, isWaiting: (queue?.batches ?? 0) > 0, now: now / 1_000_000)
            var figures = PartitionFigures(
                report: reports[index], queue: queue, shard: nil, stalledMilliseconds: stalled)
            figures.logHeldMilliseconds = reports[index].logHeldSince.map { now / 1_000_000 - $0 } ?? 0
            read(shards[index], into: &figures)
            return figures
        }
        rate.update(reports.reduce(0) { $0 + $1.increments }, at: now)
        let steps = reports.map(\.steps)
        let hasProgressed = lastSteps.isEmpty || zip(steps, lastSteps).allSatisfy { $0 != $1 }
        lastSteps = steps
        return ConsumerLook(
            partitions: partitions, queues: queues.state, process: process, incrementsPerSecond: rate.perSecond,
            hasProgressed: hasProgressed)
    }

    /// Its consumer says what is wrong with a shard that cannot be read.
    private func read(_ shard: ShardLocation, into figures: inout PartitionFigures) {
        guard let reader = try? ShardReader(at: shard.path, expecting: shard.expected) else { return }
        figures.shard = try? reader.statistics()  // as above
        guard let losses = try? reader.losses() else { return }  // as above
        figures.lost = Lost(losses.filter { $0.stream.partition == shard.partition })
    }
}

/// A look at the consumers of a process.
struct ConsumerLook: Look {
    /// How long batches may wait without any commit: longer than a transaction lasts.
    static let stallMilliseconds: UInt64 = 60_000

    let partitions: [PartitionFigures]
    let queues: QueueState
    let process: ProcessMetrics
    let incrementsPerSecond: Double
    let hasProgressed: Bool

    var closed: [ClosedReport] { [] }

    /// Why Redis might lose what it confirms. It is consumed all the same.
    var redisUnfit: String? { partitions.compactMap(\.report.redisUnfit).first }

    var obstacle: String? {
        for partition in partitions {
            let name = "partition \(partition.number)"
            switch partition.report.state {
            case .starting: return "\(name) is starting"
            case .waiting(let reason): return "\(name) waits: \(reason)"
            case .consuming: break
            }
            if partition.stalledMilliseconds >= Self.stallMilliseconds {
                let time = Humanized.duration(milliseconds: Int(partition.stalledMilliseconds))
                return "\(name) has committed nothing for \(time), and batches wait"
            }
        }
        return queues.failure?.sentence
    }

    var line: String {
        let name = partitions.count == 1 ? "partition \(partitions[0].number)" : "\(partitions.count) partitions"
        for partition in partitions {
            switch partition.report.state {
            case .starting: return "\(name): starting"
            case .waiting(let reason): return "partition \(partition.number): waiting: \(reason)"
            case .consuming: break
            }
        }
        let lag = partitions.map { Int(($0.queue?.oldestSeconds ?? 0) * 1_000) }.max() ?? 0
        let keys = partitions.reduce(0) { $0 + ($1.shard?.keys ?? 0) }
        return "\(name): lag \(Humanized.duration(milliseconds: lag)), \(Humanized.count(keys, "key")),"
            + " \(Humanized.quantity(incrementsPerSecond))/s"
    }

    func status() -> [UInt8] {
        var object = JSONObject()
        process.add(to: &object, obstacle: obstacle)
        object.add("increments_per_s", incrementsPerSecond)
        object.add("redis_reachable", queues.isReachable)
        object.add("redis_unfit", redisUnfit)
        object.add("partitions", partitions.map(\.json))
        return Array(object.text.utf8)
    }

    func metrics() -> [UInt8] {
        var page = MetricPage()
        process.add(to: &page, isReady: obstacle == nil)
        queues.add(to: &page)
        page.add(.redisFit, .flag(redisUnfit == nil))
        partitions.add(to: &page)
        return page.text
    }
}

/// How long batches have waited without a commit.
struct StallWatch {
    private var batches: UInt64 = 0
    private var since: UInt64?

    /// - Parameters:
    ///   - batches: committed so far.
    ///   - isWaiting: whether some wait.
    ///   - now: monotonic milliseconds.
    mutating func milliseconds(_ batches: UInt64, isWaiting: Bool, now: UInt64) -> UInt64 {
        guard isWaiting, batches == self.batches, let since else {
            self.batches = batches
            since = now
            return 0
        }
        return now - since
    }
}

/// What an operator has declared lost.
struct Lost: Hashable {
    private(set) var batches: UInt64 = 0
    /// As far as it is known.
    private(set) var increments: UInt64 = 0

    init(_ losses: [StreamLoss]) {
        for loss in losses {
            batches += loss.sequences.upperBound - loss.sequences.lowerBound + 1
            increments += loss.amount?.increments ?? 0
        }
    }
}

/// What was seen of one partition.
struct PartitionFigures: Sendable {
    let report: PartitionReport
    /// nil if Redis could not be asked.
    let queue: QueueLook?
    /// nil if the shard could not be read.
    var shard: ShardStatistics?
    var lost: Lost?
    /// How long batches have waited without a commit.
    let stalledMilliseconds: UInt64
    /// How long a reader has kept the shard's log from being copied into its file.
    var logHeldMilliseconds: UInt64 = 0

    var number: UInt32 { report.partition.number }

    var json: JSONObject {
        var object = JSONObject()
        object.add("partition", number)
        object.add("epoch", report.partition.epoch)
        switch report.state {
        case .starting: object.add("state", "starting")
        case .consuming: object.add("state", "consuming")
        case .waiting(let reason):
            object.add("state", "waiting")
            object.add("reason", reason)
        }
        object.add("queue_batches", queue?.batches)
        object.add("queue_bytes", queue?.bytes)
        object.add("lag_s", queue.map { $0.oldestSeconds ?? 0 })
        object.add("batches_applied", report.batches)
        object.add("increments_applied", report.increments)
        object.add("batches_skipped", report.skippedBatches)
        object.add("increments_repeated", report.repeatedIncrements)
        object.add("increments_dead", report.deadIncrements)
        object.add("dead_letters", shard?.deadLetters)
        object.add("claims", shard?.claims)
        object.add("behind_producers", queue?.behind)
        object.add("batches_lost", lost?.batches)
        object.add("increments_lost", lost?.increments)
        object.add("keys", shard?.keys)
        object.add("shard_bytes", shard?.fileBytes)
        object.add("shard_log_held_s", Double(logHeldMilliseconds) / 1_000)
        object.add("last_commit_ms", shard?.lastCommitMilliseconds)
        return object
    }
}

extension [PartitionFigures] {
    func add(to page: inout MetricPage) {
        page.add(.consuming, samples { .flag($0.report.state == .consuming) })
        page.add(.batchesApplied, samples { .whole($0.report.batches) })
        page.add(.incrementsApplied, samples { .whole($0.report.increments) })
        page.add(.batchesSkipped, samples { .whole($0.report.skippedBatches) })
        page.add(.incrementsRepeated, samples { .whole($0.report.repeatedIncrements) })
        page.add(.incrementsDead, samples { .whole($0.report.deadIncrements) })
        page.add(.commits, samples { .histogram($0.report.commits) })
        page.add(.consumerRedisFailures, samples { .whole($0.report.redisFailures) })
        page.add(.deadLetters, samples { $0.shard.map { .count($0.deadLetters) } })
        page.add(.claims, samples { $0.shard.map { .count($0.claims) } })
        page.add(.batchesLost, samples { $0.lost.map { .whole($0.batches) } })
        page.add(.incrementsLost, samples { $0.lost.map { .whole($0.increments) } })
        page.add(.shardKeys, samples { $0.shard.map { .count($0.keys) } })
        page.add(.shardBytes, samples { $0.shard.map { .count($0.fileBytes) } })
        page.add(.shardLogHeld, samples { .seconds(milliseconds: $0.logHeldMilliseconds) })
        page.add(.lastCommit, samples { $0.shard?.lastCommitMilliseconds.map { .seconds(milliseconds: $0) } })
    }

    /// One sample a partition; none for a partition without the value.
    private func samples(_ value: (PartitionFigures) -> MetricPage.Value?) -> [MetricPage.Sample] {
        compactMap { figures in value(figures).map { .init($0, "\(figures.number)") } }
    }
}
