// Killed in mid-apply, out of disk, held by another program, damaged: what the file then holds and what is reported.

import Glibc
import TallyCore
import Testing

@testable import ShardStore

@Suite struct ShardFaultTests {
    let folder = Folder()

    /// The state after a kill is that after some number of whole batches, at least as many as were reported.
    @Test func killedInMidApply() throws {
        let seed = UInt64.random(in: 0 ... .max)
        print("killedInMidApply: seed \(seed)")
        var random = SplitMix64(seed: seed)
        try ShardFile.createSample(folder.shard)
        var one = BatchMaker(1)
        var sums: [String: Int64] = [:]
        var after: [[String: Int64]] = [sums]
        var batches: [[UInt8]] = []
        for _ in 0..<60 {
            let entries = (0..<2_000).map { _ in
                TestEntry("key-\(random.next(upTo: 5_000))", Int64(random.next(upTo: 100)))
            }
            for entry in entries { sums[String(decoding: entry.key, as: UTF8.self), default: 0] += entry.sum }
            after.append(sums)
            batches.append(one.make(entries))
        }
        let list = folder.write(framed(batches), to: "batches")
        var watermark = 0
        var reported = 0
        while watermark < batches.count {
            let child = Child.probe(["apply", folder.shard, list])
            #expect(child.readLine() == "open")
            // Skipped batches are reported at once; the kill comes some milliseconds into one that is new.
            let target = watermark + Int(random.next(upTo: 12))
            while reported < target, let line = child.readLine(), let number = Int(line) { reported = number }
            usleep(UInt32(random.next(upTo: 15_000)))  // the moment of the kill, not a wait for anything
            child.kill()
            let shard = try ShardFile.openSample(folder.shard)
            watermark = Int(try shard.watermarks(of: shard.identity.partition)[one.stream.producer] ?? 0)
            #expect(watermark >= reported, "seed \(seed)")
            try expect(after[watermark], in: shard, "seed \(seed), watermark \(watermark)")
            reported = 0
        }
    }

    private func expect(_ sums: [String: Int64], in shard: ShardFile, _ comment: Comment) throws {
        let reader = try ShardReader(at: folder.shard)
        var found: [String: Int64] = [:]
        let cursor = try reader.counters()
        while try cursor.next() { found[String(decoding: cursor.key, as: UTF8.self)] = cursor.value }
        #expect(found == sums, comment)
        #expect(try shard.statistics().keys == sums.count, comment)
        #expect(try shard.statistics().total == sums.values.reduce(0) { $0 + Int128($1) }, comment)
        #expect(shell(folder.shard, "PRAGMA quick_check") == "ok", comment)
    }

    @Test func aFullFileIsTemporary() throws {
        let shard = try ShardFile.sample(in: folder)
        var one = BatchMaker(1)
        _ = try shard.apply([one.make([TestEntry("a", 1)])], timeMilliseconds: 1)
        let pages = try #require(try shard.connection.integer("PRAGMA page_count"))
        try shard.connection.execute("PRAGMA max_page_count = \(pages + 2)")
        let large = one.make((0..<2_000).map { TestEntry("some longer key \($0)", 1) })
        let error = #expect(throws: StoreError.self) { try shard.apply([large], timeMilliseconds: 1) }
        #expect(error?.code == .full)
        #expect(error?.isTemporary == true)
        #expect(try shard.statistics().keys == 1)
        try shard.connection.execute("PRAGMA max_page_count = 1000000")
        #expect(try shard.apply([large], timeMilliseconds: 1).applied?.keys == 2_000)
        #expect(try shard.statistics().keys == 2_001)
    }

    @Test(.enabled(if: getuid() == 0)) func aFullDiskIsTemporary() throws {
        let mount = folder.path + "/disk"
        #expect(mkdir(mount, 0o755) == 0)
        guard Child.run("/usr/bin/mount", ["-t", "tmpfs", "-o", "size=1m", "tmpfs", mount]).result == 0 else { return }
        defer { Child.run("/usr/bin/umount", [mount]) }
        let path = mount + "/shard.sqlite"
        try ShardFile.createSample(path)
        do {
            let shard = try ShardFile.openSample(path)
            var one = BatchMaker(1)
            let first = one.make([TestEntry("a", 1)])
            let large = one.make((0..<60_000).map { TestEntry("some longer key \($0)", 1) })
            _ = try shard.apply([first], timeMilliseconds: 1)
            for _ in 0..<3 {
                let error = #expect(throws: StoreError.self) { try shard.apply([first, large], timeMilliseconds: 1) }
                #expect(error?.code == .full)
            }
            #expect(try shard.statistics().keys == 1)
            #expect(Child.run("/usr/bin/mount", ["-o", "remount,size=64m", mount]).result == 0)
            #expect(try shard.apply([first, large], timeMilliseconds: 1).applied?.keys == 60_000)
        }
        #expect(try ShardReader(at: path).totals() == ShardTotals(keys: 60_001, sum: 60_001))
    }

    @Test func anotherProgramsTransactionIsTemporary() throws {
        let shard = try ShardFile.sample(in: folder)
        var one = BatchMaker(1)
        let batch = one.make([TestEntry("a", 1)])
        let other = try SQLiteConnection(folder.shard, .readWrite)
        try other.execute("BEGIN IMMEDIATE")
        let error = #expect(throws: StoreError.self) { try shard.apply([batch], timeMilliseconds: 1) }
        #expect(error?.code == .busy)
        #expect(error?.isTemporary == true)
        #expect(
            error?.description == """
                \(folder.shard): cannot execute a statement: database is locked (SQLite 5); end the transaction that \
                another program has open on the file
                """)
        try other.execute("ROLLBACK")
        #expect(try shard.apply([batch], timeMilliseconds: 1).applied?.keys == 1)
    }

    @Test func aDamagedHeaderIsCorrupt() throws {
        try ShardFile.createSample(folder.shard)
        flip(folder.shard, at: 3)
        let error = #expect(throws: StoreError.self) { try ShardFile.openSample(folder.shard) }
        #expect(error?.code == .corrupt)
        #expect(error?.exitCode == 65)
        #expect(
            error?.description == """
                \(folder.shard): cannot execute a statement: file is not a database (SQLite 26); restore the file from \
                a backup
                """)
        #expect(throws: StoreError.self) { try ShardReader(at: folder.shard) }
    }

    @Test func anEmptyFileIsCorrupt() throws {
        _ = folder.write([], to: "shard.sqlite")
        let error = #expect(throws: StoreError.self) { try ShardFile.openSample(folder.shard) }
        #expect(error?.code == .corrupt)
    }

    @Test func aDamagedPageIsCorrupt() throws {
        var one = BatchMaker(1)
        do {
            let shard = try ShardFile.sample(in: folder)
            let entries = (0..<20_000).map { TestEntry("key \($0)", 1) }
            _ = try shard.apply([one.make(entries)], timeMilliseconds: 1)
            try shard.checkpoint()
        }
        // The type byte of every page but the first.
        for page in 1..<(size(folder.shard) / 4096) { flip(folder.shard, at: page * 4096) }
        let reading = #expect(throws: StoreError.self) { try ShardReader(at: folder.shard).totals() }
        #expect(reading?.code == .corrupt)
        let opening = #expect(throws: StoreError.self) { try ShardFile.openSample(folder.shard) }
        #expect(opening?.code == .corrupt)
    }

    @Test func corruptionEndsTheFileForThisProcess() throws {
        var one = BatchMaker(1)
        let batch: [UInt8]
        do {
            let shard = try ShardFile.sample(in: folder)
            _ = try shard.apply([one.make((0..<20_000).map { TestEntry("key \($0)", 1) })], timeMilliseconds: 1)
            try shard.checkpoint()
            batch = one.make((0..<20_000).map { TestEntry("key \($0)", 1) })
        }
        let root = try #require(Int(shell(folder.shard, "SELECT rootpage FROM sqlite_schema WHERE name = 'counters'")))
        flip(folder.shard, at: (root - 1) * 4096)
        let shard = try ShardFile.openSample(folder.shard)
        let error = #expect(throws: StoreError.self) { try shard.apply([batch], timeMilliseconds: 1) }
        #expect(error?.code == .corrupt)
        #expect(error?.isTemporary == false)
        let again = #expect(throws: StoreError.self) { try shard.watermarks(of: shard.identity.partition) }
        #expect(again == error)
    }
}

extension SplitMix64 {
    mutating func next(upTo bound: UInt64) -> UInt64 { next() % bound }
}
