// What a producer asks of Redis: the actions of its state machine. A delivery sends a list of them as one pipeline.

/// One command of a flight.
public enum QueueCommand: Hashable, Sendable {
    /// - floor: the highest `applied` that the producer ever saw for the partition.
    /// - limitBytes: what the list may hold before it is full.
    /// - topology: whose partition it is, and one of how many.
    case push(Batch, floor: UInt64, limitBytes: Int, topology: Topology)
    /// Asks what Redis has of a stream of `topology`, and notes a floor that it does not reach.
    case heartbeat(StreamID, floor: UInt64, topology: Topology)
    /// Asks whether the shard of a partition of `topology` has what was released of streams of earlier epochs.
    case compare([StreamFloor], in: PartitionID, topology: Topology)
    /// Tells that there was an epoch that what Redis publishes knows nothing of.
    case noteEpoch(Topology)
    case readTopology
    /// Of Redis' clock.
    case readTime

    public var isPush: Bool {
        if case .push = self { true } else { false }
    }
}

/// The answer to the command of the same position.
public enum QueueAnswer: Hashable, Sendable {
    case push(PushReply)
    case heartbeat(HeartbeatReply)
    case compared(CompareReply)
    case epochNoted
    /// nil: there is none.
    case topology(Topology?)
    /// Milliseconds since 1970; nil if Redis does not tell.
    case time(UInt64?)
    /// No answer: the command may or may not have been executed, now or later.
    case unknown
}
