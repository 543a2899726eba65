// Increments that were frozen elsewhere: in an epoch that this producer has left, or by another producer.
//
// A batch is split by the current K, and each part carries the origin, the identity under which its increments were
// frozen first. The shards recognise them by it, so the old batch may still arrive, and it may be split again, by
// anybody: each key of it counts once. A move does it with the whole outbox, `adopt` with one batch that lay in a list
// of an earlier epoch.

extension Producer {
    /// Moves at once and as a whole: every batch of the outbox and everything aggregated is hashed anew.
    mutating func move(to new: Topology) {
        topology = new
        let old = resetChannels(new)
        tickets.forgetAbandoned()
        let waiting = tickets.openSlots
        for channel in old {
            for index in 0..<channel.outbox.count { reroute(channel.outbox[index].batch, new.partitioner) }
        }
        carryFloors(of: old)
        let rerouted = channels.map { $0.nextSequence - 1 }
        let openedAt = old.lazy.filter { !$0.aggregator.isEmpty }.map(\.openedAt).min() ?? 0
        for index in channels.indices { channels[index].openedAt = openedAt }
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

    /// Takes over a batch that lies in a list of an earlier epoch, whoever froze it; it is pushed like any other.
    ///
    /// The outbox's bound is not looked at: the caller adopts only as much as it wants to hold (`heldBytes`).
    ///
    /// - Parameters:
    ///   - bytes: the whole batch.
    ///   - level: what the ticket is to be acknowledged at. `stored` is what allows the batch to be removed from
    ///     its list.
    /// - Returns: a ticket that is acknowledged once all parts have reached `level`; nil if there is nothing to wait
    ///   for, because `level` is `memory` or the batch is empty.
    /// - Throws: if the bytes do not decode; nothing is taken over then.
    public mutating func adopt(_ bytes: [UInt8], level: Level = .stored) throws(BatchError) -> Ticket? {
        guard let partitioner = topology?.partitioner else {
            preconditionFailure("a producer adopts nothing before its first topology")
        }
        let routed = bytes.withUnsafeBytes { bytes in
            Result { () throws(BatchError) in route(try BatchReader(bytes), partitioner) }
        }
        let targets = try routed.get()
        if level == .memory || targets.isEmpty { return nil }
        let ticket = tickets.open(level)
        for index in targets {
            tickets.miss(ticket.slot)
            let waits = waits(of: channels[index], [ticket.slot])
            channels[index].queueWaits.append(waits.queue)
            if let store = waits.store { channels[index].storeWaits.append(store) }
        }
        return ticket
    }

    private mutating func reroute(_ batch: Batch, _ partitioner: Partitioner) {
        batch.bytes.withUnsafeBytes { bytes in
            guard let reader = try? BatchReader(bytes) else {  // our own bytes, never touched since
                preconditionFailure("a batch of the outbox no longer decodes")
            }
            route(reader, partitioner)
        }
    }

    /// Splits a batch by the current K; each part carries the identity under which its increments were frozen first,
    /// and their time.
    ///
    /// - Returns: the channels that got a part, in order.
    @discardableResult
    private mutating func route(_ reader: BatchReader, _ partitioner: Partitioner) -> [Int] {
        let origin = reader.header.origin ?? reader.header.id
        var writers: [Int: BatchWriter] = [:]
        var group: [Int: [UInt8]] = [:]
        reader.forEach { entry in
            let target = partitioner.partition(ofHash: XXH64.hash(entry.key))
            let idempotencyKey = entry.idempotencyKey.map { Array($0) } ?? []
            var writer =
                writers.removeValue(forKey: target)
                ?? channels[target].writer(
                    frozenAt: reader.header.frozenAt, origin: origin, limitBytes: .max, sizeHint: reader.byteCount)
            if group[target, default: []] != idempotencyKey { writer.beginGroup(idempotencyKey) }
            group[target] = idempotencyKey
            writer.append(key: entry.key, increments: entry.increments, sum: entry.sum)
            writers[target] = writer
        }
        let targets = writers.keys.sorted()
        for target in targets {
            if var writer = writers[target] { channels[target].enqueue(&writer) }
        }
        return targets
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
