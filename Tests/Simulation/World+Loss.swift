// What is lost for good: named by whoever finds it, and accepted by the operator.

import TallyCore

extension World {
    /// Whether batches are remembered, so that a loss can be compared with what it is said to have held.
    var remembersBatches: Bool { !mix.faults.isDisjoint(with: [.loss, .copies, .hostBack]) }

    func remember(_ batch: Batch) {
        if remembersBatches { oracle.contents[batch.id] = batch.bytes }
    }

    /// Somebody was told, by producer and range, that these batches are in no file of the cluster.
    func name(_ range: Consumer.MissingRange, in partition: PartitionID) {
        let stream = StreamID(partition: partition, producer: range.producer)
        log("NAMED \(partition) \(range.sequences)")
        for sequence in range.sequences { oracle.name(BatchID(stream: stream, sequence: sequence)) }
    }

    /// A file that cannot go on: the operator puts the right one back, or accepts what it lacks.
    func refused(_ file: ModelShard, _ missing: [Consumer.MissingRange]) {
        counts.refusedFiles += 1
        guard files[file.partition] === file else { return }
        operators.refused.append((file, missing))
    }

    /// Floors of earlier epochs that the shards do not reach, whoever asked.
    private func earlierBehind() -> [(stream: StreamID, through: UInt64)] {
        let noted = topology.partitionIDs.flatMap { partition -> [(stream: StreamID, through: UInt64)] in
            guard let group = redis.groups[partition], let file = files[partition] else { return [] }
            return group.earlierBehind.filter { file.watermarks(of: [$0.key])[$0.key] ?? 0 < $0.value }
                .map { ($0.key, $0.value) }
        }
        return noted.sorted { $0.stream.order.lexicographicallyPrecedes($1.stream.order) }
    }

    /// Floors that neither the list nor the file reaches, where nothing is left in the list that could.
    private func behind(_ partition: PartitionID) -> [Consumer.MissingRange] {
        guard let group = redis.groups[partition], let file = files[partition] else { return [] }
        // An unreadable one is the consumer's business.
        let waiting = Set(
            group.queue.compactMap { batch in
                batch.withUnsafeBytes { try? BatchHeader(reading: $0) }?.id.stream.producer
            })
        return group.behind.compactMap { producer, floor in
            let watermark = file.watermark(of: producer)
            guard floor > watermark, !waiting.contains(producer) else { return nil }
            return Consumer.MissingRange(producer: producer, sequences: watermark + 1...floor)
        }.sorted { $0.producer.description < $1.producer.description }
    }

    /// Whether `status` would ask for `repair --accept-loss`.
    var isLossDue: Bool {
        guard remembersBatches, isReady, folder?.isServed != true else { return false }
        if !operators.refused.isEmpty || !earlierBehind().isEmpty { return true }
        return topology.partitionIDs.contains { !behind($0).isEmpty }
    }

    /// `repair --accept-loss` of everything that is known to be missing.
    func acceptLosses() {
        let refused = operators.refused
        operators.refused = []
        for (file, missing) in refused where files[file.partition] === file { accept(missing, in: file) }
        for (stream, through) in earlierBehind() {
            for file in topology.partitionIDs.compactMap({ files[$0] }) { accept(through, of: stream, in: file) }
        }
        for partition in topology.partitionIDs {
            guard let file = files[partition] else { continue }
            accept(behind(partition), in: file)
            let isServed = consumers.contains { $0.file === file && !$0.isDone && !$0.isOrphan }
            if !isServed, let next = newConsumer(partition, host: "a") { consumers.append(next) }
        }
    }

    /// One transaction.
    func accept(_ missing: [Consumer.MissingRange], in file: ModelShard) {
        for range in missing {
            let stream = StreamID(partition: file.partition, producer: range.producer)
            accept(range.sequences.upperBound, of: stream, in: file)
        }
    }

    /// All that the file lacks of a stream, through a sequence. A stream of an earlier epoch is in every file.
    private func accept(_ through: UInt64, of stream: StreamID, in file: ModelShard) {
        var record = file.tables.records[stream] ?? .empty
        guard through > record.watermark, !file.tables.isClosed else { return }
        let lost = record.watermark + 1...through
        file.tables.lose(lost, of: stream)
        record.watermark = through
        file.tables.records[stream] = record
        counts.lostBatches += lost.count
        log("ACCEPT \(stream.partition) \(lost) as lost in \(file.partition)")
        note(41 << 48 ^ UInt64(lost.count))
        name(Consumer.MissingRange(producer: stream.producer, sequences: lost), in: stream.partition)
    }

    /// What the ledger says of each loss is what its batches held.
    func checkLosses(of file: ModelShard) {
        for loss in file.tables.losses {
            guard let amount = loss.amount else { continue }
            var held = Amount.zero
            for sequence in loss.sequences {
                held += oracle.amount(of: BatchID(stream: loss.stream, sequence: sequence)) ?? .zero
            }
            if held != amount { bad("a loss of \(loss.stream.partition) is \(amount), its batches held \(held)") }
        }
    }
}

extension ModelShard.Tables {
    /// What of a stream its record does not account for, in losses.
    func lost(of stream: StreamID) -> Amount {
        losses.reduce(.zero) { $1.stream == stream ? $0 + ($1.amount ?? .zero) : $0 }
    }

    /// A loss that continues one whose amount is not known yet is one with it: the next batch tells of both.
    mutating func lose(_ sequences: ClosedRange<UInt64>, of stream: StreamID) {
        if let index = losses.lastIndex(where: { $0.stream == stream }), losses[index].amount == nil {
            losses[index] = StreamLoss(
                stream: stream, sequences: losses[index].sequences.lowerBound...sequences.upperBound)
        } else {
            losses.append(StreamLoss(stream: stream, sequences: sequences))
        }
    }
}
