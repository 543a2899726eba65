// Where a key was and where it goes when K changes. The jump hash moves keys only to new shards when K grows, and only
// those of vanishing shards when it shrinks; a key that would have to go anywhere else lies in a wrong shard.

import TallyCore

/// The two maps of a change of epoch.
struct Placement: Sendable {
    let old: Partitioner
    let new: Partitioner

    /// Whether no old shard vanishes.
    var keepsEveryShard: Bool { new.partitions >= old.partitions }

    /// The new shard of a key that was found in old shard `number`; nil if it does not belong there.
    func destination(ofHash hash: UInt64, foundIn number: Int) -> Int? {
        if keepsEveryShard {
            let place = new.partition(ofHash: hash)
            // What stays below the old K is where it was.
            if place < old.partitions { return place == number ? place : nil }
            return old.partition(ofHash: hash) == number ? place : nil
        }
        guard old.partition(ofHash: hash) == number else { return nil }
        return number < new.partitions ? number : new.partition(ofHash: hash)
    }
}
