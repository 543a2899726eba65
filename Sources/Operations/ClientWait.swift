// `applied` rises with a loss that is accepted, and tells `stored` to whoever waits for it. So what was pushed and
// never committed is declared lost only when every client that may wait for it was told what was really reached.

import Glibc
import TallyCore

/// For how long it takes until nobody waits any more for batches that are found missing now.
public struct ClientWait: Sendable {
    /// The longest wait of a client, and some more for its node to notice.
    public var milliseconds = Limits.waitMillisecondsMax + 5_000

    public init() {}

    /// Says so, and waits.
    public func run(_ tell: (String) -> Void) {
        tell(
            "waiting for \(milliseconds / 1_000) s: clients may be waiting for batches that were pushed and are gone,"
                + " and must not be told that these are stored")
        usleep(UInt32(milliseconds) * 1_000)
    }
}

extension [MissingBatches] {
    /// Whether somebody may be waiting for some of them; the others were stored, and told so.
    var mayBeAwaited: Bool { contains { $0.isNext && $0.reason == .pushed } }
}
