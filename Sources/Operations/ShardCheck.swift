// One shard file by itself: all that can be said about it without looking at Redis or at another shard.
//
// Everything is read in one snapshot, so a consumer that writes meanwhile changes nothing. SQLite's quick_check knows
// whether the file is a sound database; whether it holds what it should is found by walking over every row: keys that
// are keys, in ascending order, in their shard; figures and ledger that agree with the counters.

import ServiceKit
import ShardConsumer
import ShardStore
import TallyCore

/// What a look at one shard has found.
struct ShardCheck: Sendable {
    let location: ShardLocation
    private(set) var findings: [Finding] = []
    /// SQLite cannot make sense of the file.
    private(set) var isUnreadable = false
    /// Some key belongs elsewhere, so it may be there as well.
    private(set) var hasStrayKeys = false
    /// nil if the counters could not all be read.
    private(set) var totals: ShardTotals?
    /// nil if the file could not be opened.
    private(set) var uuid: ShardUUID?
    /// Of its own streams; nil if they could not be read.
    private(set) var records: [ProducerID: StreamRecord]?
    /// Of its own streams, what was declared lost.
    private(set) var losses: [ProducerID: StreamLosses] = [:]

    static let quickCheckSentencesMax = 20
    /// Rows between two steps of the progress.
    private static let progressRows = 1 << 14

    /// Reads all of the shard.
    ///
    /// - Parameter advance: gets the counters walked over since its last call.
    init(_ location: ShardLocation, of file: ClusterFile, advance: (Int) -> Void) {
        self.location = location
        let reader: ShardReader
        do throws(Failure) {
            reader = try onStore { () throws(StoreError) in
                try ShardReader(at: location.path, expecting: location.expected)
            }
        } catch {
            isUnreadable = error.code == .corrupt
            add(error)
            return
        }
        uuid = reader.identity.uuid
        if reader.state == .retired {
            found(
                "it is retired, though its epoch is the current one: no consumer may write it",
                "`tallymill rebalance resume` goes on with a rebalance that was interrupted; otherwise restore the "
                    + "file from a backup.")
        }
        attempt { check throws(StoreError) in try check.quickCheck(reader) }
        attempt { check throws(StoreError) in try check.walkCounters(reader, file.topology.partitioner, advance) }
        attempt { check throws(StoreError) in try check.checkStreams(reader, KnownEpochs(file)) }
        attempt { check throws(StoreError) in try check.checkLosses(reader, KnownEpochs(file)) }
        attempt { check throws(StoreError) in try check.checkRouted(reader, KnownEpochs(file)) }
        attempt { check throws(StoreError) in try check.checkKeyed(reader, file.topology.partitioner) }
    }

    private var number: UInt32 { location.partition.number }

    private mutating func found(_ what: String, _ advice: String) {
        findings.append(Finding(number, location.path, what, advice))
    }

    private mutating func add(_ error: Failure) {
        let finding = Finding(error, partition: number, otherwise: location.path)
        // A damaged page is met by every walk that comes across it.
        if !findings.contains(finding) { findings.append(finding) }
    }

    private mutating func attempt(_ step: (inout ShardCheck) throws(StoreError) -> Void) {
        do throws(Failure) {
            try onStore { () throws(StoreError) in try step(&self) }
        } catch {
            add(error)
        }
    }

    private static let restore = "Restore the file from a backup."

    private mutating func quickCheck(_ reader: ShardReader) throws(StoreError) {
        for sentence in try reader.quickCheck(limit: Self.quickCheckSentencesMax) {
            found("SQLite finds it damaged: \(sentence)", Self.restore)
        }
    }

    // MARK: Counters

    private mutating func walkCounters(
        _ reader: ShardReader, _ partitioner: Partitioner, _ advance: (Int) -> Void
    ) throws(StoreError) {
        let cursor = try reader.counters()
        var series = KeySeries(partition: number, path: location.path, table: "", partitioner)
        var keys = 0
        var sum: Int128 = 0
        var last: [UInt8] = []
        var disorder = FindingSeries()
        defer {
            findings += series.findings + disorder.findings
            hasStrayKeys = series.hasStrays
        }
        while try cursor.next() {
            let key = cursor.key
            if keys > 0, last.withUnsafeBytes({ Bytes.compare($0, key) }) >= 0 {
                disorder.add(
                    Finding(
                        number, location.path, "the key \(shown(key)) does not come after the one before it",
                        Self.restore))
            }
            series.look(at: key)
            last.removeAll(keepingCapacity: true)
            last.append(contentsOf: key)
            keys += 1
            sum += Int128(cursor.value)
            if keys % Self.progressRows == 0 { advance(Self.progressRows) }
        }
        advance(keys % Self.progressRows)
        totals = ShardTotals(keys: keys, sum: sum)
        let figures = try reader.statistics()
        if figures.keys != keys || figures.total != sum {
            found(
                "it holds \(Humanized.count(keys, "key")) that add up to \(sum), but says \(figures.keys) and"
                    + " \(figures.total)",
                "Somebody or something else than its consumer changed counters: restore the file from a backup.")
        }
        let start = try reader.start()
        let own = try reader.records(of: location.partition)
        let applied = own.values.reduce(Int128(0)) { $0 &+ $1.applied.sum }
        let ledger = start.carried.sum &+ start.imported.sum &+ applied
        if sum != ledger {
            found(
                "its counters add up to \(sum), its ledger (carried \(start.carried.sum), imported "
                    + "\(start.imported.sum), applied \(applied)) to \(ledger)",
                "Counters or ledger were changed by something else than its consumer: restore the file from a backup.")
        }
    }

    // MARK: The other tables

    private mutating func checkStreams(_ reader: ShardReader, _ epochs: KnownEpochs) throws(StoreError) {
        var series = FindingSeries()
        var own: [ProducerID: StreamRecord] = [:]
        defer { findings += series.findings }
        let lost = try reader.losses().byStream
        try reader.forEachStream { row in
            let producer = Bytes16(row.producer).map { ProducerID($0) }
            let isOwn =
                row.epoch == Int64(location.partition.epoch) && row.partition == Int64(location.partition.number)
            if let problem = Self.problem(of: row, producer, isOwn: isOwn, epochs, lost) {
                let name = "e\(row.epoch).p\(row.partition) of producer \(Hex.text(row.producer))"
                series.add(
                    Finding(number, location.path, "its table applied has the stream \(name): \(problem)", Self.restore)
                )
            }
            if isOwn, let producer, let record = row.record { own[producer] = record }
        }
        records = own
    }

    /// What is wrong with a row of `applied`, nil if nothing.
    private static func problem(
        of row: ShardReader.StreamRow, _ producer: ProducerID?, isOwn: Bool, _ epochs: KnownEpochs,
        _ lost: [StreamID: StreamLosses]
    ) -> String? {
        guard let producer else { return "a producer has \(Bytes16.count) bytes" }
        if let problem = epochs.problem(epoch: row.epoch, partition: row.partition) { return problem }
        if !isOwn, row.epoch == Int64(epochs.current) { return "that is another partition of its own epoch" }
        guard (1...Int64(Limits.sequenceMax)).contains(row.watermark) else {
            return "\(row.watermark) is no watermark"
        }
        guard let record = row.record else { return "its amounts are no numbers" }
        let partition = PartitionID(epoch: UInt32(clamping: row.epoch), number: UInt32(clamping: row.partition))
        let losses = lost[StreamID(partition: partition, producer: producer)] ?? .none
        let parts = record.applied + record.repeated + record.dead + losses.amount
        if parts != record.through {
            return "through \(record.through.increments) increments, sum \(record.through.sum), is not applied + "
                + "repeated + dead\(losses.batches > 0 ? " + lost" : ""), \(parts.increments) increments, sum "
                + "\(parts.sum)"
        }
        if isOwn, record.through.increments < record.watermark - min(record.watermark, losses.unknownBatches) {
            return "\(record.watermark) batches cannot hold \(record.through.increments) increments, as each holds one "
                + "at least"
        }
        return nil
    }

    private mutating func checkLosses(_ reader: ShardReader, _ epochs: KnownEpochs) throws(StoreError) {
        var series = FindingSeries()
        defer { findings += series.findings }
        let losses = try reader.losses()
        self.losses = losses.byProducer(of: location.partition)
        for (loss, next) in zip(losses, losses.dropFirst().map { $0 } + [nil]) {
            let partition = loss.stream.partition
            var problem = epochs.problem(epoch: Int64(partition.epoch), partition: Int64(partition.number))
            if partition == location.partition,
                loss.sequences.upperBound > records?[loss.stream.producer]?.watermark ?? 0
            {
                problem = "the watermark of that stream is \(records?[loss.stream.producer]?.watermark ?? 0)"
            }
            if let next, next.stream == loss.stream, next.sequences.overlaps(loss.sequences) {
                problem = "it is there twice, in part"
            }
            guard let problem else { continue }
            let name =
                "\(loss.sequences.lowerBound)-\(loss.sequences.upperBound) of \(partition), producer "
                + "\(loss.stream.producer)"
            series.add(
                Finding(number, location.path, "its table lost has the batches \(name): \(problem)", Self.restore))
        }
    }

    private mutating func checkRouted(_ reader: ShardReader, _ epochs: KnownEpochs) throws(StoreError) {
        var keys = KeySeries(partition: number, path: location.path, table: "routed", epochs.partitioner)
        var series = FindingSeries()
        defer { findings += series.findings + keys.findings }
        try reader.forEachRouted { row in
            var problem = epochs.problem(epoch: row.epoch, partition: row.partition)
            if row.producer.count != Bytes16.count { problem = "a producer has \(Bytes16.count) bytes" }
            if !(1...Int64(Limits.sequenceMax)).contains(row.sequence) { problem = "\(row.sequence) is no sequence" }
            if let problem {
                let name = "e\(row.epoch).p\(row.partition) \(Hex.text(row.producer)) \(row.sequence)"
                series.add(
                    Finding(number, location.path, "its table routed has the origin \(name): \(problem)", Self.restore))
            }
            keys.look(at: row.key)
        }
    }

    private mutating func checkKeyed(_ reader: ShardReader, _ partitioner: Partitioner) throws(StoreError) {
        for table in ShardReader.KeyedTable.allCases {
            var keys = KeySeries(partition: number, path: location.path, table: table.rawValue, partitioner)
            defer { findings += keys.findings }
            try reader.forEachKey(of: table) { keys.look(at: $0) }
        }
        var claims = KeySeries(partition: number, path: location.path, table: "claim", partitioner)
        defer { findings += claims.findings }
        var rows = 0
        try reader.forEachClaim { digest, hash in
            claims.look(atClaim: digest, ofHash: hash)
            rows += 1
        }
        let said = try reader.statistics().claims
        if said != rows {
            found("its table claim has \(rows) rows, but it says \(said)", Self.restore)
        }
    }
}

/// The epochs that a cluster has had.
struct KnownEpochs {
    let current: UInt32
    let partitioner: Partitioner
    private let partitions: [Int64: Int]
    private let oldest: Int64

    init(_ file: ClusterFile) {
        current = file.topology.epoch
        partitioner = file.topology.partitioner
        var partitions = [Int64(file.topology.epoch): file.topology.partitions]
        for epoch in file.earlier { partitions[Int64(epoch.epoch)] = epoch.partitions }
        self.partitions = partitions
        oldest = partitions.keys.min() ?? Int64(current)
    }

    /// Why there can be no such partition, or nil.
    func problem(epoch: Int64, partition: Int64) -> String? {
        if epoch < 1 || epoch > Int64(current) { return "epoch \(epoch) does not exist, the current one is \(current)" }
        guard let count = partitions[epoch] else {
            // What was before the oldest epoch that is known has been purged.
            return epoch < oldest && partition >= 0 ? nil : "the cluster file does not know epoch \(epoch)"
        }
        if partition < 0 || partition >= Int64(count) {
            return "epoch \(epoch) has \(Humanized.count(count, "partition"))"
        }
        return nil
    }
}

/// Keys of one table of one shard that are no keys, or belong elsewhere.
struct KeySeries {
    private let partition: UInt32
    private let path: String
    /// Empty for the counters.
    private let table: String
    private let partitioner: Partitioner
    private var invalid = FindingSeries()
    private var strays = FindingSeries()

    init(partition: UInt32, path: String, table: String, _ partitioner: Partitioner) {
        self.partition = partition
        self.path = path
        self.table = table
        self.partitioner = partitioner
    }

    var hasStrays: Bool { strays.count > 0 }
    var findings: [Finding] { invalid.findings + strays.findings }

    mutating func look(at key: UnsafeRawBufferPointer) {
        let owner = UInt32(partitioner.partition(ofHash: XXH64.hash(key)))
        if owner != partition {
            let stray = finding(
                "the key \(shown(key)) \(place)belongs to partition \(owner), not to \(partition)",
                "Nothing of Tallymill writes a key elsewhere: restore the file from a backup.")
            strays.add(stray)
        }
        if let error = Key.validateStored(key) {
            let wrong = finding("\(shown(key)) \(place)is no key: \(error)", "Restore the file from a backup.")
            invalid.add(wrong)
        }
    }

    /// A claim does not hold its key.
    mutating func look(atClaim digest: UnsafeRawBufferPointer, ofHash hash: UInt64) {
        let owner = UInt32(partitioner.partition(ofHash: hash))
        let name = "the claim \(Hex.text(digest)) \(place)"
        if owner != partition {
            let stray = finding(
                "\(name)belongs to partition \(owner), not to \(partition)",
                "Nothing of Tallymill writes a claim elsewhere: restore the file from a backup.")
            strays.add(stray)
        }
        if digest.count != Bytes16.count {
            let wrong = finding("\(name)is no digest", "Restore the file from a backup.")
            invalid.add(wrong)
        }
    }

    private func finding(_ what: String, _ advice: String) -> Finding {
        Finding(partition, path, what, advice)
    }

    private var place: String { table.isEmpty ? "" : "in its table \(table) " }
}
