// Entries that no push has put into a list, and the operator who takes them away: he looks, and what he saw is taken
// away later, perhaps twice, when something else may lie there.

import TallyCore

/// What an operator has seen at the head of lists.
struct Garbage {
    var seen: [(partition: PartitionID, entry: [UInt8])] = []
}

extension World {
    func disturbLists() {
        guard mix.faults.contains(.garbage) else { return }
        if random.chance(0.008) {
            let partition = random.pick(topology.partitionIDs)
            let entry = Array("no batch \(now)".utf8)
            redis.groups[partition]?.queue.append(entry)
            redis.groups[partition]?.bytes += entry.count
            log("GARBAGE in \(partition)")
        }
        if random.chance(0.05) { lookAtHeads() }
        if !garbage.seen.isEmpty, random.chance(0.05) {
            let index = random.below(garbage.seen.count)
            let choice = garbage.seen[index]
            bury(choice.entry, in: choice.partition)
            // A command that was killed behind it is typed again, some time.
            if random.chance(0.5) { garbage.seen.remove(at: index) }
        }
    }

    /// Until no list begins with an entry that no consumer takes.
    func tidyLists() {
        guard mix.faults.contains(.garbage) else { return }
        garbage.seen = []
        lookAtHeads()
        for choice in garbage.seen { bury(choice.entry, in: choice.partition) }
    }

    private func lookAtHeads() {
        for partition in topology.partitionIDs {
            if let entry = redis.groups[partition]?.queue.first, Self.isGarbage(entry) {
                garbage.seen.append((partition, entry))
            } else {
                consume(partition)
            }
        }
    }

    /// A consumer that stopped is started again.
    private func consume(_ partition: PartitionID) {
        if consumers.contains(where: { $0.file.partition == partition && !$0.isDone }) { return }
        if let next = newConsumer(partition, host: "a") { consumers.append(next) }
    }

    private static func isGarbage(_ entry: [UInt8]) -> Bool {
        let read = entry.withUnsafeBytes { bytes in
            Result { () throws(BatchError) in try BatchHeader(reading: bytes) }
        }
        if case .failure(.unreadable) = read { return true }
        return false
    }

    private func bury(_ entry: [UInt8], in partition: PartitionID) {
        if mutation == .buryHead {
            if redis.groups[partition]?.queue.isEmpty == false { redis.groups[partition]?.queue.removeFirst() }
        } else {
            _ = redis.bury(entry, in: partition)  // something else may lie there by now
        }
        log("BURY in \(partition)")
        consume(partition)
    }
}
