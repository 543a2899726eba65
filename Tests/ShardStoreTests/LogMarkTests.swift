// A file that was put under the log of a consumer that was killed is refused unless both belong together, and a log
// that belongs to its file never is.

import TallyCore
import Testing

@testable import ShardStore

@Suite struct LogMarkTests {
    let folder = Folder()

    /// A file without its log, beside the shard.
    private func copy(_ name: String, log: Bool = false) -> String {
        let target = "\(folder.path)/\(name)"
        Child.run("/bin/cp", [folder.shard + (log ? "-wal" : ""), target])
        return target
    }

    private func count(_ one: inout BatchMaker, _ batches: Int, _ shard: ShardFile? = nil) throws {
        let shard = try shard ?? ShardFile.openSample(folder.shard)
        for _ in 0..<batches {
            let applied = try shard.apply([one.make([TestEntry("a", 1), TestEntry("b", 2)])], timeMilliseconds: 1)
                .applied
            #expect(applied?.committed.count == 1)
        }
    }

    /// A file with a log beside it, as an operator, or a kill, leaves them.
    private func put(_ file: String, under log: String) -> String {
        let path = "\(folder.path)/put.sqlite"
        Child.run("/bin/rm", ["-f", path + "-shm"])
        Child.run("/bin/cp", [file, path])
        Child.run("/bin/cp", [log, path + "-wal"])
        return path
    }

    private func watermark(_ path: String, _ one: BatchMaker) throws -> UInt64? {
        let shard = try ShardFile.openSample(path)
        #expect(shell(path, "PRAGMA quick_check") == "ok")
        #expect(
            shell(path, "SELECT coalesce(sum(value), 0) FROM counters")
                == shell(path, "SELECT value FROM meta WHERE name = 'sum'"))
        return try shard.watermarks(of: shard.identity.partition)[one.stream.producer]
    }

    private func refusal(_ path: String) throws -> StoreError? {
        func contents() -> String { Child.run("/usr/bin/sha256sum", [path, path + "-wal"]).output }
        let before = contents()
        let refused = #expect(throws: StoreError.self) { _ = try ShardFile.openSample(path) }
        let loss = StreamLoss(
            stream: StreamID(partition: PartitionID(epoch: 2, number: 0), producer: BatchMaker.producer(9)),
            sequences: 1...2)
        let tool = #expect(throws: StoreError.self) {
            try ShardUpkeep.accept([loss], time: 1, at: path, expecting: ShardIdentity.sample.expectation)
        }
        #expect(tool == refused)
        let reader = #expect(throws: StoreError.self) { _ = try ShardReader(at: path) }
        #expect(reader == refused)
        #expect(contents() == before, "nothing is changed")
        return refused
    }

    private func sentence(_ path: String, _ commits: Int, _ log: String) -> String {
        """
        \(path): the log beside it, \(path)-wal, belongs to another copy of this file: the file has \(commits) \
        transactions, the log continues one that has \(log); nothing was changed: if this copy is to stay, move \
        \(path)-wal and \(path)-shm away; if not, put the file back that they belong to
        """
    }

    @Test func copiesUnderTheLogOfAnother() throws {
        var one = BatchMaker(1)
        try ShardFile.createSample(folder.shard)
        try count(&one, 2)
        #expect(shell(folder.shard, "SELECT value FROM meta WHERE name = 'log'") == "3 0")
        let older = copy("older")
        try count(&one, 2)
        let base = copy("base")
        let between = "\(folder.path)/between"
        var (dead, log) = ("", "")
        do {
            let shard = try ShardFile.openSample(folder.shard)
            try count(&one, 2, shard)
            Child.run("/usr/bin/sqlite3", [folder.shard, ".backup \(between)"])
            try count(&one, 1, shard)
            (dead, log) = (copy("dead"), copy("log", log: true))
        }
        try count(&one, 1)
        let newer = copy("newer")
        for file in [dead, base, between] { #expect(try watermark(put(file, under: log), one) == 7, "\(file)") }
        for (file, commits) in [(older, 3), (newer, 12)] {
            let path = put(file, under: log)
            let refused = try refusal(path)
            #expect(refused?.description == sentence(path, commits, "6 to 10") && refused?.exitCode == 78)
        }
        // Without that log it is what it was.
        let path = put(older, under: log)
        Child.run("/bin/rm", ["\(path)-wal", "\(path)-shm"])
        #expect(try watermark(path, one) == 2)
    }

    /// Whatever was checkpointed, and however often the log began anew.
    @Test func itsOwnLogIsNeverRefused() throws {
        let seed = UInt64.random(in: 0 ... .max)
        print("itsOwnLogIsNeverRefused: seed \(seed)")
        var random = SplitMix64(seed: seed)
        var one = BatchMaker(1)
        try ShardFile.createSample(folder.shard)
        var shard: ShardFile? = try ShardFile.openSample(folder.shard)
        var copies: [String] = []
        for step in 1...40 {
            try count(&one, 1, shard)
            if random.next(upTo: 3) == 0 { try shard?.checkpoint() }
            if random.next(upTo: 6) == 0 {
                shard = nil
                shard = try ShardFile.openSample(folder.shard)
            }
            let log = copy("log", log: true)
            copies.append(copy("copy \(step)"))
            #expect(try watermark(put(copies[step - 1], under: log), one) == UInt64(step), "seed \(seed), step \(step)")
        }
        // Older ones are refused, or whole.
        let log = copy("log", log: true)
        for (index, file) in copies.enumerated() {
            let path = put(file, under: log)
            do {
                let found = try watermark(path, one)
                #expect(found == 40 || size(log) == 0, "seed \(seed), copy \(index)")
            } catch let error as StoreError {
                #expect(error.code == .mismatch, "seed \(seed), copy \(index): \(error)")
            }
        }
    }

    /// A tool's transaction may be the first of a log, and no consumer be there.
    @Test func aToolBeginsTheLog() throws {
        var one = BatchMaker(1)
        try ShardFile.createSample(folder.shard)
        try count(&one, 2)
        let older = copy("older")
        try count(&one, 2)
        let loss = StreamLoss(
            stream: StreamID(partition: PartitionID(epoch: 1, number: 0), producer: BatchMaker.producer(9)),
            sequences: 1...2)
        try ShardUpkeep.accept(
            [loss], time: 1, at: folder.shard, expecting: ShardIdentity.sample.expectation)
        let (dead, log) = (copy("dead"), copy("log", log: true))
        #expect(size(log) > 0)
        #expect(try watermark(put(dead, under: log), one) == 4)
        let path = put(older, under: log)
        #expect(try refusal(path)?.description == sentence(path, 3, "6 to 8"))
    }

    /// A file of an earlier release has no mark, and one that such a release has written to since has an old one.
    @Test func earlierReleases() throws {
        var one = BatchMaker(1)
        try ShardFile.createSample(folder.shard)
        try count(&one, 2)
        write("DELETE FROM meta WHERE name = 'log'; PRAGMA wal_checkpoint(TRUNCATE)")
        for mark in ["", "4 0"] {
            #expect(shell(folder.shard, "SELECT value FROM meta WHERE name = 'log'") == mark)
            do {
                // The log stays while somebody has the file open.
                let shard = try ShardFile.openSample(folder.shard)
                write("UPDATE meta SET value = value + 1 WHERE name = 'created_ms'")
                let (dead, log) = (copy("dead"), copy("log", log: true))
                #expect(size(log) > 0)
                #expect(try watermark(put(dead, under: log), one) == (mark.isEmpty ? 2 : 5))
                withExtendedLifetime(shard) {}
            }
            if mark.isEmpty { try count(&one, 3) }
        }
    }

    /// As an earlier release would, which knows no mark.
    private func write(_ sql: String) {
        Child.run("/usr/bin/sqlite3", ["-batch", folder.shard, sql])
    }
}
