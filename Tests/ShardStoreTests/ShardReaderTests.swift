// Readers beside a writer, after a clean stop, after kill -9, and as a user who may not write.

import Glibc
import ShardStore
import TallyCore
import Testing

@Suite struct ShardReaderTests {
    let folder = Folder()
    static let isRoot = getuid() == 0
    static let nobody: UInt32 = 65534

    /// A shard with a=1 b=2 c=3, still open.
    private func open() throws -> (ShardFile, BatchMaker) {
        let shard = try ShardFile.sample(in: folder)
        var one = BatchMaker(1)
        _ = try shard.apply(
            [one.make([TestEntry("a", 1), TestEntry("b", 2), TestEntry("c", 3)])], timeMilliseconds: 77)
        return (shard, one)
    }

    private func keys(_ cursor: CounterCursor) throws -> [String] {
        var keys: [String] = []
        while try cursor.next() { keys.append(String(decoding: cursor.key, as: UTF8.self)) }
        return keys
    }

    @Test func oneSnapshotForAll() throws {
        var (shard, one) = try open()
        let reader = try ShardReader(at: folder.shard)
        _ = try shard.apply([one.make([TestEntry("a", 10), TestEntry("d", 4)])], timeMilliseconds: 99)
        #expect(try reader.totals() == ShardTotals(keys: 3, sum: 6))
        #expect(try keys(try reader.counters()) == ["a", "b", "c"])
        #expect(try reader.values(of: [Key("a")]) == [1])
        #expect(try reader.lastCommitMilliseconds() == 77)
        #expect(try reader.records(of: reader.identity.partition)[one.stream.producer]?.watermark == 1)
        let later = try ShardReader(at: folder.shard)
        #expect(try later.totals() == ShardTotals(keys: 4, sum: 20))
        #expect(try later.lastCommitMilliseconds() == 99)
        #expect(try later.statistics().total == 20)
    }

    @Test func aReaderThatNeedsTheOldStateHoldsTheCheckpointBack() throws {
        var (shard, one) = try open()
        var reader: ShardReader? = try ShardReader(at: folder.shard)
        _ = try shard.apply([one.make([TestEntry("a", 10)])], timeMilliseconds: 99)
        #expect(try reader?.totals().sum == 6)
        let error = #expect(throws: StoreError.self) { try shard.checkpoint() }
        #expect(error?.code == .busy)
        reader = nil
        try shard.checkpoint()
    }

    @Test func aNewFileReadsAsEmpty() throws {
        try ShardFile.createSample(folder.shard)
        let reader = try ShardReader(at: folder.shard)
        #expect(try reader.totals() == ShardTotals(keys: 0, sum: 0))
        #expect(try reader.lastCommitMilliseconds() == nil)
        #expect(try keys(try reader.counters()) == [])
        #expect(try reader.largest(5) == [])
    }

    @Test func rangesAndPrefixes() throws {
        let shard = try ShardFile.sample(in: folder)
        var one = BatchMaker(1)
        let names = ["a", "ab", "ab/1", "ab/2", "ac", "b", "é1", "é2", "ê", "\u{10FFFF}z"]
        _ = try shard.apply([one.make(names.map { TestEntry($0, 1) })], timeMilliseconds: 1)
        let reader = try ShardReader(at: folder.shard)
        func found(_ prefix: String, _ from: String = "") throws -> [String] {
            try keys(try reader.counters(prefix: Array(prefix.utf8), from: Array(from.utf8)))
        }
        #expect(try found("") == names)
        #expect(try found("ab") == ["ab", "ab/1", "ab/2"])
        #expect(try found("ab", "ab/2") == ["ab/2"])
        #expect(try found("ab", "ac") == [])
        #expect(try found("ab", "a") == ["ab", "ab/1", "ab/2"])
        #expect(try found("", "b") == ["b", "é1", "é2", "ê", "\u{10FFFF}z"])
        #expect(try found("é") == ["é1", "é2"])
        #expect(try found("\u{10FFFF}") == ["\u{10FFFF}z"])
        #expect(try reader.totals(prefix: Array("ab".utf8)) == ShardTotals(keys: 3, sum: 3))
        // Half a letter is a prefix of bytes, too.
        #expect(try keys(try reader.counters(prefix: [0xC3])) == ["é1", "é2", "ê"])
        #expect(try keys(try reader.counters(prefix: [0xFF])) == [])
        // The shell agrees about the order.
        #expect(shell(folder.shard, "SELECT key FROM counters ORDER BY key") == names.joined(separator: "\n"))
    }

    @Test func largestFirst() throws {
        let shard = try ShardFile.sample(in: folder)
        var one = BatchMaker(1)
        let entries = [TestEntry("a", 5), TestEntry("b", .max), TestEntry("c", -9), TestEntry("d", 5)]
        _ = try shard.apply([one.make(entries)], timeMilliseconds: 1)
        let reader = try ShardReader(at: folder.shard)
        #expect(try reader.largest(3).map { String(decoding: $0.key, as: UTF8.self) } == ["b", "a", "d"])
        #expect(try reader.largest(9).map(\.value) == [.max, 5, 5, -9])
        #expect(try reader.largest(9, prefix: Array("c".utf8)).map(\.value) == [-9])
    }

    @Test func afterACleanStop() throws {
        _ = try open()
        #expect(size(folder.shard + "-wal") >= 0)
        #expect(try ShardReader(at: folder.shard).totals() == ShardTotals(keys: 3, sum: 6))
    }

    @Test(.enabled(if: isRoot)) func anotherUserWhileTheWriterRuns() throws {
        let (shard, _) = try open()
        makeReadable()
        #expect(readAsNobody() == "3 6 a")
        withExtendedLifetime(shard) {}
    }

    @Test(.enabled(if: isRoot)) func anotherUserAfterACleanStop() throws {
        _ = try open()
        makeReadable()
        #expect(readAsNobody() == "3 6 a")
    }

    @Test(.enabled(if: isRoot)) func anotherUserOfANewFile() throws {
        try ShardFile.createSample(folder.shard)
        makeReadable()
        #expect(readAsNobody() == "0 0 -")
    }

    @Test(.enabled(if: isRoot)) func anotherUserAfterAKill() throws {
        try ShardFile.createSample(folder.shard)
        var one = BatchMaker(1)
        let list = folder.write(framed([one.make([TestEntry("k", 41)])]), to: "batches")
        let child = Child.probe(["apply", folder.shard, list])
        #expect(child.readLine() == "open")
        #expect(child.readLine() == "1")
        child.kill()
        makeReadable()
        #expect(readAsNobody() == "1 41 k")
        #expect(try ShardReader(at: folder.shard).totals() == ShardTotals(keys: 1, sum: 41))
    }

    @Test(.enabled(if: isRoot)) func aMissingLogIsNotGuessedAway() throws {
        _ = try open()
        unlink(folder.shard + "-wal")
        unlink(folder.shard + "-shm")
        makeReadable()
        let answer = readAsNobody()
        #expect(answer.hasPrefix("permission: \(folder.shard): cannot "))
        #expect(
            answer.hasSuffix(
                "its write-ahead log is missing: start its consumer once, or run as the user that owns it"))
    }

    @Test(.enabled(if: isRoot)) func aFileOfAReadOnlyMountIsReadByItself() throws {
        _ = try open()
        let mount = folder.path + "/mount"
        #expect(mkdir(mount, 0o755) == 0)
        let kind = ["-t", "tmpfs", "tmpfs", mount]
        guard Child.run("/usr/bin/mount", kind).result == 0 else { return }
        defer { Child.run("/usr/bin/umount", [mount]) }
        Child.run("/bin/cp", [folder.shard, mount + "/copy.sqlite"])
        #expect(Child.run("/usr/bin/mount", ["-o", "remount,ro", mount]).result == 0)
        #expect(try ShardReader(at: mount + "/copy.sqlite").totals() == ShardTotals(keys: 3, sum: 6))
    }

    private func makeReadable() {
        for suffix in ["", "-wal", "-shm"] { chmod(folder.shard + suffix, 0o644) }
    }

    private func readAsNobody() -> String {
        Child.probe(["read", folder.shard], as: Self.nobody).finish().output
    }
}
