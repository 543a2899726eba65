// How safe an increment is when its request is answered.

/// The three promises of an answer, each including the ones before it.
public enum Level: UInt8, Comparable, CaseIterable, Hashable, Sendable, CustomStringConvertible {
    /// In the memory of the web node: lost when the node is killed.
    case memory = 0
    /// In the durable Redis list: counts exactly once, whatever dies.
    case queued = 1
    /// In the shard file: visible to `report`.
    case stored = 2

    /// The level named by `text`, exactly as the HTTP contract spells it, or nil.
    public init?(_ text: some StringProtocol) {
        switch text {
        case "memory": self = .memory
        case "queued": self = .queued
        case "stored": self = .stored
        default: return nil
        }
    }

    public static func < (left: Level, right: Level) -> Bool { left.rawValue < right.rawValue }

    public var description: String {
        switch self {
        case .memory: "memory"
        case .queued: "queued"
        case .stored: "stored"
        }
    }
}
