// Rollbacks of Redis, each counted and logged once by a node.
//
// Every event loop notices a rollback for itself, whenever it next asks Redis: at once after a reconnect, else within
// its heartbeat. What several loops notice within half a minute is one rollback; what the same loop notices twice is
// two.

import Synchronization

/// What the loops of one node have noticed.
final class RollbackEvents: Sendable {
    private struct Event {
        let beganAt: UInt64
        var loops: Set<Int>
    }

    static let joinMilliseconds: UInt64 = 30_000
    private let newest = Mutex<Event?>(nil)

    /// - Parameters:
    ///   - loop: which has noticed a rollback that it had not noticed before.
    ///   - now: monotonic milliseconds.
    /// - Returns: whether no other loop has told of it.
    func isNews(from loop: Int, at now: UInt64) -> Bool {
        newest.withLock { newest in
            if let event = newest, !event.loops.contains(loop), now < event.beganAt + Self.joinMilliseconds {
                newest?.loops.insert(loop)
                return false
            }
            newest = Event(beganAt: now, loops: [loop])
            return true
        }
    }
}
