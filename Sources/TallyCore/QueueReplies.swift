// What the function library answers. The Redis door decodes its replies into these, the simulator's model of Redis
// returns them directly, and the differential test holds the two against each other.

/// The answer to a push.
public enum PushReply: Hashable, Sendable {
    /// Appended.
    case ok(applied: UInt64)
    /// Was there already: as good as `ok`, if what Redis knows of the stream is what its producer sent. `last` is the
    /// last sequence that Redis has, `chain` the history through it, nil if it does not know.
    case duplicate(last: UInt64, chain: UInt64?, applied: UInt64)
    /// The partition belongs to an epoch that is being closed.
    case sealed(applied: UInt64)
    /// Something is missing before it: `last` is the last sequence that Redis knows.
    case gap(last: UInt64, applied: UInt64)
    /// The producer has released batches that neither the list has nor, as far as Redis knows, the shard.
    case behind(applied: UInt64)
    /// Redis has another batch under the sequence before it: somebody else uses the producer's id.
    case conflict
    /// The list holds more bytes than allowed.
    case full(applied: UInt64)
    /// No key group of this cluster: nothing is ever created implicitly.
    case noTopology
    /// Redis refused the command before it wrote anything (out of memory, read-only, loading); the text is its own.
    case refused(String)
}

/// What Redis knows of one stream.
public enum HeartbeatReply: Hashable, Sendable {
    case progress(last: UInt64, applied: UInt64)
    case noTopology
    case refused(String)
}

/// What the shard of a partition has of streams of earlier epochs.
public enum CompareReply: Hashable, Sendable {
    /// Whether it is known to reach each floor, in the order asked. What is not known is noted for the consumer.
    case known([Bool])
    case noTopology
    case refused(String)
}

/// A granted lease, and what the start check needs.
public struct Claim: Hashable, Sendable {
    /// A random number: no other lease has it.
    public let token: UInt64
    public let shard: ShardUUID
    public let sealed: Bool
    /// What Redis has seen committed, by producer.
    public let applied: [ProducerID: UInt64]

    public init(token: UInt64, shard: ShardUUID, sealed: Bool, applied: [ProducerID: UInt64]) {
        self.token = token
        self.shard = shard
        self.sealed = sealed
        self.applied = applied
    }
}

/// The answer to a consumer that asks for a partition's lease.
public enum ClaimReply: Hashable, Sendable {
    case granted(Claim)
    /// The partition belongs to another file: the lease is not for this one.
    case otherShard(ShardUUID)
    /// Somebody on another host holds it.
    case held(by: String, milliseconds: UInt64)
    case noTopology
}

/// The head of a queue.
public struct Peeked: Hashable, Sendable {
    public let shard: ShardUUID
    public let sealed: Bool
    /// Encoded batches, oldest first.
    public let batches: [[UInt8]]
    /// Batches in the whole list, those of `batches` included.
    public let length: Int
    /// Streams of which producers have released more than the shard is known to have: those of the partition itself,
    /// whose producers are refused, then those of earlier epochs; each in order.
    public let behind: [StreamID]
    /// Redis' time, in ms since 1970.
    public let time: UInt64

    public init(
        shard: ShardUUID, sealed: Bool, batches: [[UInt8]], length: Int, behind: [StreamID] = [], time: UInt64
    ) {
        self.shard = shard
        self.sealed = sealed
        self.batches = batches
        self.length = length
        self.behind = behind
        self.time = time
    }
}

/// The answer to a peek.
public enum PeekReply: Hashable, Sendable {
    case batches(Peeked)
    case noTopology
}

/// What was committed, for compare-and-pop.
public struct TrimRequest: Hashable, Sendable {
    public let token: UInt64
    /// The producer and sequence of each batch that may be popped.
    public let committed: [BatchID]
    /// The watermarks that the shard now holds.
    public let applied: [ProducerID: UInt64]
    /// Those of streams of earlier epochs that somebody has asked for.
    public let earlier: [StreamID: UInt64]

    public init(
        token: UInt64, committed: [BatchID], applied: [ProducerID: UInt64], earlier: [StreamID: UInt64] = [:]
    ) {
        self.token = token
        self.committed = committed
        self.applied = applied
        self.earlier = earlier
    }
}

/// The answer to a trim.
public enum TrimReply: Hashable, Sendable {
    case trimmed(batches: Int)
    /// The lease went to somebody else.
    case fenced
    case noTopology
}
