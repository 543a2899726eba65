// What `top` knows: the newest reading, the rates between the last two, and how far each partition was behind in the
// last sixty. It is a value without clocks and without a terminal: readings come in, figures come out.
//
// A rate is the difference of two totals over the time between them. Where the totals are not of the same thing (a new
// epoch, a node that was started again, a shard that was put back) there is none until the next reading.

public import TallyCore

/// The figures of the newest reading beside those before it.
public struct TopModel: Sendable {
    /// Readings that a partition's lag is remembered for.
    public static let historyCount = 60

    public struct Partition: Hashable, Sendable {
        public let reading: TopReading.Partition
        /// Increments a second; nil if it is not known.
        public let outRate: Double?
        /// In milliseconds, oldest first, at most `historyCount`; nil where it could not be read.
        public let lags: [Int?]
    }

    public struct Node: Hashable, Sendable {
        public let address: String
        /// Increments a second; nil if it is not known.
        public let inRate: Double?
        /// Increments that it has taken in and Redis has not confirmed; nil if it does not answer.
        public let unpushed: UInt64?
        /// Batches that it keeps because no shard has confirmed them; nil if it does not answer.
        public let held: UInt64?
        public let isReady: Bool?
    }

    /// Counts readings and partitions are compared with.
    private struct Before: Sendable {
        let milliseconds: UInt64
        let counted: [UInt32: UInt64]
        let admitted: [String: Admitted]
    }

    /// What a node has taken in: comparable with what the same producers took in for the same epoch.
    private struct Admitted: Hashable, Sendable {
        let producers: [ProducerID]
        let epochs: [UInt32]
        let increments: UInt64

        init(_ ledger: NodeLedger) {
            producers = ledger.producers.map(\.producer)
            epochs = ledger.producers.map(\.epoch)
            increments = ledger.producers.reduce(0) { sum, producer in
                producer.partitions.reduce(sum) { $0 &+ $1.admitted.increments }
            }
        }
    }

    public private(set) var topology: Topology?
    public private(set) var wallMilliseconds: Int64 = 0
    public private(set) var partitions: [Partition] = []
    public private(set) var nodes: [Node] = []
    public private(set) var problems: [String] = []
    /// How many readings were taken.
    public private(set) var readings = 0
    private var lags: [UInt32: [Int?]] = [:]
    private var before: Before?

    public init() {}

    /// Takes a reading over; they come in the order in which they were made.
    public mutating func take(_ reading: TopReading) {
        if let known = reading.topology, known != topology {
            lags = [:]
            if topology != nil { before = nil }
            topology = known
        }
        let now = Before(
            milliseconds: reading.monotonicMilliseconds,
            counted: Dictionary(
                uniqueKeysWithValues: reading.partitions.compactMap { partition in
                    partition.counted.map { (partition.number, $0) }
                }),
            admitted: Dictionary(
                reading.nodes.compactMap { node in node.ledger.map { (node.address, Admitted($0)) } },
                uniquingKeysWith: { first, _ in first }))
        partitions = reading.partitions.map { partition in
            let history = Array(
                ((lags[partition.number] ?? []) + [partition.lagMilliseconds]).suffix(Self.historyCount))
            lags[partition.number] = history
            return Partition(reading: partition, outRate: outRate(partition.number, now), lags: history)
        }
        nodes = reading.nodes.map { node($0, now) }
        problems = reading.problems
        wallMilliseconds = reading.wallMilliseconds
        readings += 1
        before = now
    }

    private func seconds(until now: Before) -> Double? {
        guard let before, now.milliseconds > before.milliseconds else { return nil }
        return Double(now.milliseconds - before.milliseconds) / 1_000
    }

    private func outRate(_ number: UInt32, _ now: Before) -> Double? {
        guard let seconds = seconds(until: now), let old = before?.counted[number], let new = now.counted[number],
            new >= old
        else { return nil }
        return Double(new - old) / seconds
    }

    private func node(_ node: TopReading.Node, _ now: Before) -> Node {
        var rate: Double?
        if let seconds = seconds(until: now), let old = before?.admitted[node.address],
            let new = now.admitted[node.address], old.producers == new.producers, old.epochs == new.epochs,
            new.increments >= old.increments
        {
            rate = Double(new.increments - old.increments) / seconds
        }
        let streams = node.ledger.map { $0.producers.flatMap(\.partitions) }
        return Node(
            address: node.address, inRate: rate,
            unpushed: streams.map { $0.reduce(0) { $0 &+ $1.unpushed.increments } },
            held: streams.map { $0.reduce(0) { $0 &+ ($1.frozen - min($1.stored, $1.frozen)) } },
            isReady: node.isReady)
    }

    // MARK: Totals

    /// Of the nodes that tell; nil if none does.
    public var inRate: Double? { Self.sum(nodes.map(\.inRate)) }

    /// Of the shards that are here; nil if none tells.
    public var outRate: Double? { Self.sum(partitions.map(\.outRate)) }

    /// Batches in all lists that could be read; nil if none could.
    public var batches: Int? { Self.sum(partitions.map(\.reading.batches)) }

    /// Bytes of them.
    public var bytes: Int? { Self.sum(partitions.map(\.reading.bytes)) }

    /// Age of the oldest batch of all in milliseconds.
    public var lagMilliseconds: Int? { partitions.compactMap(\.reading.lagMilliseconds).max() }

    private static func sum<Number: AdditiveArithmetic>(_ numbers: [Number?]) -> Number? {
        let known = numbers.compactMap(\.self)
        return known.isEmpty ? nil : known.reduce(.zero, +)
    }
}
