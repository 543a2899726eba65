// The host of the cluster is put back as a whole, to a snapshot of its disks: Redis, the shards and the cluster file
// fit each other, and only the nodes, which live elsewhere, know that there was more.

import TallyCore

/// What the disks of the host held.
struct HostState {
    let redis: ModelRedis
    let cluster: ClusterFile
    let files: [PartitionID: ModelShard]
}

extension World {
    func disturbHost() {
        guard mix.faults.contains(.hostBack) else { return }
        if let state = host {
            if random.chance(0.004) { putBack(state) }
        } else if isReady, tool == nil, random.chance(0.02) {
            host = HostState(redis: redis, cluster: cluster, files: files.mapValues { $0.copy() })
            log("SNAPSHOT of the host")
        }
    }

    /// Its processes end, and others begin. Nodes notice that their connection is gone, or not even that.
    private func putBack(_ state: HostState) {
        host = nil
        log("BACK goes the host, to epoch \(state.cluster.topology.epoch)")
        note(46 << 48 ^ UInt64(state.cluster.topology.epoch))
        tool?.kill()
        tool = nil
        for consumer in consumers { consumer.isDone = true }
        consumers = []
        let abandoned = files.values.filter { $0.partition.epoch > state.cluster.topology.epoch }
        // What was there may have been moved away, and go on being consumed.
        for file in abandoned.sorted(by: { $0.partition.number < $1.partition.number }) where random.chance(0.3) {
            consumers.append(newConsumer(of: file, host: "z"))
        }
        redis = state.redis
        cluster = state.cluster
        files = state.files
        staging = []
        operators.refused = []
        wentBackAt = now
        holders = [:]
        if random.chance(0.7) { restartRedis() } else { network.cut() }
        startConsumers()
    }

    /// Whether a node has seen an epoch that the cluster does not know of: it waits for a newer one.
    var isEpochNoted: Bool { notedEpoch >= epoch }

    var notedEpoch: UInt32 { redis.notedEpoch(beside: topology) }
}
