// One look at a running cluster, as `top` takes it every second: numbers as they are, without any comparison with an
// earlier look. What could not be read is nil, and a sentence among the problems says why.

public import TallyCore

/// A cluster at one moment.
public struct TopReading: Hashable, Sendable {
    public struct Partition: Hashable, Sendable {
        public let number: UInt32
        /// Batches in the list; nil if Redis does not tell, as with the next three.
        public var batches: Int?
        /// Bytes of them.
        public var bytes: Int?
        /// Age of the oldest batch in milliseconds, 0 if there is none.
        public var lagMilliseconds: Int?
        /// Who holds the lease; nil also if nobody does.
        public var owner: String?
        /// Increments that the shard has taken out of the list since the epoch began; nil if it is not here.
        public var counted: UInt64?
        /// Milliseconds since 1970; nil before the first, or if the shard is not here.
        public var lastCommitMilliseconds: UInt64?

        public init(number: UInt32) { self.number = number }
    }

    public struct Node: Hashable, Sendable {
        public let address: String
        /// nil if it does not answer.
        public let ledger: NodeLedger?
        /// Whether it admits requests; nil if it does not say.
        public let isReady: Bool?

        public init(address: String, ledger: NodeLedger?, isReady: Bool?) {
            self.address = address
            self.ledger = ledger
            self.isReady = isReady
        }
    }

    /// Of the monotonic clock, for rates.
    public let monotonicMilliseconds: UInt64
    /// Since 1970, for people.
    public let wallMilliseconds: Int64
    /// nil if neither the cluster file nor Redis tells.
    public var topology: Topology?
    /// By number.
    public var partitions: [Partition] = []
    public var nodes: [Node] = []
    /// Sentences without a full stop.
    public var problems: [String] = []

    public init(monotonicMilliseconds: UInt64, wallMilliseconds: Int64) {
        self.monotonicMilliseconds = monotonicMilliseconds
        self.wallMilliseconds = wallMilliseconds
    }
}
