// The pages of one event loop, so that their cost does not grow with how often they are asked for. A page may take long
// to write - a ledger of many partitions half a millisecond - and the loop that writes it has increments to count. So a
// page is written once a turn at most, and kept for ten times as long as its writing took: a tenth of the loop's time
// goes into it, whatever is asked. A page that is written quickly is therefore never old.
//
// Nothing is kept beyond the service's version of its pages: `audit` asks Redis first and then the nodes, and a ledger
// from before may not show less than Redis knew.

import ServiceKit

/// What was written last.
struct PageCache {
    private struct Kept<Value> {
        let value: Value
        let turn: UInt64
        let version: UInt64
        /// Monotonic nanoseconds.
        let end: UInt64
    }

    private static let keptTimesCost: UInt64 = 10
    /// However long the writing took: the thread may have been held up meanwhile.
    private static let keptNanosecondsMax: UInt64 = 50_000_000

    private var pages: [Page: Kept<[UInt8]?>] = [:]
    private var readiness: (json: [UInt8], isReady: Bool, turn: UInt64)?
    private let clock: () -> UInt64

    /// - Parameter clock: monotonic nanoseconds.
    init(clock: @escaping () -> UInt64 = MonotonicClock.nanoseconds) {
        self.clock = clock
    }

    mutating func document(_ page: Page, turn: UInt64, version: UInt64, _ write: () -> [UInt8]?) -> [UInt8]? {
        let start = clock()
        if let kept = pages[page], kept.turn == turn || kept.version == version && start < kept.end {
            return kept.value
        }
        let value = write()
        let end = clock()
        let time = min(Self.keptTimesCost * (end - start), Self.keptNanosecondsMax)
        pages[page] = Kept(value: value, turn: turn, version: version, end: end + time)
        return value
    }

    /// Written once a turn: balancers want the present.
    mutating func readiness(turn: UInt64, _ look: () -> Readiness) -> (json: [UInt8], isReady: Bool) {
        if let readiness, readiness.turn == turn { return (readiness.json, readiness.isReady) }
        let seen = look()
        let json = Array(seen.json.utf8)
        readiness = (json, seen.isReady, turn)
        return (json, seen.isReady)
    }
}
