// What a producer learns: answers to pushes and heartbeats, and topologies.

extension Producer {
    /// The answer to `command`; it may be late, repeated or `.unknown`, and may belong to an earlier epoch.
    ///
    /// - Parameters:
    ///   - now: monotonic milliseconds.
    ///   - wallClock: milliseconds since 1970, written into the batches that a move makes.
    public mutating func received(
        _ answer: QueueAnswer, to command: QueueCommand, now: UInt64, wallClock: UInt64
    ) {
        switch command {
        case .readTopology:
            if case .topology(let topology) = answer {
                learn(topology, now, wallClock)
            } else {
                isTopologyInFlight = false
                topologyFailures += 1
                topologyReadAt = now
            }
        case .heartbeat(let stream):
            guard let index = index(of: stream) else { return }
            channels[index].isHeartbeatInFlight = false
            channels[index].heardAt = now
            if case .heartbeat(let reply) = answer { heard(reply, channel: index, now) }
            settle(channel: index)
        case .push(let batch, _, _):
            // An old epoch was forgotten with the move; what becomes of the batch is recognised by its origin.
            guard let index = index(of: batch.id.stream) else { return }
            if case .push(let reply) = answer {
                channels[index].heardAt = now
                pushed(batch.id.sequence, reply, channel: index, now)
            } else {
                channels[index].retry(batch.id.sequence)
            }
            settle(channel: index)
        }
    }

    private func index(of stream: StreamID) -> Int? {
        guard stream.partition.epoch == topology?.epoch, stream.producer == id else { return nil }
        return Int(stream.partition.number)
    }

    private mutating func pushed(_ sequence: UInt64, _ reply: PushReply, channel index: Int, _ now: UInt64) {
        switch reply {
        case .ok(let applied):
            accepted(sequence, applied, channel: index)
        case .duplicate(let applied):
            statistics.duplicates += 1
            accepted(sequence, applied, channel: index)
        case .gap(let last, let applied):
            statistics.gaps += 1
            channels[index].retry(sequence)
            channels[index].release(through: applied)
            channels[index].replay(above: last)
            // The first gap heals at once; gaps in a row mean that Redis goes back faster than we replay.
            postpone(channel: index, now, freeFailures: 1)
        case .full(let applied):
            channels[index].retry(sequence)
            channels[index].release(through: applied)
            channels[index].gate = .full
            postpone(channel: index, now)
        case .sealed(let applied):
            channels[index].retry(sequence)
            channels[index].release(through: applied)
            askTopology(channel: index, now)
        case .noTopology:
            channels[index].retry(sequence)
            askTopology(channel: index, now)
        case .refused(let text):
            channels[index].retry(sequence)
            channels[index].gate = .refusing(text)
            postpone(channel: index, now)
        }
    }

    private mutating func accepted(_ sequence: UInt64, _ applied: UInt64, channel index: Int) {
        channels[index].resolve(sequence)
        channels[index].release(through: applied)
        open(channel: index)
    }

    private mutating func open(channel index: Int) {
        channels[index].gate = .open
        channels[index].failures = 0
        channels[index].retryAt = 0
    }

    private mutating func heard(_ reply: HeartbeatReply, channel index: Int, _ now: UInt64) {
        switch reply {
        case .progress(let last, let applied):
            channels[index].release(through: applied)
            channels[index].replay(above: last)
            // The key group is there and holds everything: no push follows whose answer would open the gate.
            if channels[index].isFrozenConfirmed { open(channel: index) }
        case .noTopology: askTopology(channel: index, now)
        case .refused: postpone(channel: index, now)
        }
    }

    private mutating func askTopology(channel index: Int, _ now: UInt64) {
        if channels[index].gate != .repairDue { channels[index].gate = .awaitingTopology }
        isTopologyWanted = true
        postpone(channel: index, now)
    }

    private mutating func postpone(channel index: Int, _ now: UInt64, freeFailures: Int = 0) {
        channels[index].failures += 1
        channels[index].retryAt =
            now + Backoff.milliseconds(failures: max(0, channels[index].failures - freeFailures))
    }

    /// Tells the tickets whose batches have come further.
    private mutating func settle(channel index: Int) {
        // A late refusal must not close a gate for ever: over an empty outbox nothing is sent that could open it.
        if channels[index].outbox.isEmpty { open(channel: index) }
        while let wait = channels[index].queueWaits.first, wait.sequence <= channels[index].resolvedThrough {
            channels[index].queueWaits.removeFirst()
            for ticket in wait.tickets { tickets.queued(ticket) }
        }
        while let wait = channels[index].storeWaits.first, wait.sequence <= channels[index].floor {
            channels[index].storeWaits.removeFirst()
            for ticket in wait.tickets { tickets.stored(ticket) }
        }
    }

    // MARK: Topology

    private mutating func learn(_ read: Topology?, _ now: UInt64, _ wallClock: UInt64) {
        isTopologyInFlight = false
        topologyReadAt = now
        if let read, let topology, read.cluster != topology.cluster {
            otherCluster = read.cluster
            isClusterConfirmed = false
            isTopologyWanted = true
            topologyFailures += 1
            return
        }
        otherCluster = nil
        isClusterConfirmed = true
        if let read, read.epoch > topology?.epoch ?? 0 {
            topologyFailures = 0
            isTopologyWanted = false
            move(to: read, wallClock)
            return
        }
        // An epoch once seen is never left for a lower one. No newer epoch: what asked for one has to wait until an
        // operator repairs Redis.
        for index in channels.indices where channels[index].gate == .awaitingTopology {
            channels[index].gate = .repairDue
        }
        isTopologyWanted = topology == nil || channels.contains { $0.gate == .repairDue }
        topologyFailures = isTopologyWanted ? topologyFailures + 1 : 0
    }

    /// Moves at once and as a whole: every batch of the outbox and everything aggregated is hashed anew.
    private mutating func move(to new: Topology, _ wallClock: UInt64) {
        topology = new
        let old = resetChannels(new)
        let waiting = tickets.openSlots
        for channel in old {
            for index in 0..<channel.outbox.count { route(channel.outbox[index].batch, new.partitioner, wallClock) }
        }
        let rerouted = channels.map { $0.nextSequence - 1 }
        for channel in old { reaggregate(channel.aggregator, new.partitioner) }
        // Where a ticket's increments went is not known one by one: each waits for all that moved.
        for ticket in waiting { tickets.missNothing(ticket) }
        for index in channels.indices {
            if channels[index].aggregator.isEmpty, rerouted[index] == 0 { continue }
            for ticket in waiting { tickets.miss(ticket) }
            channels[index].openTickets = waiting
            if channels[index].aggregator.isEmpty { registerOpenTickets(channel: index) }
        }
        if channels.allSatisfy({ $0.aggregator.isEmpty && $0.nextSequence == 1 }) {
            precondition(waiting.isEmpty, "somebody waits for increments that no batch holds")
        }
    }

    /// Splits a batch by the new K; each part carries the identity under which its increments were frozen first.
    private mutating func route(_ batch: Batch, _ partitioner: Partitioner, _ wallClock: UInt64) {
        batch.bytes.withUnsafeBytes { bytes in
            guard let reader = try? BatchReader(bytes) else {  // our own bytes, never touched since
                preconditionFailure("a batch of the outbox no longer decodes")
            }
            let origin = reader.header.origin ?? batch.id
            var writers: [Int: BatchWriter] = [:]
            var group: [Int: [UInt8]] = [:]
            reader.forEach { entry in
                let target = partitioner.partition(ofHash: XXH64.hash(entry.key))
                let idempotencyKey = entry.idempotencyKey.map { Array($0) } ?? []
                var writer =
                    writers.removeValue(forKey: target)
                    ?? channels[target].writer(
                        frozenAt: wallClock, origin: origin, limitBytes: .max, sizeHint: bytes.count)
                if group[target, default: []] != idempotencyKey { writer.beginGroup(idempotencyKey) }
                group[target] = idempotencyKey
                writer.append(key: entry.key, increments: entry.increments, sum: entry.sum)
                writers[target] = writer
            }
            for target in writers.keys.sorted() {
                if var writer = writers[target] { channels[target].enqueue(&writer) }
            }
        }
    }

    private mutating func reaggregate(_ aggregator: Aggregator, _ partitioner: Partitioner) {
        for entry in aggregator.table.entries {
            let target = partitioner.partition(ofHash: entry.hash)
            aggregator.table.withKey(of: entry) {
                channels[target].aggregator.add(
                    $0, hash: entry.hash, delta: entry.sum, increments: entry.increments)
            }
        }
        for group in aggregator.groups {
            var begun: Set<Int> = []
            for entry in group.sums.entries {
                let target = partitioner.partition(ofHash: entry.hash)
                if begun.insert(target).inserted { channels[target].aggregator.beginGroup(group.idempotencyKey) }
                group.sums.withKey(of: entry) {
                    channels[target].aggregator.addToGroup(
                        $0, hash: entry.hash, delta: entry.sum, increments: entry.increments)
                }
            }
        }
    }
}
