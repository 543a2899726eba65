// A shard file that was built at once is the same, row by row, as one that was filled by batches, and is left in the
// same state.

import Glibc
import ShardStore
import TallyCore
import Testing

@Suite struct ShardBuilderTests {
    let folder = Folder()
    var built: String { folder.path + "/built.sqlite" }

    private func builder() throws(StoreError) -> ShardBuilder {
        try ShardBuilder(at: built, identity: .sample, timeMilliseconds: 1_000)
    }

    private func append(_ key: String, _ value: Int64, _ updated: UInt64 = 7, to builder: ShardBuilder) throws {
        try Array(key.utf8).withUnsafeBytes {
            try builder.append(key: $0, value: value, updatedMilliseconds: updated)
        }
    }

    private func open() throws(StoreError) -> ShardFile {
        try ShardFile.open(at: built, expecting: ShardIdentity.sample.expectation)
    }

    /// Short and long keys, composed and decomposed, alike for long.
    private static func keys(_ count: Int, _ random: inout SplitMix64) -> [String] {
        let stems = ["", "page/", "é/", "e\u{301}/", String(repeating: "x", count: 480), "\u{10FFFF}"]
        let keys = (0..<count).map { stems[$0 % stems.count] + "\(random.next())" }
        return keys + ["é", "e\u{301}", "a", String(repeating: "z", count: Limits.keyBytesMax)]
    }

    @Test func equalsAFileFilledByBatches() throws {
        var random = SplitMix64(seed: 11)
        let keys = Self.keys(12_000, &random)
        let shard = try ShardFile.sample(in: folder)
        var one = BatchMaker(1)
        for slice in stride(from: 0, to: keys.count, by: 1_500) {
            let entries = keys[slice..<min(keys.count, slice + 1_500)].map { key in
                TestEntry(key, key == "a" ? .min : key == "é" ? .max : Int64(truncatingIfNeeded: random.next() >> 20))
            }
            _ = try shard.apply([one.make(entries)], timeMilliseconds: 5_000 + UInt64(slice))
        }
        let reader = try ShardReader(at: folder.shard)
        let builder = try builder()
        let cursor = try reader.counters()
        while try cursor.next() {
            try builder.append(
                key: cursor.key, value: cursor.value, updatedMilliseconds: cursor.updatedMilliseconds)
        }
        let streams = try reader.rows(of: .applied)
        while let row = try streams.next() { #expect(try builder.insert(row)) }
        #expect(builder.totals.keys == keys.count)
        // More than one buffer, and not a whole number of them.
        #expect(keys.reduce(0) { $0 + $1.utf8.count } > 1 << 20)
        try builder.finish(
            start: ShardStart(carried: Amount(increments: 5, sum: builder.totals.sum), imported: .zero))
        for table in ["counters", "applied", "routed", "idempotency", "claim", "dead_letter", "lost"] {
            let rows = "SELECT * FROM \(table)"
            #expect(shell(built, rows) == shell(folder.shard, rows), "table \(table)")
        }
        #expect(shell(built, ".schema") == ShardSchemaTests.golden)
        #expect(shell(built, "PRAGMA integrity_check") == "ok")
    }

    @Test func theFileIsLeftAsCreationLeavesIt() throws {
        try ShardFile.createSample(folder.shard)
        let builder = try builder()
        try append("a", 1, to: builder)
        #expect(size(built) == -1)
        try builder.finish(start: ShardStart(carried: Amount(increments: 1, sum: 1), imported: .zero))
        for suffix in ["", "-wal", "-shm", ".lock", ".new", ".new-journal", ".new-wal", ".new-shm"] {
            #expect((size(built + suffix) < 0) == (size(folder.shard + suffix) < 0), "\(suffix)")
            #expect(mode(built + suffix) == mode(folder.shard + suffix), "\(suffix)")
        }
        #expect(size(built + "-wal") == size(folder.shard + "-wal"))
        for pragma in ["application_id", "user_version", "journal_mode", "page_size", "encoding", "auto_vacuum"] {
            #expect(shell(built, "PRAGMA \(pragma)") == shell(folder.shard, "PRAGMA \(pragma)"), "\(pragma)")
        }
        // The byte that says "written ahead", in the file itself.
        #expect(byte(built, at: 18) == 2)
        #expect(byte(built, at: 18) == byte(folder.shard, at: 18))
    }

    @Test func figuresAndLedger() throws {
        let builder = try builder()
        try append("a", .max, to: builder)
        try append("b", .max, 9, to: builder)
        try append("c", -3, to: builder)
        let total = Int128(Int64.max) * 2 - 3
        #expect(builder.totals == ShardTotals(keys: 3, sum: total))
        let start = ShardStart(
            carried: Amount(increments: 4, sum: total - 10), imported: Amount(increments: 2, sum: 10))
        try builder.finish(start: start)
        let reader = try ShardReader(at: built, expecting: ShardIdentity.sample.expectation)
        #expect(try reader.totals() == builder.totals)
        #expect(try reader.statistics().keys == 3)
        #expect(try reader.statistics().total == total)
        #expect(try reader.start() == start)
        #expect(try reader.lastCommitMilliseconds() == nil)
        #expect(reader.state == .open)
    }

    @Test func goesOnAsAnyShard() throws {
        let builder = try builder()
        try append("a", 5, to: builder)
        try builder.finish(start: ShardStart(carried: Amount(increments: 1, sum: 5), imported: .zero))
        let shard = try open()
        var one = BatchMaker(1)
        _ = try shard.apply([one.make([TestEntry("a", 2), TestEntry("b", 1)])], timeMilliseconds: 77)
        #expect(shell(built, "SELECT * FROM counters") == "a|7|77\nb|1|77")
        #expect(try shard.statistics().keys == 2)
        #expect(try shard.statistics().total == 8)
        try shard.checkpoint()
    }

    /// What shards remember of what they have forgotten goes where their rows go.
    @Test func memoryIsCarriedOver() throws {
        var memory = ShardMemory()
        memory.claimClock = ClaimClock(
            time: 9_000, decidesFrom: 5_000, shown: 50_000, start: 40_000, before: 40_000, startTime: 0)
        memory.imports = [Bytes16(high: 1, low: 2), Bytes16(high: 3, low: 4)]
        memory.forgottenEpoch = 2
        try builder().finish(start: .nothing, memory: memory)
        #expect(try ShardReader(at: built).memory() == memory)
        let shard = try open()
        #expect(shard.claimClock == memory.claimClock)
        var one = BatchMaker(1)
        one.frozenAt = 45_999
        let old = PartitionID(epoch: 2, number: 1)
        let origin = BatchID(stream: StreamID(partition: old, producer: BatchMaker.producer(9)), sequence: 1)
        let batches = [
            one.make([], groups: [("import:\(memory.imports[1])", [TestEntry("a", 1)]), ("id", [TestEntry("b", 2)])]),
            one.make([TestEntry("c", 4)], origin: origin),
        ]
        let applied = try #require(try shard.apply(batches, timeMilliseconds: 1).applied)
        #expect(applied.repeated == Amount(increments: 1, sum: 1))
        #expect(applied.dead == Amount(increments: 2, sum: 6))
        #expect(
            try ShardReader(at: built).deadLetters(limit: 9).map(\.reason) == [.late, .forgotten])
    }

    @Test func memoriesAreJoined() {
        var one = ShardMemory()
        one.claimClock = ClaimClock(time: 1_000)
        one.imports = [Bytes16(high: 1, low: 1)]
        var two = ShardMemory()
        two.claimClock = ClaimClock(time: 800, decidesFrom: 100)
        two.imports = [Bytes16(high: 2, low: 2), Bytes16(high: 1, low: 1)]
        two.forgottenEpoch = 4
        let all = ShardMemory.joined([one, two, ShardMemory()])
        #expect(all.claimClock == ClaimClock(time: 1_000, decidesFrom: 300, startTime: 1_000))
        #expect(Set(all.imports) == Set(two.imports) && all.imports.count == 2)
        #expect(all.forgottenEpoch == 4)
        #expect(ShardMemory.joined([]) == ShardMemory())
    }

    @Test func aShardThatRemembersNothingSaysNothing() throws {
        try builder().finish(start: .nothing)
        try ShardFile.createSample(folder.shard)
        let names = "SELECT name FROM meta"
        #expect(shell(built, names) == shell(folder.shard, names))
    }

    @Test func anEmptyShard() throws {
        try builder().finish(start: .nothing)
        #expect(try ShardReader(at: built).totals() == ShardTotals(keys: 0, sum: 0))
        #expect(try open().statistics().keys == 0)
    }

    @Test func keysAscend() throws {
        let builder = try builder()
        try append("b", 1, to: builder)
        for key in ["b", "a"] {
            let error = #expect(throws: StoreError.self) { try append(key, 1, to: builder) }
            #expect(
                error?.description == """
                    \(built): a key was to be written that does not follow the one before it; check the files that are \
                    being read: one of them is damaged
                    """)
            #expect(error?.exitCode == 65)
        }
        // Also across the end of a buffer: each row is longer than 512 bytes.
        for number in 1_000..<5_000 { try append("c\(number)" + String(repeating: "x", count: 507), 1, to: builder) }
        #expect(throws: StoreError.self) { try append("c1500", 1, to: builder) }
        try append("d", 1, to: builder)
        try builder.finish(start: ShardStart(carried: Amount(increments: 1, sum: 4_002), imported: .zero))
        #expect(shell(built, "SELECT count(*), sum(value) FROM counters") == "4002|4002")
        #expect(shell(built, "PRAGMA integrity_check") == "ok")
    }

    @Test func interruptedItLeavesNothingThatCountsAndBeginsAgain() throws {
        var builder: ShardBuilder? = try builder()
        for number in 10_000..<40_000 { try append("\(number)" + String(repeating: "x", count: 90), 1, to: builder!) }
        let error = #expect(throws: StoreError.self) { _ = try self.builder() }
        #expect(error?.code == .locked)
        builder = nil
        #expect(size(built) == -1)
        let again = try self.builder()
        try append("a", 1, to: again)
        try again.finish(start: ShardStart(carried: Amount(increments: 1, sum: 1), imported: .zero))
        #expect(try ShardReader(at: built).totals().keys == 1)
        #expect(size(built + ".new") == -1)
        let exists = #expect(throws: StoreError.self) { _ = try self.builder() }
        #expect(exists?.code == .exists)
    }

    @Test func aStreamThatDiffersIsNotTakenOver() throws {
        let builder = try builder()
        func row(_ watermark: Int64) -> CarriedRow {
            let zero: [CarriedRow.Value] = [.integer(3), .text(Array("12".utf8))]
            return CarriedRow(
                .applied,
                [.integer(1), .integer(0), .blob(Array(repeating: 9, count: 16)), .integer(watermark)] + zero + zero
                    + zero + zero)
        }
        #expect(try builder.insert(row(4)))
        #expect(try !builder.insert(row(4)))
        let error = #expect(throws: StoreError.self) { _ = try builder.insert(row(5)) }
        #expect(
            error?.description == """
                \(built): two shards of an earlier epoch disagree about the same stream; check them: one of them is \
                damaged or was replaced
                """)
        #expect(try builder.insert(CarriedRow(.idempotency, [.text([65]), .text([66]), .integer(1)])))
        #expect(try !builder.insert(CarriedRow(.idempotency, [.text([65]), .text([66]), .integer(2)])))
        let loss = CarriedRow(
            .losses,
            [
                .integer(1), .integer(0), .blob(Array(repeating: 9, count: 16)), .integer(4), .integer(6), .null, .null,
                .integer(5),
            ])
        #expect(try builder.insert(loss))
        try builder.finish(start: .nothing)
        let losses = try ShardReader(at: built).losses()
        #expect(losses.map(\.sequences) == [4...6] && losses.map(\.amount) == [nil])
        #expect(losses.map(\.stream.partition) == [PartitionID(epoch: 1, number: 0)])
        #expect(try ShardReader(at: built).count(of: .losses) == 1)
    }

    private func byte(_ path: String, at offset: Int) -> UInt8 {
        let descriptor = Glibc.open(path, O_RDONLY)
        defer { close(descriptor) }
        var byte: UInt8 = 0
        precondition(pread(descriptor, &byte, 1, offset) == 1)
        return byte
    }
}
