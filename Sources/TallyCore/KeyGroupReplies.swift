// What the function library answers to those who look after the key groups: init, rebalance, repair, status, and a
// consumer that keeps its lease.

/// The answer to a consumer that renews or gives back its lease.
public enum LeaseReply: Hashable, Sendable {
    case ok
    /// The lease went to somebody else.
    case fenced
    case noTopology
}

/// The answer to the creation of a key group.
public enum CreateReply: Hashable, Sendable {
    case created
    /// It was there, for this shard.
    case existing(ShardUUID, sealed: Bool)
}

/// The answer to the sealing of a key group.
public enum SealReply: Hashable, Sendable {
    case sealed
    case noTopology
}

/// The answer to the deletion of an old key group.
public enum CollectReply: Hashable, Sendable {
    case collected
    /// Refused: not sealed.
    case open
    /// Refused: batches lie in its list.
    case filled(batches: Int)
    case noTopology
}

/// The answer to the burial of an entry.
public enum BuryReply: Hashable, Sendable {
    case buried
    /// Another entry is the oldest, or none: this one is gone already.
    case otherHead
    case noTopology
}

/// The answer to a new topology.
public enum PublishReply: Hashable, Sendable {
    /// It is the one in Redis now.
    case published
    /// Refused: Redis has a higher epoch.
    case newer(Topology)
}

/// Who holds a partition.
public struct Lease: Hashable, Sendable {
    /// The holder's label.
    public let owner: String
    public let host: String
    /// 0: it has run out.
    public let millisecondsLeft: UInt64
    public var isLive: Bool { millisecondsLeft > 0 }

    public init(owner: String, host: String, millisecondsLeft: UInt64) {
        self.owner = owner
        self.host = host
        self.millisecondsLeft = millisecondsLeft
    }
}

/// The state of a key group, for people.
public struct Inspection: Hashable, Sendable {
    public let shard: ShardUUID
    public let sealed: Bool
    /// Batches in the list.
    public let length: Int
    /// Bytes of those batches.
    public let bytes: Int
    /// Pushes that were duplicates.
    public let duplicates: UInt64
    /// Of the lease granted last, 0 if there was none.
    public let token: UInt64
    /// nil: never claimed, or given back.
    public let lease: Lease?
    /// What the shard seems to lack: by producer, the sequence through which it has released its batches.
    public let behind: [ProducerID: UInt64]
    /// The same of streams of earlier epochs. A rebalance leaves such notes until its new consumers have looked them
    /// up.
    public let earlier: [StreamID: UInt64]
    /// The first bytes of the oldest batch, enough for its header; empty if the list is.
    public let head: [UInt8]

    public init(
        shard: ShardUUID, sealed: Bool, length: Int, bytes: Int, duplicates: UInt64, token: UInt64, lease: Lease?,
        behind: [ProducerID: UInt64] = [:], earlier: [StreamID: UInt64] = [:], head: [UInt8]
    ) {
        self.shard = shard
        self.sealed = sealed
        self.length = length
        self.bytes = bytes
        self.duplicates = duplicates
        self.token = token
        self.lease = lease
        self.behind = behind
        self.earlier = earlier
        self.head = head
    }
}

/// The answer to an inspection.
public enum InspectReply: Hashable, Sendable {
    case group(Inspection)
    case noTopology
}
