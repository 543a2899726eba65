// What a producer learns: answers to pushes and heartbeats, and topologies.

extension Producer {
    /// The answer to `command`; it may be late, repeated or `.unknown`, and may belong to an earlier epoch.
    ///
    /// - Parameter now: monotonic milliseconds.
    public mutating func received(_ answer: QueueAnswer, to command: QueueCommand, now: UInt64) {
        switch command {
        case .readTime:
            if case .time(let time?) = answer { clock.learn(time, at: now) }
        case .readTopology:
            if case .topology(let topology) = answer {
                learn(topology, now)
            } else {
                isTopologyInFlight = false
                topologyFailures += 1
                topologyReadAt = now
            }
        case .heartbeat(let stream, let floor, _):
            guard let index = index(of: stream) else { return }
            channels[index].isHeartbeatInFlight = false
            channels[index].heardAt = now
            if case .heartbeat(.progress) = answer { channels[index].isFloorTold = true }
            if case .heartbeat(let reply) = answer { heard(reply, floor: floor, channel: index, now) }
            settle(channel: index)
        case .compare(let floors, let partition, _): compared(floors, in: partition, answer, now)
        case .noteEpoch: break  // told again with the next look at an older topology
        case .push(let batch, _, _, _):
            // An old epoch was forgotten with the move; what becomes of the batch is recognised by its origin.
            guard let index = index(of: batch.id.stream) else { return }
            if case .push(let reply) = answer {
                channels[index].heardAt = now
                channels[index].isFloorTold = true
                pushed(batch.id.sequence, reply, channel: index, now)
            } else {
                channels[index].retry(batch.id.sequence)
            }
            settle(channel: index)
        }
    }

    private func index(of stream: StreamID) -> Int? {
        stream.producer == id ? index(of: stream.partition) : nil
    }

    func index(of partition: PartitionID) -> Int? {
        partition.epoch == topology?.epoch ? Int(partition.number) : nil
    }

    private mutating func pushed(_ sequence: UInt64, _ reply: PushReply, channel index: Int, _ now: UInt64) {
        switch reply {
        case .ok(let applied):
            shows(last: sequence, applied: applied, channel: index)
            guard release(channel: index, through: applied) else { return }
            accepted(sequence, channel: index)
        case .duplicate(let last, let chain, let applied):
            statistics.duplicates += 1
            shows(last: last, applied: applied, channel: index)
            guard isOwn(last, chain, channel: index), release(channel: index, through: applied) else { return }
            accepted(sequence, channel: index)
        case .gap(let last, let applied):
            statistics.gaps += 1
            shows(last: last, applied: applied, channel: index)
            channels[index].retry(sequence)
            guard release(channel: index, through: applied) else { return }
            channels[index].replay(above: last)
            // The first gap heals at once; gaps in a row mean that Redis goes back faster than we replay.
            postpone(channel: index, now, freeFailures: 1)
        case .behind(let applied):
            shows(applied: applied, channel: index)
            channels[index].retry(sequence)
            guard release(channel: index, through: applied) else { return }
            fallBehind(applied, channel: index, now)
        case .conflict:
            channels[index].retry(sequence)
            conflict = channels[index].stream
        case .full(let applied):
            channels[index].retry(sequence)
            guard release(channel: index, through: applied) else { return }
            channels[index].gate = .full
            postpone(channel: index, now)
        case .sealed(let applied):
            channels[index].retry(sequence)
            guard release(channel: index, through: applied) else { return }
            askTopology(channel: index, now)
        case .noTopology:
            channels[index].isGroupMissing = true
            channels[index].retry(sequence)
            askTopology(channel: index, now)
        case .refused(let text):
            channels[index].retry(sequence)
            channels[index].gate = .refusing(text)
            postpone(channel: index, now)
        }
    }

    private mutating func accepted(_ sequence: UInt64, channel index: Int) {
        channels[index].resolve(sequence)
        open(channel: index)
    }

    /// False, and the end of this producer, if Redis knows of a sequence or a history that is not its own.
    private mutating func isOwn(_ last: UInt64, _ chain: UInt64? = nil, channel index: Int) -> Bool {
        if channels[index].isOwn(last: last, chain: chain) { return true }
        conflict = channels[index].stream
        return false
    }

    /// The shard holds everything up to `applied`. False if that is more than this producer ever made.
    private mutating func release(channel index: Int, through applied: UInt64) -> Bool {
        guard isOwn(applied, channel: index) else { return false }
        channels[index].release(through: applied)
        return true
    }

    private mutating func open(channel index: Int) {
        channels[index].gate = .open
        channels[index].failures = 0
        channels[index].retryAt = 0
    }

    /// Neither the list nor, as far as Redis knows, the shard has what was released: nothing is promised over it, and
    /// what earlier epochs had may be gone with it.
    private mutating func fallBehind(_ applied: UInt64, channel index: Int, _ now: UInt64) {
        channels[index].gate = .behind(applied: applied)
        channels[index].isVerified = false
        channels[index].idleHeartbeatAt = 0
        postpone(channel: index, now)
        doubtFloors()
    }

    private mutating func heard(_ reply: HeartbeatReply, floor: UInt64, channel index: Int, _ now: UInt64) {
        switch reply {
        case .progress(let last, let applied):
            shows(last: last, applied: applied, channel: index)
            guard isOwn(last, channel: index), release(channel: index, through: applied) else { return }
            channels[index].replay(above: last)
            if floor > max(last, applied) { return fallBehind(applied, channel: index, now) }
            channels[index].isVerified = true
            channels[index].idleHeartbeatAt = now + Limits.idleHeartbeatMilliseconds
            // The key group is there and holds everything: no push follows whose answer would open the gate.
            if channels[index].isFrozenConfirmed { open(channel: index) }
        case .noTopology:
            // What it had confirmed is gone.
            channels[index].isGroupMissing = true
            channels[index].replay(above: 0)
            askTopology(channel: index, now)
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
        // A late refusal must not close a gate for ever: over an empty outbox nothing is sent that could open it, but
        // the floor.
        if channels[index].outbox.isEmpty, !channels[index].isBehind { open(channel: index) }
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

    private mutating func learn(_ read: Topology?, _ now: UInt64) {
        isTopologyInFlight = false
        topologyReadAt = now
        if let read, let topology, read.cluster != topology.cluster {
            otherCluster = read.cluster
            // Its key groups are not ours: that ours are missing here tells nothing.
            for index in channels.indices { channels[index].isGroupMissing = false }
            isClusterConfirmed = false
            isTopologyWanted = true
            topologyFailures += 1
            return
        }
        otherCluster = nil
        isClusterConfirmed = true
        if let topology, read != topology, read?.epoch ?? 0 <= topology.epoch {
            isEpochNoteDue = true
            doubtFloors()
        } else if now >= doubtFloorsAt {
            // Redis may have been emptied and filled again between two looks.
            doubtFloors()
        }
        if now >= doubtFloorsAt { doubtFloorsAt = now + Limits.floorMilliseconds }
        if let read, read.epoch > topology?.epoch ?? 0 {
            topologyFailures = 0
            isTopologyWanted = false
            move(to: read)
            return
        }
        showsTopology(isOlder: topology != nil && read != topology)
        // An epoch once seen is never left for a lower one. No newer epoch: what asked for one has to wait until an
        // operator repairs Redis.
        for index in channels.indices where channels[index].gate == .awaitingTopology {
            channels[index].gate = .repairDue
        }
        isTopologyWanted = topology == nil || channels.contains { $0.gate == .repairDue }
        topologyFailures = isTopologyWanted ? topologyFailures + 1 : 0
    }
}
