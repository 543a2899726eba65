// What a repair cannot bring back, and what it does when the operator has accepted that: each range is written into the
// shard as lost, in one transaction, and its watermark goes to the end of it; then Redis is told, for it refuses the
// producer until it knows. Killed in between, the same command does the rest: what is in the shard already is told to
// Redis once more. A running consumer may stay: it looks into its file whenever Redis refuses a producer.

import RedisQueue
import ServiceKit
import ShardConsumer
import ShardStore
import TallyCore

extension Repair {
    /// What is missing for good. Needs the functions of this release.
    func lookForMissing(_ file: ClusterFile) throws(Failure) -> [MissingBatches] {
        guard let counting = Self.counting(file) else { return [] }
        return try ToolRedis(access).look { keys throws(Failure) in
            try MissingBatches.find(counting, in: folder, keys) + MissingBatches.findElsewhere(file, in: folder, keys)
        }
    }

    /// The epoch whose shards take batches: while a change is under way, the one that is drained; nil before the first.
    private static func counting(_ file: ClusterFile) -> Topology? {
        if file.state == .ready { return file.topology }
        return file.earlier.last.map { old in
            Topology(cluster: file.topology.cluster, epoch: old.epoch, partitions: old.partitions)
        }
    }

    /// - Throws: 64 if something is to be accepted that is not missing, with what is, or that is missing in several
    ///   partitions, with all of them.
    func check(_ missing: [MissingBatches]) throws(Failure) {
        let file = try clusterFile()
        for choice in options.accepted where choice != .all {
            let named = missing.filter { choice.names($0) }
            if named.count > 1 {
                throw Failure(
                    .usage, "\(choice.text) is missing in several partitions", at: "--accept-loss",
                    advice: "Say in which:" + Self.choices(named))
            }
            if !named.isEmpty || losses(file).contains(where: { choice.names($0) }) { continue }
            throw Failure(
                .usage, "\(choice.text) is not missing, or not as a whole", at: "--accept-loss",
                advice: missing.isEmpty
                    ? "Nothing is missing in the shards that are here." : "Missing are:" + Self.choices(missing))
        }
    }

    private static func choices(_ missing: [MissingBatches]) -> String {
        missing.map { "\n    --accept-loss \($0.option)   (\($0))" }.joined()
    }

    func isAccepted(_ missing: MissingBatches) -> Bool { options.accepted.contains { $0.names(missing) } }

    /// Declares lost what was accepted, and lets every shard know what others know to be lost of earlier epochs.
    ///
    /// - Returns: what is still missing.
    func acceptLosses() throws(Failure) -> [MissingBatches] {
        let file = try clusterFile()
        let missing = try missingWhenNobodyWaits(file)
        let accepted = missing.filter { isAccepted($0) && $0.isNext }
        for range in accepted where !range.isOfEarlierEpoch {
            let counting = Self.counting(file) ?? file.topology
            try write([range.loss], into: folder.shard(range.partition.number, of: counting))
            tell("declared lost: \(range)")
        }
        let elsewhere = accepted.filter(\.isOfEarlierEpoch)
        if file.state == .ready { try spread(elsewhere.map(\.loss), file.topology) }
        for range in elsewhere { tell("declared lost: \(range)") }
        if !options.accepted.isEmpty { try tellRedis(file) }
        for choice in options.accepted where choice != .all && !missing.contains(where: { choice.names($0) }) {
            tell("declared lost before: \(choice.text)")
        }
        return missing.filter { !isAccepted($0) || !$0.isNext }
    }

    private func missingWhenNobodyWaits(_ file: ClusterFile) throws(Failure) -> [MissingBatches] {
        let missing = try lookForMissing(file)
        try check(missing)
        guard missing.filter({ isAccepted($0) }).mayBeAwaited else { return missing }
        options.clientWait.run(tell)
        let left = try lookForMissing(file)  // what came after all is not lost
        try check(left)
        return left
    }

    private func spread(_ accepted: [StreamLoss], _ topology: Topology) throws(Failure) {
        for shard in LossSpread(topology, in: folder, accepting: accepted).shards {
            try write(shard.lacking, into: shard.location)
            let isNews = shard.lacking.contains { loss in !accepted.contains { $0.stream == loss.stream } }
            if isNews {
                tell("partition \(shard.partition.number): wrote into its shard what was declared lost before")
            }
        }
    }

    /// - Throws: 3 if a loss of an earlier epoch was accepted and some shard is not here to learn of it.
    func checkThatEveryShardKnows() throws(Failure) {
        let file = try clusterFile()
        let isNamed = losses(file).contains { loss in
            loss.stream.partition.epoch < file.topology.epoch && options.accepted.contains { $0.names(loss) }
        }
        let absent = LossSpread(file.topology, in: folder).absent
        if !isNamed || absent.isEmpty { return }
        throw Failure(
            .partial,
            "what was declared lost of earlier epochs could not be written into the shards of partitions "
                + "\(PartitionList.text(absent)), which are not here or cannot be read", at: folder.path,
            advice: "Put them back, or go to the host that has them, and run the same command again. Until then they"
                + " would count what comes again of it.")
    }

    private func write(_ losses: [StreamLoss], into location: ShardLocation) throws(Failure) {
        if losses.isEmpty { return }
        try onStore { () throws(StoreError) in
            try ShardUpkeep.accept(
                losses, time: UInt64(WallClock.milliseconds()), at: location.path, expecting: location.expected)
        }
    }

    private func here(_ file: ClusterFile) -> [ShardLocation] {
        let counting = Self.counting(file) ?? file.topology
        return counting.partitionIDs.map { folder.shard($0.number, of: counting) }.filter { Folder.exists($0.path) }
    }

    /// What was declared lost before, in the shards that are here and can be read.
    private func losses(_ file: ClusterFile) -> [StreamLoss] {
        here(file).flatMap { location in
            (try? ShardReader(at: location.path, expecting: location.expected).losses()) ?? []  // `verify` says why
        }
    }

    /// Raises what Redis believes to be committed to what the shards hold, for streams with a loss that it was told to
    /// accept. Where a consumer runs, that is its own affair: it has the lease.
    private func tellRedis(_ file: ClusterFile) throws(Failure) {
        for location in here(file) {
            let lost: [ProducerID: UInt64] = try onStore { () throws(StoreError) in
                let reader = try ShardReader(at: location.path, expecting: location.expected)
                let named = try reader.losses().filter { loss in
                    loss.stream.partition == location.partition && options.accepted.contains { $0.names(loss) }
                }
                let records = try reader.records(of: location.partition)
                return named.reduce(into: [:]) { $0[$1.stream.producer] = records[$1.stream.producer]?.watermark }
            }
            if !lost.isEmpty { try raise(lost, location.partition) }
        }
    }

    private func raise(_ watermarks: [ProducerID: UInt64], _ partition: PartitionID) throws(Failure) {
        let host = try Host.identity()
        try ask { connection throws(RedisError) in
            let keys = ClusterKeys(connection: connection, names: access.names)
            let applied = try keys.watermarks(of: partition)
            guard watermarks.contains(where: { $1 > applied[$0] ?? 0 }) else { return }
            let queue = PartitionQueue(connection: connection, names: access.names, partition: partition)
            let claimed = try queue.claim(
                host: host, owner: Host.owner, milliseconds: Limits.leaseMilliseconds,
                topology: survey.file.topology(of: partition))
            guard case .granted(let claim) = claimed else { return }
            // Fenced: a consumer has come in between, which does the same at its start.
            _ = try queue.trim(TrimRequest(token: claim.token, committed: [], applied: watermarks))
            _ = try queue.release(token: claim.token)
        }
    }
}

extension Failure {
    /// What is left at the end of a repair.
    static func missing(_ missing: [MissingBatches], in folder: DataFolder) -> Failure {
        let gone = missing.filter { $0.reason == .pushed && $0.isNext }
        let own = missing.filter { !$0.isOfEarlierEpoch && $0.reason != .pushed && $0.isNext }
        let waiting = missing.filter { !$0.isNext }
        let elsewhere = missing.filter(\.isOfEarlierEpoch)
        var advice: [String] = []
        if !own.isEmpty {
            advice.append("Put back the newest copy of those files. If there is none, declare it lost:" + commands(own))
        }
        if !gone.isEmpty {
            advice.append(
                "Redis has lost them from its list, and the files are whole. Web nodes that still run hold them"
                    + " (`tallymill audit --node` says which): if nothing else lies in that list (LLEN is 0), delete"
                    + " its four keys, then run `tallymill repair`, and they send them again. What lies there may be"
                    + " nowhere else: then leave its keys, and put back the newest copy of Redis' data. If there is"
                    + " none, declare it lost:" + commands(gone))
        }
        if !elsewhere.isEmpty {
            advice.append(
                "Find the folder whose consumer counted what is missing of earlier epochs. What its counters have more"
                    + " than the retired files here may be imported, and nothing else of it. Then record it, so that"
                    + " it is not found again:"
                    + commands(elsewhere))
        }
        if !waiting.isEmpty {
            advice.append(
                "Other batches come before \(waiting.map(\.option).joined(separator: ", ")): start the consumer, which"
                    + " counts them and stops at the gap, then run this again.")
        }
        return Failure(
            .partial,
            "counts are missing:" + missing.map { "\n  \($0): they \($0.cause)" }.joined(),
            at: folder.path, advice: advice.joined(separator: "\n  "))
    }

    private static func commands(_ missing: [MissingBatches]) -> String {
        "\n    tallymill repair" + missing.map { " --accept-loss \($0.option)" }.joined()
    }
}
