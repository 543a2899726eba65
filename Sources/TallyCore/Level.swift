/// How durable an increment is when its client is told so.
public enum Level: UInt8, Hashable, Sendable, Comparable, CaseIterable {
    /// In the node's memory.
    case memory
    /// Its batches are in Redis, which has fsynced them.
    case queued
    /// Committed in the shard.
    case stored

    /// The word used in requests and answers.
    public var text: String {
        switch self {
        case .memory: "memory"
        case .queued: "queued"
        case .stored: "stored"
        }
    }

    public static func < (left: Level, right: Level) -> Bool {
        left.rawValue < right.rawValue
    }
}
