// Looks at a web node: what its loops have counted, and the queues that it feeds.

import HTTPFront
public import Operations
import ServiceKit
import TallyCore
public import WebNode

/// The observer of a web node. Not after the node's `finish`.
public final class NodeObserver: Observer {
    private let node: WebNode
    private let queues: QueueWatch
    private let process: ProcessMetrics
    private var rate = Rate()
    private var gear = GearRatio()

    public init(_ node: WebNode, _ access: RedisAccess, _ build: Build) {
        self.node = node
        queues = QueueWatch(access)
        process = ProcessMetrics(role: "web", build: build)
    }

    public func look() -> any Look {
        // This waits for every loop: a loop that hangs keeps the watchdog hungry.
        let figures = NodeFigures(node.report())
        let now = MonotonicClock.nanoseconds()
        queues.look(at: figures.topology?.partitionIDs ?? [], now: now / 1_000_000)
        rate.update(figures.producer.increments, at: now)
        gear.update(increments: figures.producer.increments, entries: figures.producer.entries)
        return NodeLook(
            address: node.address, figures: figures, queues: queues.state, process: process,
            incrementsPerSecond: rate.perSecond, gearRatio: gear.value)
    }
}

/// A look at a web node.
struct NodeLook: Look {
    let address: Endpoint
    let figures: NodeFigures
    let queues: QueueState
    let process: ProcessMetrics
    let incrementsPerSecond: Double
    let gearRatio: Double

    var obstacle: String? { figures.refusal ?? queues.failure?.sentence }

    /// The loops have turned, or there would be no look.
    var hasProgressed: Bool { true }

    var line: String {
        if let refusal = figures.refusal { return "\(address): requests are refused: \(refusal)" }
        let closed = figures.closed.isEmpty ? "" : ", closed: partitions \(closedNumbers)"
        return "\(address): \(Humanized.quantity(incrementsPerSecond))/s, \(Humanized.count(figures.connections))"
            + " connections, outbox \(Humanized.bytes(figures.outboxBytes))\(closed)"
    }

    private var closedNumbers: String { PartitionList.text(figures.closed.map(\.partition)) }

    var closed: [ClosedReport] { figures.closed }

    func status() -> [UInt8] {
        var object = JSONObject()
        process.add(to: &object, obstacle: obstacle)
        object.add("address", "\(address)")
        object.add("cluster", figures.topology.map { "\($0.cluster)" })
        object.add("epoch", figures.topology?.epoch)
        object.add("increments_per_s", incrementsPerSecond)
        object.add("requests_accepted", figures.accepted.reduce(0, +))
        object.add("requests_rejected", figures.rejected.reduce(0) { $0 + $1.count })
        object.add("increments_accepted", figures.producer.increments)
        object.add("gear_ratio", gearRatio)
        object.add("waiting_requests", figures.waiting)
        object.add("connections", figures.connections)
        object.add("outbox_bytes", figures.outboxBytes)
        object.add("batches", figures.producer.batches)
        object.add("batches_replayed", figures.producer.replays)
        object.add("batches_duplicate", figures.producer.duplicates)
        object.add("redis_reachable", queues.isReachable)
        object.add("redis_fit", figures.isRedisFit)
        object.add("closed", closed.objects)
        object.add("queues", queues.json)
        return Array(object.text.utf8)
    }

    func metrics() -> [UInt8] {
        var page = MetricPage()
        process.add(to: &page, isReady: obstacle == nil)
        queues.add(to: &page)
        figures.add(to: &page)
        page.add(.gearRatio, .fraction(gearRatio))
        return page.text
    }
}

/// The loops together.
struct NodeFigures: Sendable {
    private(set) var accepted = [UInt64](repeating: 0, count: Level.allCases.count)
    private(set) var rejected: [(reason: String, count: UInt64)] = []
    private(set) var producer = Producer.Statistics()
    private(set) var pushes = LatencyHistogram()
    private(set) var expired: UInt64 = 0
    private(set) var disconnections: UInt64 = 0
    private(set) var rollbacks: UInt64 = 0
    private(set) var waiting = 0
    private(set) var connections = 0
    private(set) var closedForOthers: UInt64 = 0
    private(set) var outboxBytes = 0
    /// Why all requests are refused on one loop at least.
    private(set) var refusal: String?
    private(set) var isRedisFit = true
    /// Partitions that one loop at least refuses requests for, each once.
    private(set) var closed: [ClosedReport] = []
    /// The newest of the loops'.
    private(set) var topology: Topology?

    init(_ loops: [LoopReport]) {
        var front = FrontStatistics()
        var refused: [RefusalReason: UInt64] = [:]
        for loop in loops {
            for level in accepted.indices { accepted[level] += loop.statistics.accepted[level] }
            refused.merge(loop.statistics.refused, uniquingKeysWith: +)
            front += loop.front
            producer += loop.producer
            pushes += loop.statistics.pushes
            expired += loop.statistics.expired
            disconnections += loop.statistics.disconnections
            rollbacks += loop.statistics.rollbacks
            waiting += loop.waiting
            connections += loop.connections
            outboxBytes += loop.outboxBytes
            refusal = refusal ?? loop.refusal
            if loop.refusalReason == .redisUnfit { isRedisFit = false }
            for partition in loop.closed where !closed.contains(where: { $0.partition == partition.partition }) {
                closed.append(partition)
            }
            if let newer = loop.topology, newer.epoch > topology?.epoch ?? 0 { topology = newer }
        }
        closed.sort { $0.partition < $1.partition }
        // All reasons, also those that have not occurred: a rate needs a beginning.
        closedForOthers = front.closedForOthers
        rejected = Rejection.allCases.map { ($0.rawValue, front.rejected[$0] ?? 0) }
        rejected += RefusalReason.allCases.map { ($0.rawValue, refused[$0] ?? 0) }
    }

    func add(to page: inout MetricPage) {
        page.add(
            .requestsAccepted,
            Level.allCases.map { .init(.whole(accepted[Int($0.rawValue)]), $0.description) })
        page.add(.requestsRejected, rejected.map { .init(.whole($0.count), $0.reason) })
        page.add(.redisFit, .flag(isRedisFit))
        page.add(
            .partitionsClosed,
            RefusalReason.ofPartitions.map { reason in
                .init(.count(closed.count { $0.reason == reason }), reason.rawValue)
            })
        page.add(.incrementsAccepted, .whole(producer.increments))
        page.add(.waiting, .count(waiting))
        page.add(.waitsExpired, .whole(expired))
        page.add(.connections, .count(connections))
        page.add(.connectionsClosed, .whole(closedForOthers))
        page.add(.batches, .whole(producer.batches))
        page.add(.batchEntries, .whole(producer.entries))
        page.add(.replays, .whole(producer.replays))
        page.add(.duplicates, .whole(producer.duplicates))
        page.add(.rollbacks, .whole(rollbacks))
        page.add(.outboxBytes, .count(outboxBytes))
        page.add(.pushes, .histogram(pushes))
        page.add(.disconnections, .whole(disconnections))
        page.add(.epoch, .whole(UInt64(topology?.epoch ?? 0)))
    }
}

extension [ClosedReport] {
    var objects: [JSONObject] {
        map { closed in
            var object = JSONObject()
            object.add("partition", closed.partition)
            object.add("reason", closed.sentence)
            return object
        }
    }
}

/// Increments a batch entry, between the last two looks that found new entries.
struct GearRatio {
    private(set) var value = 0.0
    private var increments: UInt64 = 0
    private var entries: UInt64 = 0

    mutating func update(increments: UInt64, entries: UInt64) {
        guard entries > self.entries else { return }
        value = Double(increments - self.increments) / Double(entries - self.entries)
        self.increments = increments
        self.entries = entries
    }
}
