// One shard's disk is full: its consumer backs off, the other partitions go on, and when there is room again all of
// it arrives.
//
// A consumer on another host is a data folder of its own with a copy of the cluster file and its shards, so partition
// 1 gets a folder on a small file system in memory. Mounting one needs root; without it the test says so and ends.

import ClusterSupport
import Glibc
import Testing

extension ClusterTests {
    @Suite struct FullDiskTests {
        @Test func aFullDiskDelaysItsPartitionOnly() throws {
            try ClusterTests.withPieces("disk") { cluster in
                guard let disk = try Mount(cluster.folder.path + "/disk", mebibytes: 4) else { return }
                defer { disk.unmount() }
                let copy = disk.path + "/data"
                try moveShard(1, of: cluster, to: copy)
                try cluster.startWeb()
                try cluster.startConsumer("0,2-3")
                let full = try cluster.startConsumer("1", dataFolder: copy)
                try cluster.waitUntilReady(0)
                var counted = Counted(cluster: cluster, copy: copy)
                try counted.post(generation: 0)
                try counted.waitForAll("before the disk is full")

                try Files.fill(disk.path + "/filler")
                for generation in 1...3 { try counted.post(generation: generation) }
                try counted.waitForOthers()
                let fullEnding = try cluster.consumers[full].poll()
                let said = tail(cluster.consumers[full].errorOutput)
                try ClusterTests.check(fullEnding == nil, "the consumer ended: \(said)")
                try ClusterTests.check(try !counted.isAllThere(), "the full disk took everything: it was not full")

                unlink(disk.path + "/filler")
                let watch = Stopwatch()
                try counted.waitForAll("after there is room again")
                note("full disk: the others went on; all there \(watch.text) s after there was room")
            }
        }

        private func moveShard(_ partition: Int, of cluster: ManualCluster, to copy: String) throws(HarnessError) {
            let epoch = "/epoch-0001"
            try Files.makeFolder(copy)
            try Files.makeFolder(copy + epoch)
            try Files.copyTree(cluster.dataFolder + "/topology.json", to: copy)
            let names = Files.names(in: cluster.dataFolder + epoch).filter { $0.hasPrefix("shard-000\(partition)-") }
            try ClusterTests.check(!names.isEmpty, "no shard of partition \(partition)")
            for name in names {
                try Files.copyTree("\(cluster.dataFolder)\(epoch)/\(name)", to: copy + epoch)
                unlink("\(cluster.dataFolder)\(epoch)/\(name)")
            }
        }
    }
}

/// Many keys over all partitions, each of them one more with every generation.
private struct Counted {
    private static let keys = 8000
    let cluster: ManualCluster
    let copy: String
    private var generations: Int64 = 0

    init(cluster: ManualCluster, copy: String) {
        self.cluster = cluster
        self.copy = copy
    }

    mutating func post(generation: Int) throws(HarnessError) {
        var request = HTTPRequest("/increments")
        request.headers = [("Content-Type", "text/plain")]
        let padding = String(repeating: "x", count: 40)
        let lines = (0..<Counted.keys).map { Posting.Increment("\(padding)/\(generation)/\($0)", 1) }
        request.body = Array(RequestMaker.lines(lines).utf8)
        let answer = Loopback.ask(cluster.ports[0], request)
        let text = answer.map { "\($0.status) \($0.text)" } ?? "no answer"
        try ClusterTests.check(answer?.status == 200, "generation \(generation): \(text)")
        generations += 1
    }

    private var expected: Int128 { Int128(generations) * Int128(Counted.keys) }

    /// What the folder of the others has, and what the full one has.
    private func totals() throws(HarnessError) -> (others: Report, full: Report) {
        let options = ["--allow-partial", "--summary"]
        return (try cluster.report(options), try Report.read(copy, options))
    }

    func isAllThere() throws(HarnessError) -> Bool {
        let (others, full) = try totals()
        return others.total + full.total == expected
    }

    func waitForAll(_ when: String) throws(HarnessError) {
        do throws(HarnessError) {
            try eventually("all increments are in the shards \(when)", within: 30) { () throws(HarnessError) in
                try isAllThere()
            }
        } catch {
            let (others, full) = try totals()
            throw HarnessError("\(error): \(others.total) + \(full.total) instead of \(expected)")
        }
        let (others, full) = try totals()
        try ClusterTests.check(others.missing == [1] && full.missing == [0, 2, 3], "\(others.missing) \(full.missing)")
    }

    /// Waits until the three healthy partitions have what they will have: about three quarters, and it stays so.
    func waitForOthers() throws(HarnessError) {
        try eventually("the other partitions go on", within: 20) { () throws(HarnessError) in
            let others = try totals().others
            return others.total > expected * 7 / 10 && others.total == Int128(others.keys)
        }
    }
}

/// A small file system in memory.
private struct Mount {
    /// MNT_DETACH: the folder is free at once, the rest when its last user has ended.
    private static let detach: Int32 = 2
    let path: String

    /// nil, with a printed reason, if the system does not let us.
    init?(_ path: String, mebibytes: Int) throws(HarnessError) {
        self.path = path
        guard getuid() == 0 else {
            note("full disk: not tested, because mounting a small file system needs root")
            return nil
        }
        try Files.makeFolder(path)
        let mount = try TestEnvironment.program("mount")
        let result = try Command.run(mount, ["-t", "tmpfs", "-o", "size=\(mebibytes)m,mode=755", "tmpfs", path])
        guard result.code == 0 else {
            note("full disk: not tested, because nothing can be mounted here: \(tail(result.errorText))")
            return nil
        }
    }

    func unmount() {
        if umount2(path, Mount.detach) != 0 { note("cannot unmount \(path)") }
    }
}
