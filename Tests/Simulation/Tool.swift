// The operator's tools, reduced to what the machines notice of them: `repair` creates what is missing, and `rebalance`
// opens the next epoch, seals, drains and retires the old one, and builds its files from the old.
//
// One action is one step, between any two of which the tool may be killed; `repair` resumes a rebalance. The sweep of
// old lists is not here: it needs a producer that takes over other producers' batches.

import TallyCore

final class Tool {
    enum Kind {
        case repair
        case rebalance(partitions: Int)
    }

    enum Step {
        case plan(partitions: Int)
        case create(PartitionID)
        case publish(Topology)
        case seal(PartitionID)
        case drain(PartitionID)
        case build
        case ready
    }

    let kind: Kind
    private var steps: [Step] = []
    private var isStarted = false

    init(_ kind: Kind) {
        self.kind = kind
    }

    var isDone: Bool { isStarted && steps.isEmpty }

    func act(in world: World) {
        if !isStarted {
            isStarted = true
            steps = Array(firstSteps(in: world).reversed())
        }
        guard let step = steps.popLast() else { return }
        for next in world.apply(step).reversed() { steps.append(next) }
    }

    private func firstSteps(in world: World) -> [Step] {
        switch kind {
        case .rebalance(let partitions) where world.cluster.isReady: [.plan(partitions: partitions)]
        case .rebalance, .repair: world.publishing() + (world.cluster.isReady ? [] : world.rebalancing())
        }
    }
}

extension World {
    /// Step 1 and the end of step 6: what Redis has to show.
    func publishing() -> [Tool.Step] {
        topology.partitionIDs.map { .create($0) } + [.publish(topology)]
    }

    /// Steps 2 to 6.
    func rebalancing() -> [Tool.Step] {
        guard let old = cluster.history.last?.partitionIDs else { return [] }
        return old.map { .seal($0) } + old.map { .drain($0) } + [.build, .ready]
    }

    /// Performs a step; returns the steps that have to follow at once.
    @discardableResult
    func apply(_ step: Tool.Step) -> [Tool.Step] {
        log("tool \(step)")
        switch step {
        case .plan(let partitions):
            cluster = Cluster(
                epoch: cluster.epoch + 1, partitions: partitions, isReady: false,
                history: cluster.history + [topology])
            return publishing() + rebalancing()
        case .create(let partition):
            let uuid = ShardUUID(Bytes16(high: UInt64(partition.epoch), low: UInt64(partition.number)))
            note(redis.create(partition, shard: uuid) ? 7 : 8)
        case .publish(let topology): note(9 << 48 ^ UInt64(redis.publish(topology).epoch))
        case .seal(let partition): note(redis.seal(partition) ? 10 : 11)
        case .drain(let partition): return drain(partition)
        case .build: build()
        case .ready:
            if !cluster.isReady { counts.rebalances += 1 }
            cluster.isReady = true
            return publishing()
        }
        return []
    }

    private func drain(_ partition: PartitionID) -> [Tool.Step] {
        guard let file = files[partition], !file.tables.isClosed else { return [] }
        if case .batches(let peeked) = redis.peek(partition, bytesMax: 2_000, batchesMax: 5) {
            if !peeked.sealed { return [.seal(partition), .drain(partition)] }
            if !peeked.batches.isEmpty {
                guard case .commit(let applied) = file.apply(peeked.batches, time: now) else {
                    bad("drain of \(partition) does not commit")
                    return []
                }
                let token = redis.groups[partition]?.token ?? 0
                let reply = redis.trim(
                    partition,
                    TrimRequest(token: token, committed: applied.committed, applied: applied.watermarks),
                    upTo: .max)
                if case .noTopology = reply { bad("drain of \(partition) lost its group within a step") }
                return [.drain(partition)]
            }
        }
        if mutation != .noRetire { file.retire() }
        return []
    }

    /// Step 4: sums, dead letters, idempotency and routed rows go by key, watermarks go into every new file.
    private func build() {
        guard let old = cluster.history.last else { return }
        let staged = topology.partitionIDs.map { newFile($0) }
        for partition in old.partitionIDs {
            guard let file = files[partition] else { continue }
            let mutation = mutation
            for new in staged where mutation != .noCarry {
                new.tables.records.merge(file.tables.records) { $0.watermark >= $1.watermark ? $0 : $1 }
                new.tables.claimedOrigins.formUnion(file.tables.claimedOrigins)
            }
            let place = { (key: [UInt8]) in staged[self.topology.partitioner.partition(ofHash: XXH64.hash(key))] }
            for (key, value) in file.tables.counters {
                place(key).tables.counters[key] = value
                place(key).tables.carried += Int128(value)
            }
            for row in file.tables.idempotency { place(row.key).tables.idempotency.insert(row) }
            for row in file.tables.routed where mutation != .routedNotCarried {
                place(row.key).tables.routed.insert(row)
            }
            for letter in file.tables.deadLetters { place(letter.key ?? []).tables.deadLetters.append(letter) }
        }
        // Never over existing files: a rebalance that was killed after this step has built them.
        for file in staged where files[file.partition] == nil { files[file.partition] = file }
    }
}
