// What a producer asks of Redis: the actions of its state machine. A delivery sends a list of them as one pipeline.

/// One command of a flight.
public enum QueueCommand: Hashable, Sendable {
    /// - floor: the highest `applied` that the producer ever saw for the partition.
    /// - limitBytes: what the list may hold before it is full.
    /// - cluster: whose partition it is.
    case push(Batch, floor: UInt64, limitBytes: Int, cluster: ClusterID)
    case heartbeat(StreamID)
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
    /// nil: there is none.
    case topology(Topology?)
    /// Milliseconds since 1970; nil if Redis does not tell.
    case time(UInt64?)
    /// No answer: the command may or may not have been executed, now or later.
    case unknown
}
