// How long to wait for empty queues: as long as it gets better. A consumer commits several times a second or, out of a
// long queue on a slow disk, every 25 s; so a minute without a new lowest number means that a person has to look at
// something.
//
// The lowest number counts, not the last: other web nodes may still push into the same Redis.

struct DrainPatience {
    enum Verdict: Hashable {
        case empty, wait, giveUp
    }

    static let patienceMilliseconds: UInt64 = 60_000

    private(set) var lowest: Int?
    private var progressed: UInt64

    init(now: UInt64) {
        progressed = now
    }

    /// - Parameter waiting: batches in the queues; nil if that could not be learnt.
    mutating func saw(_ waiting: Int?, now: UInt64) -> Verdict {
        if waiting == 0 { return .empty }
        if let waiting, waiting < lowest ?? .max {
            lowest = waiting
            progressed = now
        }
        return now >= progressed + Self.patienceMilliseconds ? .giveUp : .wait
    }
}
