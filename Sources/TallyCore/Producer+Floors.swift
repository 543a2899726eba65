// What this producer has released of the streams that it left with a move.
//
// Nobody but the producer knows it where files and Redis are put back together: the files of the earlier epoch are then
// older than what they were seen to have, and a change of epoch makes new shards of them, which look whole. So the
// floors go with the producer. Each is compared with a shard of the new epoch, any of which has the watermarks of all
// the old ones; what it does not reach is noted in Redis, for its consumer to look up and for the operator to see.
//
// What was once known may be gone again, so nothing is struck off: after each reconnect, and wherever Redis shows that
// it went back, all of it is compared once more.

/// A floor of a stream of an earlier epoch.
struct EarlierFloor {
    let floor: StreamFloor
    /// Whether a shard of the present epoch is known to reach it.
    var isKnown = false
    /// Whether Redis was asked since it was last in doubt: what it does not know it has noted.
    var isTold = false
}

extension Producer {
    /// The floors of the channels that a move has left, and of those that they had left; of the newest epochs only.
    mutating func carryFloors(of old: [Channel]) {
        var floors = old.flatMap { $0.earlier.map(\.floor) }
        floors += old.filter { $0.floor > 0 }.map { StreamFloor(stream: $0.stream, sequence: $0.floor) }
        let epochs = Set(floors.map(\.stream.partition.epoch)).sorted().suffix(Limits.earlierEpochsMax)
        for floor in floors where epochs.contains(floor.stream.partition.epoch) {
            let index = Int(floor.stream.partition.number) % channels.count
            channels[index].earlier.append(EarlierFloor(floor: floor))
        }
        hasUnknownFloors = channels.contains { !$0.earlier.isEmpty }
    }

    /// Whether Redis knows of all that was released, so that nothing is missed when this producer ends.
    public var areFloorsTold: Bool {
        channels.allSatisfy { ($0.floor == 0 || $0.isFloorTold) && $0.earlier.allSatisfy { $0.isTold } }
    }

    /// What was known of them may not be true any more.
    mutating func doubtFloors() {
        for index in channels.indices where !channels[index].earlier.isEmpty {
            for place in channels[index].earlier.indices {
                channels[index].earlier[place] = EarlierFloor(floor: channels[index].earlier[place].floor)
            }
            channels[index].compareAt = 0
            hasUnknownFloors = true
        }
    }

    /// Asks for those that are not known.
    mutating func collectComparisons(_ now: UInt64, _ topology: Topology, _ commands: inout [QueueCommand]) {
        for index in channels.indices where now >= channels[index].compareAt {
            let unknown = channels[index].earlier.filter { !$0.isKnown }.map(\.floor)
            if unknown.isEmpty { continue }
            channels[index].compareAt = .max
            commands.append(.compare(unknown, in: channels[index].stream.partition, topology: topology))
        }
    }

    mutating func compared(
        _ floors: [StreamFloor], in partition: PartitionID, _ answer: QueueAnswer, _ now: UInt64
    ) {
        guard let index = index(of: partition) else { return }
        channels[index].compareAt = now + Limits.idleHeartbeatMilliseconds
        guard case .compared(.known(let known)) = answer else { return }
        let answers = Dictionary(zip(floors, known)) { $0 && $1 }
        for place in channels[index].earlier.indices {
            guard let isKnown = answers[channels[index].earlier[place].floor] else { continue }
            channels[index].earlier[place].isTold = true
            if isKnown { channels[index].earlier[place].isKnown = true }
        }
        hasUnknownFloors = channels.contains { $0.earlier.contains { !$0.isKnown } }
    }
}
