// A second copy of the data folder, older than the cluster or of an epoch that it has left: a second host, or a disk
// that was put back. `init` is run from it, and its consumers, until the operator sees what he has done.

import TallyCore

/// A copy of the cluster file and of the shards of its epoch.
struct OtherFolder {
    /// Where its consumers run.
    static let host = "s"

    let cluster: ClusterFile
    let files: [PartitionID: ModelShard]
    var isServed = false
    /// What the right files held when Redis was made anew from them.
    var known: [PartitionID: [ProducerID: UInt64]] = [:]
    var stepsLeft = 0
}

extension World {
    func disturbFolders() {
        guard mix.faults.contains(.copies), tool == nil, isReady else { return }
        if folder?.isServed == true {
            folder?.stepsLeft -= 1
            if folder?.stepsLeft == 0 { leaveFolder() }
        } else if random.chance(folder == nil ? 0.01 : 0.001) {
            let copies = topology.partitionIDs.compactMap { files[$0]?.copy() }
            folder = OtherFolder(
                cluster: cluster, files: Dictionary(uniqueKeysWithValues: copies.map { ($0.partition, $0) }))
            log("COPY of the folder")
        } else if folder != nil, !operators.isRepairDue, random.chance(0.006) {
            serveFolder()
        }
    }

    /// Redis has lost everything, or not, and the wrong host is the first to come up.
    private func serveFolder() {
        guard let copy = folder else { return }
        let isMissed = random.chance(0.4)
        let isEmpty = random.chance(0.8)
        if isEmpty { flush() }
        // Sometimes the right host is repaired first, and the wrong one comes up all the same.
        if isMissed { publish(cluster, files) } else { publish(copy.cluster, copy.files) }
        for consumer in consumers where isMissed || random.chance(0.5) { consumer.frozenSteps += 100 }
        if random.chance(0.5) { now += Limits.leaseMilliseconds + 1 }
        if isMissed, isEmpty { folder?.known = files.mapValues(\.watermarks) }
        if random.chance(0.9), nodes.count < 6 { nodes.append(newNode()) }
        folder?.isServed = true
        folder?.stepsLeft = 80 + random.below(300)
        operators.isRepairDue = true
        log("SERVE the other folder, of epoch \(copy.cluster.topology.epoch)")
        note(40 << 48 ^ UInt64(copy.cluster.topology.epoch))
        for partition in copy.cluster.topology.partitionIDs { copy.files[partition].map { serve($0) } }
    }

    func serve(_ file: ModelShard) {
        consumers.append(newConsumer(of: file, host: OtherFolder.host))
    }

    /// After `repair` no copy passes the check that lacks what the right file held.
    func checkIsWhole(_ file: ModelShard) {
        guard let folder, folder.isServed, files[file.partition] !== file,
            let known = folder.known[file.partition]
        else { return }
        if !file.missing(from: known).isEmpty { bad("an older copy of \(file.partition) passed the check") }
    }

    /// What `init` and `repair` do first.
    private func publish(_ cluster: ClusterFile, _ files: [PartitionID: ModelShard]) {
        for partition in cluster.topology.partitionIDs { create(partition, files[partition]) }
        note(9 << 48 ^ UInt64(redis.publish(cluster.topology).epoch))
    }

    /// The operator sees it, and runs `repair` from the right folder.
    func leaveFolder() {
        guard folder?.isServed == true else { return }
        folder = nil
        consumers.removeAll { consumer in
            if consumer.host == OtherFolder.host { consumer.isDone = true }
            return consumer.isDone
        }
        log("LEAVE the other folder")
    }

    /// Repair's comparison of every kept epoch: what Redis has seen committed and no file of ours has is in another
    /// copy.
    func compareEpochs() {
        operators.isRepairDue = false
        if mutation == .noEpochCheck { return }
        let kept = cluster.earlier.filter { !$0.isPurged }.flatMap(\.partitionIDs) + topology.partitionIDs
        for partition in kept {
            guard let applied = redis.groups[partition]?.applied, let file = files[partition] else { continue }
            for range in Consumer.MissingRange.between(applied, and: file.watermarks) { name(range, in: partition) }
        }
    }
}
