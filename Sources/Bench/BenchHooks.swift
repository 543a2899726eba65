public import ServiceKit

/// What a run asks of the cluster and of its operator; the command knows how. All are called on one thread.
public struct BenchHooks {
    /// What waits in Redis.
    public struct Backlog: Hashable, Sendable {
        public let batches: Int
        /// Age of the oldest batch; nil if there is none.
        public let oldestSeconds: Double?

        public init(batches: Int, oldestSeconds: Double?) {
            self.batches = batches
            self.oldestSeconds = oldestSeconds
        }
    }

    /// Calls its second argument with every counter whose key begins with the first.
    public typealias Counters = ([UInt8], (_ key: [UInt8], _ value: Int64) -> Void) throws(Failure) -> Void

    /// Reads the totals; nil if they are not to be checked.
    let counters: Counters?
    /// Looks at the lists; nil if they cannot be looked at.
    let backlog: (() throws(Failure) -> Backlog)?
    /// Waits at most so many milliseconds for a wish to stop; returns how often it was asked for so far.
    let stopRequests: (Int) throws(Failure) -> Int

    public init(
        counters: Counters?, backlog: (() throws(Failure) -> Backlog)?,
        stopRequests: @escaping (Int) throws(Failure) -> Int
    ) {
        self.counters = counters
        self.backlog = backlog
        self.stopRequests = stopRequests
    }
}
