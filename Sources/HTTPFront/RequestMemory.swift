// What the connections of one event loop hold: requests that have not arrived in full, and answers that nobody takes.
// An idle connection holds nothing, and a request that arrives in one piece needs nothing of it, so small requests are
// served however full it is. Allocated bytes are counted, not used ones.

/// The bytes that connections hold, against their bound.
struct RequestMemory {
    let bytesMax: Int
    private(set) var heldBytes = 0

    /// A loop's share: room for four of the longest requests, or one could starve itself.
    init(_ limits: HTTPLimits, loops: Int) {
        bytesMax = max(limits.memoryBytes / loops, 4 * (limits.bodyBytes + limits.headerBytes))
    }

    /// Who holds much is not read on.
    var isTight: Bool { heldBytes >= bytesMax - bytesMax / 4 }

    /// Nobody may hold more.
    var isFull: Bool { heldBytes >= bytesMax }

    mutating func change(by bytes: Int) {
        heldBytes += bytes
        precondition(heldBytes >= 0, "connections gave back more memory than they had")
    }
}
