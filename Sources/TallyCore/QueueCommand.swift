// What a producer asks of Redis: the actions of its state machine. A delivery sends a list of them as one pipeline.

/// One command of a flight.
public enum QueueCommand: Hashable, Sendable {
    /// - floor: the highest `applied` that the producer ever saw for the partition.
    /// - limitBytes: what the list may hold before it is full.
    case push(Batch, floor: UInt64, limitBytes: Int)
    case heartbeat(StreamID)
    case readTopology

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
    /// No answer: the command may or may not have been executed, now or later.
    case unknown
}
