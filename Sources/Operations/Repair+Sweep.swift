// The sweep: what lies in the lists of earlier epochs is sent to the current one.
//
// Such batches are left by a rollback: a list came back with entries that had been drained, or a node that started on a
// rolled-back topology pushed to a closed epoch. Each is adopted by a producer of our own, under the identity that it
// was frozen with first, so the shards recognise what they have; and it is popped from the old list only when it is
// stored. Killed anywhere, the next sweep sends the same batches again, which changes nothing.

import RedisQueue
import ServiceKit
import TallyCore

extension Repair {
    /// Seals and empties every list of an earlier epoch.
    ///
    /// - Throws: 65 if damaged batches are left where they lie.
    func sweep() throws(Failure) {
        let partitions = try clusterFile().earlier.flatMap(\.partitionIDs)
        let courier = Courier(access, patience: options.patience)
        // Redis may go back once more: then it lacks again what the courier waits for.
        courier.whileWaiting = { () throws(Failure) in try self.publishAgain() }
        let total = survey.due.reduce(0) { sum, due in
            if case .oldList(_, let batches, _) = due { sum + batches } else { sum }
        }
        let progress = ProgressLine("sweeping old lists", total: total)
        let say = tell
        tell = { line in
            progress.clear()
            say(line)
        }
        defer {
            progress.clear()
            tell = say
        }
        var done = 0
        var damaged: [(PartitionID, BatchError)] = []
        for partition in partitions {
            var swept = 0
            let left = try sweep(partition, courier) { batches in
                swept += batches
                progress.update(done: done + swept)
            }
            done += swept
            if swept > 0 {
                tell("swept \(Humanized.batches(swept)) of epoch \(partition.epoch), partition \(partition.number)")
            }
            if let left { damaged.append((partition, left)) }
        }
        if let (partition, error) = damaged.first {
            throw Failure(
                .corrupt, "the oldest batch in the list cannot be read: \(error.sentence)",
                at: access.names.group(of: partition).queue,
                advice: "It stays where it is, with those behind it. Keep the list; a newer release may read it.")
        }
    }

    /// Seals one list and empties it from its head.
    ///
    /// - Returns: what is wrong with the batch at its head, if the sweep ended before it.
    private func sweep(
        _ partition: PartitionID, _ courier: Courier, _ popped: (Int) -> Void
    ) throws(Failure) -> BatchError? {
        while true {
            let (sealed, peeked) = try ask { connection throws(RedisError) in
                let sealed = try ClusterKeys(connection: connection, names: access.names).seal(partition)
                let queue = PartitionQueue(connection: connection, names: access.names, partition: partition)
                return (sealed, try queue.peek(bytes: Limits.peekBytes, batches: Limits.peekBatches))
            }
            guard sealed == .sealed, case .batches(let head) = peeked else { return nil }
            if head.batches.isEmpty {
                if head.sealed { return nil }
                // Redis went back between the two: the list may take batches again.
                continue
            }
            var adopted: [BatchID] = []
            var damage: BatchError?
            for batch in head.batches {
                damage = try courier.adopt(batch)
                if damage != nil { break }
                adopted.append(Self.identity(of: batch))
            }
            if adopted.isEmpty { return damage }
            try courier.settle()
            _ = courier.takeStored()  // all of them are
            popped(try pop(adopted, from: partition))
        }
    }

    private static func identity(of batch: [UInt8]) -> BatchID {
        let header = batch.withUnsafeBytes { try? BatchHeader(reading: $0) }  // it was adopted, so it can be read
        guard let header else { preconditionFailure("an adopted batch has no header") }
        return header.id
    }

    /// Compare-and-pop; how many batches went. It says nothing about watermarks: no file of the old epoch has these.
    private func pop(_ batches: [BatchID], from partition: PartitionID) throws(Failure) -> Int {
        let host = try Host.identity()
        let (claimed, trimmed) = try ask { connection throws(RedisError) -> (ClaimReply, TrimReply?) in
            let queue = PartitionQueue(connection: connection, names: access.names, partition: partition)
            let claimed = try queue.claim(
                host: leftBehind(partition, connection) ?? host, owner: Host.owner,
                milliseconds: Limits.leaseMilliseconds, topology: survey.file.topology(of: partition))
            guard case .granted(let claim) = claimed else { return (claimed, nil) }
            let trimmed = try queue.trim(TrimRequest(token: claim.token, committed: batches, applied: [:]))
            _ = try queue.release(token: claim.token)  // whoever has the lease by now keeps it
            return (claimed, trimmed)
        }
        if case .held(let owner, _) = claimed {
            throw Failure(
                .locked, "\(owner) consumes partition \(partition.number) of epoch \(partition.epoch), which is closed",
                advice: "Stop it, then run this again.")
        }
        // Anything else: Redis went back, or somebody else took the lease; the next peek shows what is left.
        if case .trimmed(let count) = trimmed { return count } else { return 0 }
    }

    /// The host of a lease that its holder, a process of this machine, has not given back: a Redis that was put back
    /// may bring such a one with it. The lock on the shard file tells that the holder has ended.
    private func leftBehind(_ partition: PartitionID, _ connection: RedisConnection) throws(RedisError) -> String? {
        let keys = ClusterKeys(connection: connection, names: access.names)
        guard case .group(let group) = try keys.inspect(partition), let lease = group.lease else { return nil }
        let lock = folder.shardPath(partition, of: survey.file.topology(of: partition).partitions) + ".lock"
        return lease.isLeftBehind(lock: lock) ? lease.host : nil
    }

    /// Publishes again what a Redis that went back may lack by now. One that is away says so to the courier.
    private func publishAgain() throws(Failure) {
        do throws(Failure) {
            try publish()
        } catch  where error.code == .unavailable {}
    }
}

extension BatchError {
    /// What is wrong, for a message.
    var sentence: String {
        switch self {
        case .unreadable(let reason): reason
        case .damaged(_, let reason): reason
        case .newerVersion(let version): "it has format version \(version), this release reads \(BatchFormat.version)"
        }
    }
}
