// What goes wrong, and the clients that suffer from it.

import TallyCore

extension World {
    // MARK: Clients

    func letClientsAct() {
        if operators.quietSteps > 0 {
            operators.quietSteps -= 1
            return
        }
        retryLate()
        if random.chance(requestRate) {
            let isIdempotent = mix.faults.contains(.idempotent) && random.chance(0.5)
            let request = oracle.add(
                ownKeys: 1 + random.below(3), shared: sharedIncrements(), isIdempotent: isIdempotent)
            submit(request)
            planRetries(of: request)
            if random.chance(0.1) { maybeRetry(request, 1) }  // the connection to the client is lost
        } else if !retries.isEmpty, random.chance(0.3), let request = retries.popLast(), mayRetry(request) {
            submit(request)
        }
    }

    func submit(_ request: Int) {
        if nodes.isEmpty { return }
        let level = random.pick([Level.queued, .queued, .queued, .stored, .stored, .memory])
        random.pick(nodes).submit(request, level: level, in: self)
    }

    private func sharedIncrements() -> [Oracle.Increment] {
        if random.chance(0.3) {
            let key = Array("bulk.\(random.below(4))".utf8)
            return [Oracle.Increment(key: key, delta: Int64(random.below(2001)) - 1000)]
        }
        if mix.faults.contains(.edges), random.chance(0.06) {
            let delta = Int64.max - Int64(random.below(3))
            return [Oracle.Increment(key: Array("edge".utf8), delta: random.chance(0.6) ? delta : -delta)]
        }
        return []
    }

    private func maybeRetry(_ request: Int, _ probability: Double) {
        if oracle[request].isIdempotent, random.chance(probability) { retries.append(request) }
    }

    /// After everything has settled each node has to serve every partition.
    func probe() {
        for node in nodes {
            for partition in topology.partitionIDs {
                var request = oracle.add(ownKeys: 1, shared: [], isIdempotent: false)
                while true {
                    let hash = XXH64.hash(oracle[request].increments[0].key)
                    if topology.partitioner.partition(ofHash: hash) == Int(partition.number) { break }
                    request = oracle.add(ownKeys: 1, shared: [], isIdempotent: false)
                }
                node.submit(request, level: .stored, in: self)
                if oracle[request].wasRefused { bad("n\(node.number) refuses \(partition) for ever") }
            }
        }
    }

    // MARK: Faults

    func injectFaults() {
        let faults = mix.faults
        if faults.contains(.kill), random.chance(0.003) { killNode() }
        if faults.contains(.stops), random.chance(0.004) { random.pick(nodes).stop(in: self) }
        if faults.contains(.stall), random.chance(0.006) { random.pick(nodes).stalledSteps = 20 + random.below(130) }
        if faults.contains(.consumers), !consumers.isEmpty, random.chance(0.02) { disturbConsumer() }
        if faults.contains(.restore), tool == nil, isReady { restoreBackup() }
        if faults.contains(.join), nodes.count < 4, random.chance(0.004) { nodes.append(newNode()) }
        disturbTool()
        if random.chance(0.04) {
            snapshots.append(redis)
            // Where epochs change some snapshots have to last longer than a change.
            let isLong = faults.contains(.rebalance)
            if snapshots.count > 6 { snapshots.remove(at: isLong ? random.below(snapshots.count) : 0) }
        }
        if !snapshots.isEmpty {
            if faults.contains(.backPart), random.chance(rollbackRate) { losing { goBackInPart() } }
            if faults.contains(.backAll), random.chance(rollbackRate) { losing { goBackAsAWhole() } }
        }
        if faults.contains(.flush), random.chance(0.0015) { flush() }
        disturbMore()
    }

    func flush() {
        losing { redis.flush() }
        log("FLUSHALL")
    }

    private func killNode() {
        let node = random.pick(nodes)
        log("KILL n\(node.number)")
        end(node)
    }

    /// A node that was asked to stop has ended. One that leaves nothing is never heard of again: all that it admitted
    /// has to be counted, whatever Redis forgets.
    func stopped(_ node: SimulatedNode, lacksNothing: Bool) {
        log("STOPPED n\(node.number)\(lacksNothing ? "" : ", the shards lack something")")
        end(node, lacksNothing: lacksNothing)
    }

    /// The process is gone; another one takes its place.
    func end(_ node: SimulatedNode, lacksNothing: Bool = false) {
        node.isDead = true
        if !lacksNothing { oracle.deadNodes.insert(node.number) }
        note(4 << 48 ^ UInt64(node.number))
        for client in node.waiting { maybeRetry(client.request, 0.7) }
        if let index = nodes.firstIndex(where: { $0 === node }) { nodes[index] = newNode() }
    }

    private func disturbConsumer() {
        let consumer = random.pick(consumers)
        if random.chance(0.5) {
            consumer.frozenSteps = 20 + random.below(100)
            log("FREEZE c\(consumer.number)")
        } else {
            replace(consumer)
        }
    }

    private func replace(_ consumer: SimulatedConsumer) {
        consumer.isDone = true
        log("KILL c\(consumer.number)")
        note(5 << 48 ^ UInt64(consumer.number))
        let partition = consumer.file.partition
        // Nobody starts a consumer for an epoch that the cluster file has left.
        if consumer.host == OtherFolder.host {
            if folder?.isServed == true { serve(consumer.file) }
        } else if partition.epoch == epoch, isReady, !consumer.isOrphan,
            let next = newConsumer(partition, host: consumer.host)
        {
            consumers.append(next)
        }
        consumers.removeAll { $0.isDone }
    }

    private func restoreBackup() {
        let partitions = topology.partitionIDs
        if random.chance(0.01) {
            backup = files[random.pick(partitions)]?.copy()
        } else if let old = backup, old.partition.epoch == epoch, replaced[old.partition] == nil, random.chance(0.015),
            let newest = files[old.partition]
        {
            backup = nil
            if mix.faults.contains(.loss) {
                // `restore` compares with what it replaces, and says what is lost.
                let missing = Consumer.MissingRange.between(newest.watermarks, and: old.watermarks)
                for range in missing { name(range, in: old.partition) }
            } else {
                replaced[old.partition] = newest
            }
            files[old.partition] = old
            log("RESTORE \(old.partition)")
            // Often Redis' data come from the same backup, and a consumer sleeps through it.
            if mix.faults.contains(.loss), random.chance(0.4) {
                for consumer in consumers where consumer.file === newest { consumer.frozenSteps += 50 }
                if mix.faults.contains(.flush), random.chance(0.5) {
                    flush()
                } else if mix.faults.contains(.backAll), !snapshots.isEmpty {
                    losing { goBackAsAWhole() }
                }
            }
            for consumer in consumers where consumer.file.partition == old.partition {
                // A frozen one is a zombie: it wakes up beside the new file with what it had peeked from the old one.
                if consumer.frozenSteps > 0 { consumer.isOrphan = true } else { consumer.isDone = true }
            }
            if let next = newConsumer(old.partition, host: "a") { consumers.append(next) }
            consumers.removeAll { $0.isDone }
        }
    }

    private func disturbTool() {
        let faults = mix.faults
        if let tool {
            if faults.contains(.crash), random.chance(0.003) { kill(tool) }
        } else if displaced != nil || folder?.isServed == true {
            return
        } else if operators.isRepairDue {
            tool = Tool(.repair)
        } else if let kind = chooseErrand() {
            tool = Tool(kind)
        } else if faults.contains(.rebalance), isReady, random.chance(0.02) {
            tool = Tool(.rebalance(partitions: 1 + random.below(4)))
        } else if !faults.isDisjoint(with: [.repair, .crash]), random.chance(0.004) {
            tool = Tool(.repair)
        }
    }

    func kill(_ tool: Tool) {
        log("CRASH \(tool.kind) at \(tool.point)")
        counts.killedTools[tool.point, default: 0] += 1
        tool.kill()
        self.tool = random.chance(0.8) ? Tool(random.chance(0.5) ? .resume : .repair) : nil
    }

    /// What takes no time is killed on its edges, or hardly ever would be.
    func killAtEdge(_ tool: Tool) -> Bool {
        guard isLive, mix.faults.contains(.crash), tool.isAtEdge, random.chance(tool.isErrand ? 0.1 : 0.02) else {
            return false
        }
        kill(tool)
        return true
    }

    // MARK: Going back

    private func goBackInPart() {
        let snapshot = random.pick(snapshots)
        let names = Set(snapshot.groups.keys).union(redis.groups.keys)
            .sorted { ($0.epoch, $0.number) < ($1.epoch, $1.number) }
        let index = random.below(names.count + 1)
        if index == names.count {
            redis.goBackTopology(to: snapshot)
            log("BACK topology")
        } else {
            redis.goBack(names[index], to: snapshot)
            log("BACK \(names[index])")
        }
    }

    private func goBackAsAWhole() {
        redis.goBack(to: random.pick(snapshots))
        log("BACK all")
    }

    /// Remembers what a rollback takes from the lists; only a killed node makes a difference of it.
    func losing(_ rollback: () -> Void) {
        note(6 << 48 ^ now)
        wentBackAt = now
        holders = [:]
        guard !mix.faults.isDisjoint(with: [.kill, .stops]) else { return rollback() }
        let before = queuedKeys()
        rollback()
        oracle.hit.formUnion(before.subtracting(queuedKeys()))
    }

    private func queuedKeys() -> Set<[UInt8]> {
        var keys: Set<[UInt8]> = []
        for group in redis.groups.values {
            for batch in group.queue {
                batch.withUnsafeBytes { bytes in
                    guard let reader = try? BatchReader(bytes) else { return }  // the consumer will raise the alarm
                    reader.forEach { keys.insert(Array($0.key)) }
                }
            }
        }
        return keys
    }
}
