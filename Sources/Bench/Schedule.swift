// When requests are due. Time comes in as nanoseconds of the monotonic clock.
//
// At a constant rate, request n is due at start + n / rate, whatever became of the others: a server that stalls finds
// the requests of the stall waiting, and their latencies count from when they were due. Nothing waits in memory for
// that: the next number says which requests are overdue.

/// The requests of one thread, in order.
struct Schedule {
    enum Kind: Hashable {
        /// This thread sends the requests `first`, `first + step`, ... of `total`, of which so many a second are due.
        case constant(perSecond: Int, total: Int, first: Int, step: Int)
        /// Whenever a connection is free, for so long.
        case flood(nanoseconds: UInt64)
        /// One on each of so many connections.
        case once(Int)
    }

    let kind: Kind
    private(set) var sent = 0
    private var startNanoseconds: UInt64?
    private var isStopped = false

    init(_ kind: Kind) {
        self.kind = kind
    }

    /// How many requests there are, nil for a flood.
    var count: Int? {
        switch kind {
        case .constant(_, let total, let first, let step): max(0, (total - first + step - 1) / step)
        case .flood: nil
        case .once(let count): count
        }
    }

    var hasStarted: Bool { startNanoseconds != nil }

    mutating func start(now: UInt64) {
        precondition(startNanoseconds == nil, "a schedule starts once")
        startNanoseconds = now
    }

    /// No further request is due.
    mutating func stop() { isStopped = true }

    /// Whether no further request will be due.
    func isOver(now: UInt64) -> Bool {
        if isStopped { return true }
        guard let startNanoseconds else { return false }
        if case .flood(let nanoseconds) = kind { return now >= startNanoseconds + nanoseconds }
        return sent == count
    }

    /// When the last request is due, or the flood ends; nil before the start.
    var endNanoseconds: UInt64? {
        guard let startNanoseconds else { return nil }
        switch kind {
        case .constant: return due(max(0, (count ?? 0) - 1))
        case .flood(let nanoseconds): return startNanoseconds + nanoseconds
        case .once: return startNanoseconds
        }
    }

    /// When the next request is due; nil if there is none, or the schedule has not started.
    func nextDue(now: UInt64) -> UInt64? {
        guard let startNanoseconds, !isOver(now: now) else { return nil }
        guard case .constant = kind else { return max(startNanoseconds, now) }
        return due(sent)
    }

    /// Takes the next request, if it is due: its intended time.
    mutating func take(now: UInt64) -> UInt64? {
        guard let due = nextDue(now: now), due <= now else { return nil }
        sent += 1
        return due
    }

    private func due(_ index: Int) -> UInt64 {
        guard let startNanoseconds, case .constant(let perSecond, _, let first, let step) = kind else {
            preconditionFailure("only requests at a constant rate have a time of their own")
        }
        let number = UInt64(first + index * step)
        let (seconds, rest) = number.quotientAndRemainder(dividingBy: UInt64(perSecond))
        return startNanoseconds + seconds * 1_000_000_000 + rest * 1_000_000_000 / UInt64(perSecond)
    }
}
