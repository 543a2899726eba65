// Which connections are closed when there are as many as there may be and one more comes. Sockets cost their owner
// nothing: if whoever was first could stay, whoever opens many and does nothing would keep everybody else out.

/// The connections of one loop that may be closed for others, in the order in which they are. They are looked for
/// together, because looking costs as much as there are connections.
struct SpareConnections {
    private static let keptMax = 64
    /// The first is the last to be closed.
    private var found: [Connection] = []
    /// The sweep in which none was found.
    private var foundNoneAt: UInt64?

    /// - Parameter all: the connections of the loop.
    mutating func next(sweep: UInt64, of all: () -> [Connection]) -> Connection? {
        while let connection = found.popLast() {
            if connection.isSpare { return connection }
        }
        if foundNoneAt == sweep { return nil }
        found = all().filter(\.isSpare).sorted(by: Self.isKeptLonger)
        found.removeFirst(max(0, found.count - Self.keptMax))
        if found.isEmpty { foundNoneAt = sweep }
        return found.popLast()
    }

    private static func isKeptLonger(_ left: Connection, _ right: Connection) -> Bool {
        if left.isProven != right.isProven { return left.isProven }
        return left.provenAt == right.provenAt ? left.number > right.number : left.provenAt > right.provenAt
    }
}
