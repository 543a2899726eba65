// How a producer notices that Redis has gone back in time: put back from a copy, failed over to a replica that lacked
// something, emptied.
//
// What Redis shows of a stream, its last sequence and its watermark, never falls as long as Redis keeps what it has
// confirmed; nor does its topology. Whatever falls is a rollback. It is met once for each partition, whenever that is
// asked next, and counts once: with the first sign all others are in doubt and are asked at once, and what is in doubt
// adds nothing by what it then shows. Answers that heal the same loss (a gap, a batch to be sent again) are not counted
// here; there may be many, or none.

/// What Redis has shown of a stream.
struct Shown: Hashable {
    var last: UInt64 = 0
    var applied: UInt64 = 0
    /// A rollback has been counted since it was last known in full.
    var isDoubted = false

    /// True if this is less than what was shown before, and no rollback that has been counted explains it.
    ///
    /// - Parameter last: nil if the answer does not tell it.
    mutating func falls(to last: UInt64?, applied: UInt64) -> Bool {
        let hasFallen = applied < self.applied || (last ?? self.last) < self.last
        let isNews = hasFallen && !isDoubted
        self.applied = applied
        if let last {
            self.last = last
            isDoubted = false
        } else if hasFallen {
            isDoubted = true
        }
        return isNews
    }
}

extension Producer {
    /// An answer shows what Redis has of a channel's stream.
    mutating func shows(last: UInt64? = nil, applied: UInt64, channel index: Int) {
        channels[index].isGroupMissing = false
        if channels[index].shown.falls(to: last, applied: applied) { countRollback(shownBy: index) }
    }

    /// The topology has been read, and it is not a newer one: those whose key groups were missing have lost them.
    ///
    /// - Parameter isOlder: whether it is gone, or from before the one in use.
    mutating func showsTopology(isOlder: Bool) {
        let isNews = isOlder && !isTopologyOlder && !isTopologyDoubted
        isTopologyOlder = isOlder
        if isNews { countRollback(shownBy: nil) }
        isTopologyDoubted = false
        for index in channels.indices where channels[index].isGroupMissing {
            shows(last: 0, applied: 0, channel: index)
        }
    }

    /// - Parameter channel: nil if the topology has shown it.
    private mutating func countRollback(shownBy channel: Int?) {
        statistics.rollbacks += 1
        isTopologyDoubted = channel != nil
        for index in channels.indices where index != channel {
            channels[index].shown.isDoubted = true
            channels[index].doubt()
        }
    }
}
