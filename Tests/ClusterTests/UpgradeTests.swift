// Data of release 0.1.0, recorded from its processes when its queues were full, goes on under this release.
//
// Tests/Recorded/release-0.1.0 holds what they left behind when they were killed: the cluster file, the shards as
// `sqlite3` dumps them (format version 1), and Redis' keys as commands (no cluster in `meta`, no chain in `seqs`). In
// the shards: a, b, c, two orders, a full counter and a dead letter of 10, four sums of an import. In the lists: a, d,
// room for the dead letter, one repeated order and a third one, four sums of another import, and the letter's replay.

import ClusterSupport
import Glibc
import Testing

extension ClusterTests {
    @Suite struct UpgradeTests {
        private static let counters: [String: Int64] = [
            "a": 11, "b": 2, "c": 3, "d": -4, "order": 3, "full": .max - 90,
            "first0": 1, "first1": 2, "first2": 3, "first3": 4,
            "second0": 10, "second1": 20, "second2": 30, "second3": 40,
        ]

        @Test func fullQueuesOfRelease010() throws {
            try ClusterTests.inFolder("upgrade") { folder in
                let cluster = try ManualCluster(folder, partitions: 2, prepare: Self.restore)
                defer { cluster.destroy() }
                let waiting = try cluster.waiting()
                try ClusterTests.check(waiting == 7, "\(waiting) batches wait")
                try run(cluster, ["audit"], says: "residual 0")
                try run(cluster, ["verify"], says: "no findings")
                let web = try cluster.startWeb()
                try cluster.waitUntilReady(web)
                try repeatOrders(cluster)
                let consumer = try cluster.startConsumer("0-1")
                try expect(cluster, epoch: 1)
                try repeatOrders(cluster)
                // Its claim came from the other release, and would have expired there.
                try run(cluster, ["dead-letters", "replay", "--all"], says: "1 counted, 0 still dead")
                try importAgain(cluster)
                try expect(cluster, epoch: 1)
                try cluster.consumers[consumer].send(SIGTERM)
                _ = try cluster.consumers[consumer].waitForEnd(within: 20)
                try run(cluster, ["rebalance", "run", "--to", "3", "--yes"])
                try cluster.startConsumer("0-2")
                try repeatOrders(cluster)
                try importAgain(cluster)
                try expect(cluster, epoch: 2)
            }
        }

        /// The rebalance drains the old files itself.
        @Test func rebalancedAtOnce() throws {
            try ClusterTests.inFolder("upgrade-rebalance") { folder in
                let cluster = try ManualCluster(folder, partitions: 2, prepare: Self.restore)
                defer { cluster.destroy() }
                try run(cluster, ["rebalance", "run", "--to", "5", "--yes"])
                try cluster.startConsumer("0-4")
                try cluster.waitUntilReady(try cluster.startWeb())
                try repeatOrders(cluster)
                try importAgain(cluster)
                try run(cluster, ["dead-letters", "replay", "--all"], says: "1 counted, 0 still dead")
                try expect(cluster, epoch: 2)
            }
        }

        /// The other release was killed during a rebalance: `init` brings the functions, and it can be resumed.
        @Test func resumedByThisRelease() throws {
            try ClusterTests.inFolder("upgrade-resume") { folder in
                let cluster = try ManualCluster(folder, partitions: 2, prepare: Self.restore)
                defer { cluster.destroy() }
                _ = try cluster.redisCommand(["FUNCTION", "FLUSH"])  // as before the upgrade
                let path = cluster.dataFolder + "/topology.json"
                let building = Files.text(path).replacing(
                    #""epoch":1,"partitions":2,"state":"ready","earlier":[]"#,
                    with: #""epoch":2,"partitions":3,"state":"building","earlier":[{"epoch":1,"partitions":2}]"#)
                try Files.write(Array(building.utf8), to: path)
                let refused = try Command.tallymill(["init"] + cluster.place)
                try ClusterTests.check(
                    refused.code == 78 && refused.errorText.contains("rebalance resume"), refused.errorText)
                try run(cluster, ["rebalance", "resume"])
                try cluster.startConsumer("0-2")
                try cluster.waitUntilReady(try cluster.startWeb())
                try repeatOrders(cluster)
                try run(cluster, ["dead-letters", "replay", "--all"], says: "1 counted, 0 still dead")
                try importAgain(cluster)
                try expect(cluster, epoch: 2)
            }
        }

        private static func restore(_ cluster: ManualCluster) throws(HarnessError) {
            let recorded = TestEnvironment.packageFolder + "/Tests/Recorded/release-0.1.0"
            try Files.makeFolder(cluster.dataFolder)
            try Files.makeFolder(cluster.dataFolder + "/epoch-0001")
            try shell("cp \(recorded)/topology.json \(cluster.dataFolder)/topology.json")
            for number in 0..<2 {
                let name = "shard-000\(number)-of-0002"
                try shell("sqlite3 \(cluster.dataFolder)/epoch-0001/\(name).sqlite < \(recorded)/\(name).sql")
            }
            try shell("redis-cli -s \(cluster.folder.path)/redis.sock < \(recorded)/redis.txt")
        }

        private static func shell(_ command: String) throws(HarnessError) {
            let result = try Command.run(try TestEnvironment.program("sh"), ["-c", command])
            try ClusterTests.check(
                result.code == 0 && !result.outputText.contains("ERR"),
                "\(command): \(result.outputText)\(result.errorText)")
        }

        private func run(_ cluster: ManualCluster, _ arguments: [String], says words: String = "") throws(HarnessError)
        {
            let result = try Command.tallymill(arguments + cluster.place, within: 60)
            try ClusterTests.check(
                result.code == 0 && result.outputText.contains(words),
                "\(arguments): \(result.code) \(result.outputText)\(result.errorText)")
        }

        private func repeatOrders(_ cluster: ManualCluster) throws(HarnessError) {
            for number in 1...3 {
                try ClusterTests.post(
                    cluster.ports[0], #"{"order":1}"#, level: "queued", idempotencyKey: "order-\(number)")
            }
        }

        private func importAgain(_ cluster: ManualCluster) throws(HarnessError) {
            for (name, factor) in [("first", 1), ("second", 10)] {
                let path = "\(cluster.folder.path)/\(name).txt"
                try Files.write(Array((0..<4).map { "\(name)\($0)\t\(($0 + 1) * factor)\n" }.joined().utf8), to: path)
                for way in [["--queued"], []] {
                    try run(cluster, ["import", "--format", "text", path] + way, says: "imported already")
                }
            }
        }

        private func expect(_ cluster: ManualCluster, epoch: UInt32) throws(HarnessError) {
            try eventually("the lists are empty", within: 20) { () throws(HarnessError) in
                try cluster.waiting(epoch: epoch) == 0
            }
            let found = try cluster.report().counters
            try ClusterTests.check(found == Self.counters, "\(found)")
            try run(cluster, ["verify"], says: "no findings")
            try run(cluster, ["audit"], says: "residual 0")
        }
    }
}
