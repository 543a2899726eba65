// The queues as a role sees them, asked over a connection of their own, so that a look disturbs nobody who counts.

import Operations
import RedisQueue
import ServiceKit
import TallyCore

/// Looks at queues again and again. Owned by the monitor's thread.
final class QueueWatch {
    private let probe: BacklogProbe
    private let now: () -> UInt64
    private var lookedAt: UInt64?
    private(set) var queues: [QueueLook] = []
    /// Why the queues could not be looked at the last time; nil if they could.
    private(set) var failure: Failure?

    /// Many partitions are asked less often: at most so many a second.
    private static let partitionsPerSecond: UInt64 = 100

    /// - Parameter now: monotonic milliseconds.
    init(_ access: RedisAccess, now: @escaping () -> UInt64 = MonotonicClock.milliseconds) {
        probe = BacklogProbe(access)
        self.now = now
    }

    /// Whether the last look succeeded.
    var isReachable: Bool { lookedAt != nil && failure == nil }

    func look(at partitions: [PartitionID]) {
        let interval = 1_000 * UInt64(partitions.count) / Self.partitionsPerSecond
        if failure == nil, let lookedAt, now() < lookedAt + interval { return }
        do throws(Failure) {
            queues = try probe.look(at: partitions)
            failure = nil
        } catch {
            queues = []
            failure = error
        }
        lookedAt = now()
    }

    func add(to page: inout MetricPage) {
        page.add(.redisReachable, .flag(isReachable))
        page.add(.queueBatches, queues.map { .init(.count($0.batches), "\($0.partition)") })
        page.add(.queueBytes, queues.map { .init(.count($0.bytes), "\($0.partition)") })
        page.add(.queueAge, queues.map { .init(.fraction($0.oldestSeconds ?? 0), "\($0.partition)") })
    }

    var json: [JSONObject] {
        queues.map { queue in
            var object = JSONObject()
            object.add("partition", queue.partition)
            object.add("batches", queue.batches)
            object.add("bytes", queue.bytes)
            object.add("oldest_s", queue.oldestSeconds)
            object.add("owner", queue.owner)
            return object
        }
    }
}
