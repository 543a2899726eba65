// What the log has been told of an outage. Whatever breaks again and again, and for reasons that take turns or differ
// by a number, is an outage that goes on: each reason is told once, and few of them, until somebody says that it is
// over. How often it is tried meanwhile does not matter to a disk.

/// The reasons that were told of one outage.
public struct OutageReasons<Reason: Hashable & Sendable>: Sendable {
    private var told: Set<Reason> = []

    public init() {}

    /// Whether `reason` is to be told now; it counts as told from now on.
    public mutating func isNews(_ reason: Reason) -> Bool {
        guard told.count < OutageBounds.reasonsMax else { return false }
        return told.insert(reason).inserted
    }

    /// The outage is over: the next one is told from its beginning.
    public mutating func end() {
        if !told.isEmpty { told.removeAll(keepingCapacity: true) }
    }
}

enum OutageBounds {
    /// So many lines are written about one outage: texts of a server may be different each time.
    static let reasonsMax = 4
}
