// Redis under other settings or in other hands, and nodes whose memory goes back: what a machine, not a protocol, does.

import TallyCore

/// Redis' settings, as a restart found them.
struct Settings {
    /// What it would still have after a power cut; nil while it keeps what it confirms.
    var kept: ModelRedis?

    var unfit: String? { kept == nil ? nil : "appendfsync is no" }
}

extension World {
    // MARK: Settings

    /// What a node that looks at Redis' settings finds wrong.
    var unfitReason: String? { mutation == .trustSettings ? nil : settings.unfit }

    func disturbSettings() {
        guard mix.faults.contains(.unfit) else { return }
        if settings.kept == nil {
            if random.chance(0.004) {
                settings.kept = redis
                restartRedis()
                log("RESTART of Redis, which does not sync any more")
            }
        } else if random.chance(0.02) {
            loseTail()
            if random.chance(0.6) { endUnfitSettings() }
        }
    }

    private func loseTail() {
        guard let kept = settings.kept else { return }
        redis = kept
        restartRedis()
        log("POWER CUT")
    }

    func endUnfitSettings() {
        if settings.kept == nil { return }
        settings.kept = nil
        restartRedis()
        log("RESTART of Redis, with the right settings")
    }

    /// Every connection ends, and what was under way on it.
    func restartRedis() {
        note(44 << 48 ^ now)
        network.cut()
        for node in nodes { node.cut(in: self) }
        if let sweeper = tool?.sweeper { sweeper.cut(in: self) }
    }

    // MARK: Another cluster

    private static let foreignID = ClusterID(Bytes16(high: 0x6f74, low: 0x6865))

    func disturbCluster() {
        guard mix.faults.contains(.foreign) else { return }
        if displaced != nil {
            if random.chance(0.01) { endForeignCluster() }
        } else if tool == nil, isReady, nodes.allSatisfy({ $0.topology != nil }), random.chance(0.006) {
            displaced = redis
            redis.flush()
            let other = Topology(cluster: Self.foreignID, epoch: epoch, partitions: topology.partitions)
            for partition in other.partitionIDs {
                let isNew = redis.create(
                    partition, shard: ShardUUID(derivedFor: partition, of: Self.foreignID),
                    owner: ModelRedis.Owner(other))
                note(isNew ? 7 : 8)
            }
            note(UInt64(redis.publish(other).epoch))
            log("INIT of another cluster")
        }
    }

    /// The operator sees it: the right data come back, or nothing but what `repair` makes.
    func endForeignCluster() {
        guard let old = displaced else { return }
        displaced = nil
        for (partition, group) in redis.groups where !group.seqs.isEmpty {
            bad("\(partition) of another cluster was given a batch")
            break
        }
        if random.chance(0.5) {
            redis = old
        } else {
            redis.flush()
            operators.isRepairDue = true
        }
        log("BACK to the right cluster")
    }

    // MARK: Memory

    func disturbMemory() {
        guard mix.faults.contains(.rewind) else { return }
        if random.chance(0.02) {
            memory = random.pick(nodes).snapshot()
        } else if random.chance(0.006), let old = memory, nodes.count < 4 {
            memory = nil
            resume(old)
        }
    }

    /// An earlier state takes the place of its node, or lives beside it.
    private func resume(_ old: SimulatedNode) {
        let clone = old.copy(number: newNodeNumber(), now: now)
        log("RESUME n\(old.number) as n\(clone.number)")
        note(45 << 48 ^ UInt64(old.number))
        if let original = nodes.first(where: { $0.producer.id == old.producer.id }), random.chance(0.5) {
            end(original)
        }
        nodes.append(clone)
    }

    /// Another process uses its id: its process ends.
    func conflicted(_ node: SimulatedNode) {
        counts.conflicts += 1
        log("CONFLICT n\(node.number)")
        if !mix.faults.contains(.rewind) { bad("a conflict without a reason") }
        if nodes.count > 2 {
            node.isDead = true
            oracle.deadNodes.insert(node.number)
            nodes.removeAll { $0 === node }
        } else {
            end(node)
        }
    }
}
