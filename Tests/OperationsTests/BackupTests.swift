// Backups of shards that change meanwhile, and what the check of a backup finds.

import Glibc
import Operations
import ServiceKit
import ShardConsumer
import ShardStore
import Synchronization
import TallyCore
import Testing

@Suite struct BackupTests {
    let folder = ScratchFolder()
    private var target: String { "\(folder.path)/backup" }

    private func cluster(_ counters: Int = 500, partitions: Int = 4) throws -> ShardFixture {
        var cluster = try ShardFixture("\(folder.path)/data", partitions: partitions)
        try cluster.count(awkwardCounters(counters).filter { abs($0.value / 2) < 1 << 40 })
        return cluster
    }

    @discardableResult
    private func backUp(_ cluster: ShardFixture) throws -> BackupManifest {
        try Backup(cluster.folder, to: target, release: "9.9.9").run()
    }

    @Test func everythingIsInIt() throws {
        let cluster = try cluster()
        let manifest = try backUp(cluster)
        let totals = try cluster.totals()
        #expect(manifest.topology == cluster.topology && manifest.release == "9.9.9")
        #expect(manifest.keys == totals.keys && manifest.total == totals.sum)
        #expect(try manifest.shards.map(\.uuid) == (0..<4).map { try cluster.uuid($0) })
        #expect(manifest.shards.allSatisfy { $0.watermarks == 1 })
        let files = (0..<4).map { "shard-000\($0)-of-0004.sqlite" }
        #expect(names(in: target) == ["manifest.json"] + files + ["topology.json"])
        #expect(names(in: folder.path) == ["backup", "data"])
        #expect(try BackupManifest(json: try folder.read("backup/manifest.json")) == manifest)
        let backup = try BackupFolder(target + "/")
        #expect(backup.manifest == manifest)
        #expect(try backup.check() == [])
        #expect(names(in: target).count == 6, "looking leaves nothing behind")
        // Other programs agree about the file and its hash.
        let path = "\(target)/\(files[1])"
        let sum = TestProgram.run("/usr/bin/sqlite3", ["-readonly", path, "SELECT sum(value) FROM counters"])
        #expect(sum == "\(manifest.shards[1].total)")
    }

    /// A writer commits all the time: each copy is one of the states between two commits.
    @Test func whileAWriterCommits() throws {
        var cluster = try cluster(2_000, partitions: 1)
        let file = try cluster.folder.shard(0, of: cluster.topology).open()
        let batches = (0..<400).map { round in
            // Every commit changes many pages, and the sum by 1,000.
            cluster.batch((0..<1_000).map { (Array("round/\(($0 * 37 + round) % 5_000)".utf8), 1) }, 0)
        }
        let before = try cluster.totals().sum
        let state = WriterState(file, batches)
        let writer = ServiceThread(name: "writer") { state.run() }
        defer { writer.join() }
        var sums: Set<Int128> = []
        for number in 0..<5 {
            // Each copy after at least one more commit, so that it is not the one before.
            let goal = min(batches.count, 1 + state.committed.load(ordering: .acquiring))
            while state.committed.load(ordering: .acquiring) < goal { usleep(100) }
            let backup = try Backup(cluster.folder, to: "\(target)-\(number)", release: "r").run()
            let made = try BackupFolder("\(target)-\(number)")
            #expect(try made.check() == [])
            #expect((backup.total - before) % 1_000 == 0)
            let reader = try ShardReader(
                copyAt: "\(target)-\(number)/\(backup.shards[0].file)", expecting: expected(cluster))
            let record = try #require(try reader.records(of: reader.identity.partition)[ShardFixture.producer])
            #expect(Int128(record.watermark - 1) * 1_000 == backup.total - before, "the watermark says what is in it")
            sums.insert(backup.total)
        }
        state.stop.store(true, ordering: .relaxed)
        #expect(sums.count > 1, "the writer committed nothing meanwhile")
    }

    private func expected(_ cluster: ShardFixture) -> ShardExpectation {
        cluster.folder.shard(0, of: cluster.topology).expected
    }

    @Test func aFolderInUse() throws {
        let cluster = try cluster(0)
        TestProgram.run("/bin/mkdir", [target])
        try backUp(cluster)
        let failure = #expect(throws: Failure.self) { try backUp(cluster) }
        #expect(failure?.code == .configuration && failure?.sentence == "\(target): the folder is not empty")
        // What an interrupted backup left is no backup, and in nobody's way.
        TestProgram.run("/bin/rm", ["-r", target])
        TestProgram.run("/bin/mkdir", ["\(target).partial"])
        folder.write("half", to: "backup.partial/shard-0000-of-0004.sqlite")
        let none = #expect(throws: Failure.self) { try BackupFolder("\(target).partial") }
        #expect(none?.sentence == "\(target).partial: there is no backup: it has no manifest.json")
        try backUp(cluster)
        #expect(names(in: folder.path) == ["backup", "data"])
        // One that is still being written is.
        TestProgram.run("/bin/mkdir", ["\(target).partial"])
        TestProgram.run("/bin/rm", ["-r", target])
        let other = open("\(target).partial", O_RDONLY | O_DIRECTORY)
        defer { close(other) }
        #expect(flock(other, LOCK_EX | LOCK_NB) == 0)
        let locked = #expect(throws: Failure.self) { try backUp(cluster) }
        #expect(locked?.code == .locked)
        #expect(locked?.sentence == "\(target).partial: another backup is being written there")
    }

    @Test func shardsThatCannotBeBackedUp() throws {
        let cluster = try cluster(10)
        try cluster.folder.shard(3, of: cluster.topology).open().retire()
        let retired = #expect(throws: Failure.self) { try backUp(cluster) }
        #expect(retired?.sentence == "\(cluster.path(3)): a rebalance has closed this shard")
        #expect(!folder.exists("backup"))
        #expect(rename(cluster.path(1), "\(folder.path)/away") == 0)
        let missing = #expect(throws: Failure.self) { try backUp(cluster) }
        #expect(missing?.location == cluster.path(1))
        #expect(!folder.exists("backup"))
    }

    @Test func damageIsFound() throws {
        try backUp(try cluster())
        let shard = { (number: Int) in "\(target)/shard-000\(number)-of-0004.sqlite" }
        flip(shard(0), at: 5_000)
        #expect(truncate(shard(1), 4_096) == 0)
        #expect(unlink(shard(2)) == 0)
        let backup = try BackupFolder(target)
        let findings = try backup.check()
        #expect(findings.count == 3)
        #expect(findings[0].hasPrefix("\(shard(0)): its XXH64 is "))
        #expect(findings[1].hasPrefix("\(shard(1)): it has 4096 bytes, the manifest says "))
        #expect(findings[2] == "\(shard(2)): the file is missing")
        // A shard in another's place, with a manifest that was made to fit.
        TestProgram.run("/bin/cp", [shard(3), shard(2)])
        let text = try folder.text("backup/manifest.json")
        #expect(text.hasPrefix(#"{"format":1,"cluster":""#))
        folder.write(text.replacing(#""epoch":1"#, with: #""epoch":2"#), to: "backup/manifest.json")
        let failure = #expect(throws: Failure.self) { try BackupFolder(target) }
        #expect(failure?.code == .corrupt)
    }

    @Test(arguments: [
        ("", "the JSON ends too early at byte 0"), ("{}", "format is missing"),
        (#"{"format":2}"#, "format 2 is not the one of this release, 1"),
        (#"{"format":1,"surprise":1}"#, "surprise is unknown: it may come from a newer release"),
        (#"{"format":1,"cluster":"0123"}"#, "cluster is out of range"),
    ])
    func manifestsThatAreNone(text: String, reason: String) {
        let error = #expect(throws: ManifestError.self) { try BackupManifest(json: Array(text.utf8)) }
        #expect(error?.description == reason)
    }
}

/// Applies batches until told to stop. The file belongs to the thread that runs it, which the test joins.
private final class WriterState: @unchecked Sendable {
    let stop = Atomic<Bool>(false)
    let committed = Atomic<Int>(0)
    private let file: ShardFile
    private let batches: [[UInt8]]

    init(_ file: ShardFile, _ batches: [[UInt8]]) {
        self.file = file
        self.batches = batches
    }

    func run() {
        for batch in batches where !stop.load(ordering: .relaxed) {
            do throws(StoreError) {
                _ = try file.apply([batch], timeMilliseconds: 3)
                committed.add(1, ordering: .releasing)
            } catch {
                Issue.record("a writer failed beside a backup: \(error)")
                return
            }
        }
    }
}
