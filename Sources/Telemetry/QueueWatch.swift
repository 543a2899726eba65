// The queues as a role sees them, asked over a connection of their own, so that a look disturbs nobody who counts.

import Operations
import RedisQueue
import ServiceKit
import TallyCore

/// What was seen of the queues.
struct QueueState: Sendable {
    var queues: [QueueLook] = []
    /// Why Redis could not be asked; nil if it could, or was not asked yet.
    var failure: Failure?
    var wasAsked = false

    var isReachable: Bool { wasAsked && failure == nil }

    func add(to page: inout MetricPage) {
        page.add(.redisReachable, .flag(isReachable))
        page.add(.queueBatches, queues.map { .init(.count($0.batches), "\($0.partition)") })
        page.add(.queueBytes, queues.map { .init(.count($0.bytes), "\($0.partition)") })
        page.add(.behindProducers, queues.map { .init(.count($0.behind), "\($0.partition)") })
        page.add(.queueAge, queues.map { .init(.fraction($0.oldestSeconds ?? 0), "\($0.partition)") })
    }

    var json: [JSONObject] {
        queues.map { queue in
            var object = JSONObject()
            object.add("partition", queue.partition)
            object.add("batches", queue.batches)
            object.add("bytes", queue.bytes)
            object.add("lag_ms", queue.batches == 0 ? 0 : queue.oldestSeconds.map { Int($0 * 1_000) })
            object.add("owner", queue.owner)
            object.add("behind_producers", queue.behind)
            return object
        }
    }
}

/// Looks at queues again and again. Owned by the monitor's thread.
final class QueueWatch {
    /// Many partitions are asked less often: at most so many a second.
    private static let partitionsPerSecond: UInt64 = 100

    private let probe: BacklogProbe
    private var askedAt: UInt64 = 0
    private(set) var state = QueueState()

    init(_ access: RedisAccess) {
        probe = BacklogProbe(access)
    }

    /// - Parameter now: monotonic milliseconds.
    func look(at partitions: [PartitionID], now: UInt64) {
        let interval = 1_000 * UInt64(partitions.count) / Self.partitionsPerSecond
        if state.isReachable, now < askedAt + interval { return }
        askedAt = now
        state.wasAsked = true
        do throws(Failure) {
            state.queues = try probe.look(at: partitions)
            state.failure = nil
        } catch {
            state.queues = []
            state.failure = error
        }
    }
}
