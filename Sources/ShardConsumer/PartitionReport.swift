// What a consumer tells of itself while it runs: its thread writes, whoever watches reads a copy.

public import ServiceKit
import Synchronization
public import TallyCore

/// A look at one partition's consumer. Counts begin with the process.
public struct PartitionReport: Hashable, Sendable {
    public enum State: Hashable, Sendable {
        case starting
        /// It holds the lease: batches go into the shard as they come.
        case consuming
        /// Nothing can be done for the moment.
        case waiting(reason: String)
    }

    public let partition: PartitionID
    public internal(set) var state = State.starting
    /// How many steps the loop has taken. It takes one every second, even if there is nothing to do; a transaction is
    /// one step.
    public internal(set) var steps: UInt64 = 0
    public internal(set) var batches: UInt64 = 0
    /// Increments that were added to counters.
    public internal(set) var increments: UInt64 = 0
    /// Batches that the shard had already.
    public internal(set) var skippedBatches: UInt64 = 0
    /// Increments whose idempotency key had been seen.
    public internal(set) var repeatedIncrements: UInt64 = 0
    /// Increments that went to the dead letters.
    public internal(set) var deadIncrements: UInt64 = 0
    /// How long transactions took, with their fsync.
    public internal(set) var commits = LatencyHistogram()
    /// Times that Redis failed, or refused.
    public internal(set) var redisFailures: UInt64 = 0
    /// Why Redis might lose what it confirms, as of the last connection; nil if it does not.
    public internal(set) var redisUnfit: String?

    /// Since when a reader has kept the shard's log from being copied into its file, in monotonic milliseconds; nil if
    /// none does.
    public internal(set) var logHeldSince: UInt64?

    init(_ partition: PartitionID) {
        self.partition = partition
    }

    mutating func add(_ applied: Applied, nanoseconds: UInt64) {
        batches += UInt64(applied.committed.count)
        increments += applied.applied.increments
        skippedBatches += UInt64(applied.skippedBatches)
        repeatedIncrements += applied.repeated.increments
        deadIncrements += applied.dead.increments
        commits.record(nanoseconds: nanoseconds)
    }
}

/// The report of a consumer that runs.
final class PartitionProgress: Sendable {
    private let report: Mutex<PartitionReport>

    init(_ partition: PartitionID) {
        report = Mutex(PartitionReport(partition))
    }

    var current: PartitionReport { report.withLock { $0 } }

    func update(_ change: (inout PartitionReport) -> Void) {
        report.withLock { change(&$0) }
    }
}
