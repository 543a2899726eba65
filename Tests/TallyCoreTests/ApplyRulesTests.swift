// The apply transaction over tables made of dictionaries: which batches count, which of their increments, and what is
// written down. Every outcome is checked with its ledger, because a loss and a duplicate may not cancel.

import Testing

@testable import TallyCore

@Suite struct ApplyRulesTests {
    typealias Fixture = CoreFixture
    typealias Outcome = Result<ApplyOutcome, MemoryTables.Broken>

    /// The tables of a shard as dictionaries.
    struct MemoryTables: ShardTables {
        struct Broken: Error, Equatable {}
        struct Routed: Hashable {
            let origin: BatchID
            let key: String
        }
        struct Idempotent: Hashable {
            let id: String
            let key: String
        }

        var retired = false
        var records: [StreamID: StreamRecord] = [:]
        var counters: [String: Int64] = [:]
        var routed: Set<Routed> = []
        var idempotent: Set<Idempotent> = []
        var letters: [DeadLetter] = []
        var losses: [StreamLoss] = []
        var forgotten: UInt32 = 0
        /// Claims of what was sent before have been forgotten.
        var decidesFrom: UInt64 = 0
        var adds: [String] = []
        /// How many calls succeed before the storage fails.
        var callsLeft = Int.max

        private mutating func call() throws(Broken) {
            if callsLeft == 0 { throw Broken() }
            callsLeft -= 1
        }

        private func text(_ bytes: UnsafeRawBufferPointer) -> String { String(decoding: bytes, as: UTF8.self) }

        mutating func isRetired() throws(Broken) -> Bool {
            try call()
            return retired
        }

        mutating func record(of stream: StreamID) throws(Broken) -> StreamRecord? {
            try call()
            return records[stream]
        }

        mutating func setRecord(_ record: StreamRecord, of stream: StreamID) throws(Broken) {
            try call()
            #expect(record.watermark > records[stream]?.watermark ?? 0, "a watermark never goes back")
            let lost = losses.reduce(Amount.zero) { $1.stream == stream ? $0 + ($1.amount ?? .zero) : $0 }
            #expect(record.unaccounted == lost, "the ledger balances")
            records[stream] = record
        }

        mutating func claimRouted(origin: BatchID, key: UnsafeRawBufferPointer) throws(Broken) -> Bool {
            try call()
            return routed.insert(Routed(origin: origin, key: text(key))).inserted
        }

        mutating func claimIdempotent(
            _ idempotencyKey: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer, sent: UInt64
        ) throws(Broken) -> IdempotentClaim {
            try call()
            let isNew = idempotent.insert(Idempotent(id: text(idempotencyKey), key: text(key))).inserted
            return !isNew ? .repeated : sent < decidesFrom ? .tooLate : .new
        }

        mutating func releaseClaim(
            _ idempotencyKey: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer
        ) throws(Broken) {
            try call()
            idempotent.remove(Idempotent(id: text(idempotencyKey), key: text(key)))
        }

        mutating func forgottenEpoch() throws(Broken) -> UInt32 {
            try call()
            return forgotten
        }

        mutating func isLost(_ batch: BatchID) throws(Broken) -> Bool {
            try call()
            return losses.contains { $0.contains(batch) }
        }

        mutating func settleLoss(before batch: BatchID, amount: Amount) throws(Broken) -> Bool {
            try call()
            guard let index = losses.firstIndex(where: { $0.isDirectly(before: batch) && $0.amount == nil }) else {
                return false
            }
            losses[index].amount = amount
            return true
        }

        mutating func add(_ delta: Int64, to key: UnsafeRawBufferPointer, time: UInt64) throws(Broken) -> Bool {
            try call()
            let (sum, overflow) = counters[text(key), default: 0].addingReportingOverflow(delta)
            if overflow { return false }
            counters[text(key)] = sum
            adds.append(text(key))
            return true
        }

        mutating func bury(_ letter: DeadLetter, time: UInt64) throws(Broken) {
            try call()
            letters.append(letter)
        }
    }

    static let here = Fixture.partition(1, 0)

    /// One transaction, as a store runs it: rolled back unless it commits, repeated entry by entry if folding fails.
    static func apply(
        _ batches: [[UInt8]], to tables: inout MemoryTables, folding: Bool = true
    ) throws -> ApplyOutcome {
        var copy = tables
        let outcome = try ApplyRules.apply(batches, to: &copy, partition: here, time: 1, folding: folding)
        if case .commit = outcome { tables = copy }
        if folding, outcome == .tooManyMisfits { return try apply(batches, to: &tables, folding: false) }
        return outcome
    }

    static func commit(_ batches: [Batch], to tables: inout MemoryTables, folding: Bool = true) throws -> Applied {
        let outcome = try apply(batches.map(\.bytes), to: &tables, folding: folding)
        guard case .commit(let applied) = outcome else {
            Issue.record("no commit: \(outcome)")
            return Applied()
        }
        return applied
    }

    /// Batches 1, 2, ... of one producer, with a running ledger.
    static func stream(
        _ contents: [[Fixture.Entry]], producer: UInt64 = 1, from sequence: UInt64 = 1, after: Amount = .zero,
        origins: [BatchID?]? = nil
    ) -> [Batch] {
        var cumulative = after
        return contents.enumerated().map { index, entries in
            let batch = Fixture.batches(
                entries, id: Fixture.batchID(sequence + UInt64(index), producer: producer), after: cumulative,
                origin: origins?[index])[0]
            for entry in entries { cumulative += Amount(increments: entry.increments, sum: Int128(entry.sum)) }
            return batch
        }
    }

    // MARK: Watermarks

    @Test func batchesCountOnceAndInOrder() throws {
        var tables = MemoryTables()
        let batches = Self.stream([[Fixture.entry("a", 1)], [Fixture.entry("a", 2), Fixture.entry("b", 3)]])
        let other = Self.stream([[Fixture.entry("a", 10, 4)]], producer: 2)
        var applied = try Self.commit([batches[0], other[0], batches[1]], to: &tables)
        #expect(tables.counters == ["a": 13, "b": 3])
        #expect(tables.adds == ["a", "b"], "folded, in key order")
        #expect(applied.committed == [batches[0].id, other[0].id, batches[1].id])
        #expect(applied.watermarks == [Fixture.producer(1): 2, Fixture.producer(2): 1])
        #expect(applied.applied == Amount(increments: 7, sum: 16) && applied.keys == 2 && applied.skippedBatches == 0)
        #expect(
            tables.records[Fixture.stream(1)]
                == StreamRecord(
                    watermark: 2, through: Amount(increments: 3, sum: 6), applied: Amount(increments: 3, sum: 6),
                    repeated: .zero, dead: .zero))
        // The same list again, as after a lost trim, and one batch more.
        let before = tables.records
        applied = try Self.commit([batches[0], other[0], batches[1]], to: &tables)
        #expect(tables.counters == ["a": 13, "b": 3] && tables.records == before)
        #expect(applied.skippedBatches == 3 && applied.committed.count == 3 && applied.applied == .zero)
        #expect(applied.watermarks == [Fixture.producer(1): 2, Fixture.producer(2): 1])
    }

    @Test func aListThatHoldsABatchTwice() throws {
        var tables = MemoryTables()
        let batch = Self.stream([[Fixture.entry("a", 1)]])[0]
        let applied = try Self.commit([batch, batch], to: &tables)
        #expect(
            tables.counters == ["a": 1] && applied.skippedBatches == 1 && applied.committed == [batch.id, batch.id])
    }

    @Test func aHoleStopsButWhatPrecedesItCommits() throws {
        var tables = MemoryTables()
        let batches = Self.stream([[Fixture.entry("a", 1)], [Fixture.entry("a", 2)], [Fixture.entry("a", 4)]])
        let applied = try Self.commit([batches[0], batches[2]], to: &tables)
        #expect(applied.committed == [batches[0].id] && tables.counters == ["a": 1])
        #expect(
            try Self.apply([batches[2].bytes], to: &tables) == .stop(.hole(batches[2].id, watermark: 1)))
        #expect(tables.counters == ["a": 1])
    }

    @Test func aBatchOfAnotherPartitionStops() throws {
        var tables = MemoryTables()
        for id in [Fixture.batchID(1, epoch: 2), Fixture.batchID(1, partition: 1)] {
            let batch = Fixture.batches([Fixture.entry("a", 1)], id: id)[0]
            #expect(
                try Self.apply([batch.bytes], to: &tables) == .stop(.wrongPartition(id, expected: Self.here)))
        }
        #expect(tables.counters.isEmpty && tables.records.isEmpty)
    }

    @Test func aRetiredFileIsNotTouched() throws {
        var tables = MemoryTables()
        tables.retired = true
        #expect(try Self.apply([Self.stream([[Fixture.entry("a", 1)]])[0].bytes], to: &tables) == .retired)
        #expect(try Self.apply([], to: &tables) == .retired)
        tables.retired = false
        #expect(try Self.apply([], to: &tables) == .commit(Applied()))
    }

    @Test func messagesAreStable() {
        let id = "e1.p0 00000000000000aa0000000000000001 9"
        #expect(
            "\(ApplyAlarm.hole(Fixture.batchID(9), watermark: 4))"
                == "batch \(id) follows watermark 4: the batches between them are missing")
        #expect(
            "\(ApplyAlarm.wrongPartition(Fixture.batchID(9), expected: Fixture.partition(2, 3)))"
                == "batch \(id) lies in the queue of e2.p3")
        #expect(
            "\(ApplyAlarm.unreadable("it does not begin with TMB"))"
                == "the oldest batch of the queue is unreadable: it does not begin with TMB")
        #expect(
            "\(ApplyAlarm.newerVersion(2))"
                == "the oldest batch of the queue has format version 2, this release reads 1:"
                + " upgrade the consumers before the web nodes")
    }

    // MARK: Origins

    @Test func aCoveredOriginIsRepeated() throws {
        var tables = MemoryTables()
        let origin = Fixture.batchID(5, producer: 9, epoch: 1, partition: 3)
        var record = StreamRecord.empty
        record.watermark = 5
        tables.records[origin.stream] = record
        let next = BatchID(stream: origin.stream, sequence: 6)
        let batches = Self.stream(
            [[Fixture.entry("a", 1, 2)], [Fixture.entry("a", 4)]], origins: [origin, next])
        let applied = try Self.commit(batches, to: &tables)
        #expect(tables.counters == ["a": 4])
        #expect(applied.repeated == Amount(increments: 2, sum: 1) && applied.applied == Amount(increments: 1, sum: 4))
        #expect(tables.routed == [MemoryTables.Routed(origin: next, key: "a")])
        #expect(tables.records[Fixture.stream(1)]?.watermark == 2)
        #expect(tables.records[origin.stream] == record, "only the file's own streams are written")
    }

    @Test func aPartThatArrivesTwiceCountsByKey() throws {
        var tables = MemoryTables()
        let origin = Fixture.batchID(5, producer: 9, epoch: 1, partition: 3)
        let first = Self.stream([[Fixture.entry("a", 1), Fixture.entry("b", 2)]], origins: [origin])
        // Another way of the same increments: through a second producer, cut by another K.
        let second = Self.stream(
            [[Fixture.entry("b", 2), Fixture.entry("c", 4)]], producer: 2, origins: [origin])
        let applied = try Self.commit(first + second, to: &tables)
        #expect(tables.counters == ["a": 1, "b": 2, "c": 4])
        #expect(applied.applied == Amount(increments: 3, sum: 7) && applied.repeated == Amount(increments: 1, sum: 2))
    }

    /// A sum that overflowed travels as two entries of one key: (origin, key) is claimed once for both.
    @Test func aRoutedBatchMayHoldAKeyTwice() throws {
        var tables = MemoryTables()
        tables.counters["a"] = -100
        let origin = Fixture.batchID(5, producer: 9, epoch: 1, partition: 3)
        let entries = [Fixture.entry("a", .max), Fixture.entry("a", 1, 3), Fixture.entry("a", 5, group: "r")]
        let batches = Self.stream([entries, [Fixture.entry("a", 1, 3)]], origins: [origin, origin])
        let applied = try Self.commit(batches, to: &tables)
        #expect(tables.counters == ["a": .max - 100 + 6])
        #expect(applied.applied.increments == 5 && applied.repeated == Amount(increments: 3, sum: 1))
    }

    // MARK: Idempotency

    @Test(arguments: [true, false])
    func idempotentIncrementsCountOnce(folding: Bool) throws {
        var tables = MemoryTables()
        let batches = Self.stream([
            [
                Fixture.entry("a", 1, group: "r"), Fixture.entry("b", 2, group: "r"), Fixture.entry("a", 4, group: "s"),
                Fixture.entry("a", 1, group: "r"),
            ],
            [Fixture.entry("a", 8), Fixture.entry("a", 1, group: "r"), Fixture.entry("c", 16, group: "r")],
        ])
        var applied = try Self.commit(batches, to: &tables, folding: folding)
        #expect(tables.counters == ["a": 13, "b": 2, "c": 16])
        #expect(applied.repeated == Amount(increments: 2, sum: 2) && applied.applied == Amount(increments: 5, sum: 31))
        // From another node, in a later transaction.
        let other = Self.stream([[Fixture.entry("a", 1, group: "r")]], producer: 2)
        applied = try Self.commit(other, to: &tables, folding: folding)
        #expect(tables.counters["a"] == 13 && applied.repeated == Amount(increments: 1, sum: 1))
    }

    // MARK: Dead letters

    @Test func whatDoesNotFitIsBuriedExactly() throws {
        var tables = MemoryTables()
        tables.counters = ["a": .max - 1, "b": .min, "c": 1]
        let batches = Self.stream([
            [
                Fixture.entry("a", 1), Fixture.entry("a", 1, 7), Fixture.entry("b", -1, 2, group: "r"),
                Fixture.entry("c", 5),
            ],
            [Fixture.entry("a", -10), Fixture.entry("a", 3)],
        ])
        // In one transaction what is added to "a" would fit.
        let applied = try Self.commit([batches[0]], to: &tables)
        #expect(tables.counters == ["a": .max, "b": .min, "c": 6])
        #expect(applied.dead == Amount(increments: 9, sum: 0))
        #expect(applied.applied == Amount(increments: 2, sum: 6))
        #expect(try Self.commit([batches[1]], to: &tables).applied == Amount(increments: 2, sum: -7))
        #expect(tables.counters["a"] == Int64.max - 7)
        #expect(
            tables.letters == [
                DeadLetter(
                    batch: batches[0].id, reason: .overflow, detail: "adding 1 would leave the range of Int64",
                    idempotencyKey: nil, key: Array("a".utf8), amount: Amount(increments: 7, sum: 1), payload: []),
                DeadLetter(
                    batch: batches[0].id, reason: .overflow, detail: "adding -1 would leave the range of Int64",
                    idempotencyKey: Array("r".utf8), key: Array("b".utf8), amount: Amount(increments: 2, sum: -1),
                    payload: []),
            ])
        #expect(tables.records[Fixture.stream(1)]?.dead == applied.dead)
    }

    @Test func onlyTheHeadIsRunEntryByEntry() {
        let big = [UInt8](repeating: 0, count: Limits.peekBytes / 2)
        typealias Rules = ApplyRules<MemoryTables>
        #expect(Rules.head(of: []) == [])
        #expect(Rules.head(of: [big]) == [big])
        #expect(Rules.head(of: [big, big, [1]]) == [big, big])
        #expect(Rules.head(of: [Array(big.dropLast()), big, [1]]).count == 3)
    }

    @Test func aTransactionEndsBeforeItHoldsTooManyKeys() throws {
        let batches = Self.stream([
            [Fixture.entry("a", 1), Fixture.entry("b", 1)], [Fixture.entry("b", 1)], [Fixture.entry("c", 1)],
            [Fixture.entry("a", 1)],
        ])
        for (keysMax, committed, keys) in [(1, 1, 2), (2, 1, 2), (3, 3, 3), (4, 4, 3)] {
            var tables = MemoryTables()
            guard
                case .commit(let applied) = try ApplyRules.apply(
                    batches.map(\.bytes), to: &tables, partition: Self.here, time: 1, keysMax: keysMax)
            else {
                Issue.record("no commit")
                return
            }
            #expect(applied.committed == batches.prefix(committed).map(\.id) && applied.keys == keys)
            #expect(tables.records[Fixture.stream(1)]?.watermark == UInt64(committed))
            #expect(applied.watermarks == [Fixture.producer(1): UInt64(committed)])
        }
    }

    /// A second peek of a queue that changed meanwhile: what follows a hole is left for the next transaction.
    @Test func aHoleBehindTheFirstBatchEndsTheTransaction() throws {
        var tables = MemoryTables()
        let batches = Self.stream([[Fixture.entry("a", 1)], [Fixture.entry("a", 2)], [Fixture.entry("a", 4)]])
        let applied = try Self.commit([batches[0], batches[2]], to: &tables)
        #expect(applied.committed == [batches[0].id] && tables.counters == ["a": 1])
        #expect(try Self.commit([batches[0], batches[1], batches[2]], to: &tables).skippedBatches == 1)
        #expect(tables.counters == ["a": 7])
    }

    @Test func aDamagedBatchIsSetAsideWithWhatItsLedgerSays() throws {
        var tables = MemoryTables()
        let batches = Self.stream([[Fixture.entry("a", 1)], [Fixture.entry("a", 20, 3)], [Fixture.entry("a", 300)]])
        var broken = batches[1].bytes
        broken[122] ^= 1
        guard case .commit(let applied) = try Self.apply([batches[0].bytes, broken, batches[2].bytes], to: &tables)
        else {
            Issue.record("no commit")
            return
        }
        #expect(tables.counters == ["a": 301])
        #expect(applied.dead == Amount(increments: 3, sum: 20) && applied.committed.count == 3)
        #expect(
            tables.letters == [
                DeadLetter(
                    batch: batches[1].id, reason: .damaged, detail: "its checksum is wrong", idempotencyKey: nil,
                    key: nil, amount: Amount(increments: 3, sum: 20), payload: broken)
            ])
        #expect(tables.records[Fixture.stream(1)]?.watermark == 3)
    }

    @Test func entriesThatContradictTheLedgerAreSetAside() throws {
        var tables = MemoryTables()
        // Its header continues a ledger that never was.
        let batch = Self.stream([[Fixture.entry("a", 1)]], after: Amount(increments: 5, sum: 50))[0]
        let applied = try Self.commit([batch], to: &tables)
        #expect(tables.counters.isEmpty && applied.dead == Amount(increments: 6, sum: 51))
        #expect(tables.letters.map(\.detail) == ["its entries do not add up to what its ledger says"])
    }

    @Test func unreadableOrNewerStopsButWhatPrecedesItCommits() throws {
        let batches = Self.stream([[Fixture.entry("a", 1)], [Fixture.entry("a", 2)]])
        var unreadable = batches[1].bytes
        unreadable[20] ^= 1
        var newer = batches[1].bytes
        newer[3] = 2
        for (bytes, alarm) in [
            (unreadable, ApplyAlarm.unreadable("the checksum of its header is wrong")), (newer, .newerVersion(2)),
            ([], .unreadable("0 bytes are too few for a batch")),
        ] {
            var tables = MemoryTables()
            guard case .commit(let applied) = try Self.apply([batches[0].bytes, bytes, batches[1].bytes], to: &tables)
            else {
                Issue.record("no commit")
                continue
            }
            #expect(applied.committed == [batches[0].id] && tables.counters == ["a": 1])
            #expect(try Self.apply([bytes], to: &tables) == .stop(alarm))
            #expect(tables.letters.isEmpty)
        }
    }

    // MARK: Folding and failures

    /// Where nothing overflows, folding changes nothing but the number of writes.
    @Test(arguments: [1, 2, 3, 4, 5] as [UInt64])
    func foldingGivesTheSameTables(seed: UInt64) throws {
        var generator = SplitMix64(seed: seed)
        var contents: [[Fixture.Entry]] = []
        var origins: [BatchID?] = []
        for _ in 0..<60 {
            let groups = [nil, "g1", "g2"].map { group in
                (0..<Int.random(in: 1...5, using: &generator)).map { _ in
                    Fixture.entry(
                        "k\(Int.random(in: 0..<20, using: &generator))", Int64.random(in: -99...99, using: &generator),
                        UInt64.random(in: 1...4, using: &generator), group: group)
                }
            }
            contents.append(Array(groups.joined()))
            origins.append(
                Bool.random(using: &generator)
                    ? Fixture.batchID(UInt64.random(in: 1...6, using: &generator), producer: 8, epoch: 1, partition: 3)
                    : nil)
        }
        let batches = Self.stream(contents, origins: origins)
        var folded = MemoryTables()
        var record = StreamRecord.empty
        record.watermark = 2
        folded.records[Fixture.stream(8, epoch: 1, partition: 3)] = record
        var plain = folded
        var index = 0
        while index < batches.count {
            let end = min(batches.count, index + Int.random(in: 1...9, using: &generator))
            var left = try Self.commit(Array(batches[max(0, index - 2)..<end]), to: &folded)
            let right = try Self.commit(Array(batches[max(0, index - 2)..<end]), to: &plain, folding: false)
            #expect(left.keys <= right.keys, "seed \(seed)")
            left.keys = right.keys
            #expect(left == right, "seed \(seed)")
            index = end
        }
        #expect(folded.counters == plain.counters && folded.records == plain.records, "seed \(seed)")
        #expect(folded.routed == plain.routed && folded.idempotent == plain.idempotent, "seed \(seed)")
        #expect(folded.records[Fixture.stream(1)]?.watermark == 60)
    }

    @Test func aFailureOfTheStorageIsPassedOn() throws {
        let origin = Fixture.batchID(1, producer: 9, epoch: 1, partition: 3)
        let batches = Self.stream(
            [[Fixture.entry("a", 1), Fixture.entry("b", 1, group: "r")], [Fixture.entry("a", 1)]],
            origins: [nil, origin])
        var whole = MemoryTables()
        whole.callsLeft = 1_000
        _ = try Self.commit(batches, to: &whole)  // to count its calls
        let calls = 1_000 - whole.callsLeft
        #expect(calls == 10)
        for limit in 0..<calls {
            var tables = MemoryTables()
            tables.callsLeft = limit
            #expect(throws: MemoryTables.Broken.self) { try Self.apply(batches.map(\.bytes), to: &tables) }
        }
    }

    /// Two counts of 2^64 - 1 behind valid checksums: added up modulo 2^64, like every ledger.
    @Test func hostileIncrementCountsDoNotTrap() throws {
        var tables = MemoryTables()
        let batches = Self.stream([
            [Fixture.entry("a", 1, .max), Fixture.entry("b", 1)], [Fixture.entry("a", 2, .max)],
        ])
        let applied = try Self.commit(batches, to: &tables)
        #expect(tables.counters == ["a": 3, "b": 1] && applied.applied.increments == .max)
    }
}
