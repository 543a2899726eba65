// What a web node can tell of itself: each loop counts for itself, without a lock, and is asked on its own thread.

public import HTTPFront
public import ServiceKit
public import TallyCore

/// What one loop has counted beside its producer.
public struct LoopStatistics: Hashable, Sendable {
    /// Requests that were admitted, by the level asked for.
    public internal(set) var accepted = [UInt64](repeating: 0, count: Level.allCases.count)
    /// Requests that were not.
    public internal(set) var refused: [RefusalReason: UInt64] = [:]
    /// Requests whose wait ran out before their level was reached: 202.
    public internal(set) var expired: UInt64 = 0
    /// How long pushes took, from the first byte sent to the last answer.
    public internal(set) var pushes = LatencyHistogram()
    /// Times that the connection to Redis was lost, or was not to be had.
    public internal(set) var disconnections: UInt64 = 0
    /// Rollbacks of Redis that this loop was the first to notice.
    public internal(set) var rollbacks: UInt64 = 0
}

/// A look at one loop.
public struct LoopReport: Sendable {
    public let statistics: LoopStatistics
    public let producer: Producer.Statistics
    public let front: FrontStatistics
    public let connections: Int
    /// Requests that wait for their level.
    public let waiting: Int
    /// What is compared with the bound of the outbox: batches and increments that no shard has confirmed, and requests
    /// that wait for their level.
    public let outboxBytes: Int
    public let isConnected: Bool
    public let topology: Topology?
    /// Why all requests are refused now; nil if they are not.
    public let refusal: String?
    /// Why, as a label.
    public let refusalReason: RefusalReason?
    /// Partitions that are closed while others take requests, in their order.
    public let closed: [ClosedReport]
}

/// A partition for which requests are refused.
public struct ClosedReport: Hashable, Sendable {
    public let partition: UInt32
    public let reason: RefusalReason
    /// A sentence without a full stop.
    public let sentence: String

    init(_ closed: ClosedPartition, of refuser: Refuser) {
        self.init(
            partition: closed.number, reason: RefusalReason(closed.refusal),
            sentence: refuser.sentence(closed.refusal))
    }

    public init(partition: UInt32, reason: RefusalReason, sentence: String) {
        self.partition = partition
        self.reason = reason
        self.sentence = sentence
    }
}

extension [ClosedReport] {
    /// So many are listed on a page that balancers fetch.
    static let listedMax = 100

    /// What is said when no partition is left.
    public var allClosed: String? { first.map { "no partition takes requests: \($0.sentence)" } }

    /// A JSON array of the first of them.
    public var json: String {
        let objects = prefix(Self.listedMax).map {
            #"{"partition":\#($0.partition),"reason":\#(JSONText.quote($0.sentence))}"#
        }
        return "[\(objects.joined(separator: ","))]"
    }
}

/// Why a request was not admitted, without the values: the label of a metric.
public enum RefusalReason: String, CaseIterable, Sendable {
    case noTopology = "no_topology"
    case draining
    case redisUnreachable = "redis_unreachable"
    case outboxFull = "outbox_full"
    case queueFull = "queue_full"
    case shardBehind = "shard_behind"
    case identityInUse = "identity_in_use"
    case redisUnfit = "redis_unfit"
    case repairDue = "repair_due"
    case redisRefuses = "redis_refuses"
    case otherCluster = "other_cluster"
    case sumOutOfRange = "sum_out_of_range"

    /// Those that close one partition.
    public static let ofPartitions: [RefusalReason] = [.queueFull, .shardBehind, .repairDue, .redisRefuses]

    init(_ refusal: TallyCore.Refusal) {
        switch refusal {
        case .noTopology: self = .noTopology
        case .draining: self = .draining
        case .redisUnreachable: self = .redisUnreachable
        case .outboxFull: self = .outboxFull
        case .queueFull: self = .queueFull
        case .shardBehind: self = .shardBehind
        case .identityInUse: self = .identityInUse
        case .redisUnfit: self = .redisUnfit
        case .repairDue: self = .repairDue
        case .redisRefuses: self = .redisRefuses
        case .otherCluster: self = .otherCluster
        case .sumOutOfRange: self = .sumOutOfRange
        }
    }
}

extension Readiness {
    /// What `/readyz` says of one loop.
    ///
    /// - Parameter refusal: why no request is admitted; nil if some are.
    init(refusal: String?, epoch: UInt32?, closed: [ClosedReport], outboxBytes: Int) {
        let reason = refusal.map { #","reason":\#(JSONText.quote($0))"# } ?? ""
        let list = closed.isEmpty ? "" : #","closed":\#(closed.json)"#
        self.init(
            isReady: refusal == nil,
            json: #"{"ready":\#(refusal == nil)\#(reason),"epoch":\#(epoch.map { "\($0)" } ?? "null"),"#
                + #""outbox_bytes":\#(outboxBytes)\#(list)}"#)
    }
}
