// What operators, copies and backups can do to a count, with real processes: sequences of ordinary commands that once
// counted twice, lost, or stranded what was acknowledged. Each now counts exactly, or names what is missing and the way
// on.

import ClusterSupport
import Glibc
import ServiceKit
import Testing

extension ClusterTests {
    @Suite struct CopiesAndLossesTests {
        // MARK: Steps

        /// A cluster with one web node of one event loop: one producer.
        private func withNode(
            _ name: String, partitions: Int = 1, _ body: (ManualCluster) throws -> Void
        ) throws {
            try ClusterTests.withPieces(name, partitions: partitions) { cluster in
                try cluster.startNode()
                try body(cluster)
            }
        }

        /// The producer that a text names first.
        private func producer(in text: String) throws(HarnessError) -> String {
            guard let start = text.ranges(of: "producer ").first?.upperBound else {
                throw HarnessError("no producer: \(text)")
            }
            return String(text[start...].prefix(32))
        }

        // MARK: Finding 1

        /// A node re-routes what the drain counts meanwhile, and the purge comes before anybody consumes.
        @Test func purgeBeforeTheNewQueuesAreConsumed() throws {
            try withNode("purge", partitions: 2) { cluster in
                for _ in 0..<30 { try cluster.post(1, level: "queued") }
                try cluster.expect(["rebalance", "run", "--to", "3", "--yes"], ["epoch 2 is ready: 3 partitions"])
                for _ in 0..<20 { try cluster.post(1, level: "queued") }
                try cluster.expect(["rebalance", "purge", "--yes"], ["purged epoch 1: "])
                try cluster.expect(
                    ["rebalance", "purge", "--yes"],
                    ["nothing to purge: no files of an earlier epoch are kept"])
                try cluster.startConsumer("0-2")
                try cluster.expect(total: 50)
                try cluster.proveExact()
            }
        }

        // MARK: Finding 4

        private func refuseEverything(_ cluster: ManualCluster, _ range: String, _ cause: String) throws(HarnessError) {
            let said = try cluster.run(["repair", "--yes"], code: 3)
            let producer = try producer(in: said)
            let range = range.replacing("PRODUCER", with: producer)
            let left = """
                counts are missing:
                  partition 0: \(range): they \(cause)
                  Put back the newest copy of those files. If there is none, declare it lost:
                    tallymill repair --accept-loss e1.p0/\(producer):6-10
                """
            try ClusterTests.check(said.contains(left), "`\(left)` is not in: \(said)")
            try cluster.expect(
                ["verify"], code: 3,
                ["`tallymill repair --accept-loss e1.p0/\(producer):6-10 --redis ", "` declares them lost"])
            let before = Files.read(cluster.dataFolder + "/topology.json")
            try cluster.expect(["rebalance", "run", "--to", "2", "--yes"], code: 3, [left])
            try ClusterTests.check(Files.read(cluster.dataFolder + "/topology.json") == before, "the epoch was changed")
            try cluster.expect(
                ["repair", "--yes", "--accept-loss", "\(producer):6-9"], code: 64,
                [
                    "--accept-loss: \(producer):6-9 is not missing, or not as a whole",
                    "--accept-loss e1.p0/\(producer):6-10 ",
                ])
        }

        /// 4 a and d: file and Redis go back together, the web node lives on.
        @Test func aHostSnapshotUnderALiveNode() throws {
            try withNode("snapshot") { cluster in
                let first = try cluster.startConsumer("0")
                try cluster.post(5)
                try cluster.stopConsumer(first)
                try cluster.killRedis()
                try Files.copyTree(cluster.dataFolder, to: cluster.folder.path + "/data-then")
                try Files.copyTree(cluster.redisFolder, to: cluster.folder.path + "/redis-then")
                try cluster.startRedis()
                let second = try cluster.startConsumer("0")
                try cluster.waitUntilReady(0)
                try cluster.post(5)
                try cluster.stopConsumer(second)
                try cluster.killRedis()
                for (old, new) in [("data-then", cluster.dataFolder), ("redis-then", cluster.redisFolder)] {
                    Files.removeTree(new)
                    try Files.move(cluster.folder.path + "/" + old, to: new)
                }
                try cluster.startRedis()
                let third = try cluster.startConsumer("0")
                try eventually("it consumes", within: 20) {
                    cluster.consumers[third].errorOutput.contains("consuming")
                }
                // It asks by itself, over its new connection; from then on it acknowledges nothing.
                try eventually("the node knows", within: 20) {
                    Loopback.ask(cluster.ports[0], .get("/readyz"))?.text.contains("lacks batches 6-10") == true
                }
                for _ in 0..<2 { try ClusterTests.check(try ask(cluster).status == 503, "a request was taken") }
                let ready = Loopback.ask(cluster.ports[0], .get("/readyz"))
                try ClusterTests.check(ready?.status == 503, ready?.text ?? "no answer")
                try cluster.stopConsumer(third)
                let cause =
                    "were released by their web node, and neither the list nor the file, which holds it through 5, "
                    + "has them"
                try refuseEverything(cluster, "5 batches of producer PRODUCER, sequences 6-10", cause)
                // The consumer may run meanwhile.
                try cluster.startConsumer("0")
                try cluster.expect(
                    ["repair", "--accept-loss", "all", "--yes"],
                    [": declare them lost\n", "declared lost: partition 0: 5 batches of producer ", "done\n"])
                try cluster.waitUntilReady(0)
                try cluster.post(2)
                try cluster.expect(total: 7)
                try cluster.proveExact(audit: [
                    "lost 5 batches, partition 0, producer ", ", 6-10: 5 increments (sum 5)\n", "+ lost 5 +",
                ])
            }
        }

        /// A post that may wait for two seconds.
        private func ask(_ cluster: ManualCluster) throws(HarnessError) -> HTTPAnswer {
            var request = HTTPRequest("/increments")
            request.headers = [("Content-Type", "application/json"), ("Prefer", "wait=2")]
            request.body = Array(#"{"k":1}"#.utf8)
            guard let answer = Loopback.ask(cluster.ports[0], request) else { throw HarnessError("no answer") }
            return answer
        }

        /// Five batches in a backup and five behind it; nobody consumes any more.
        private func backUpAndCountOn(_ cluster: ManualCluster) throws(HarnessError) -> String {
            let backup = cluster.folder.path + "/backup"
            let consumer = try cluster.startConsumer("0")
            try cluster.post(5)
            try cluster.expect(["backup", backup], ["backup of epoch 1"])
            try cluster.post(5)
            try cluster.stopConsumer(consumer)
            return backup
        }

        private static let refusal = """
            5 batches were committed after this backup, and no queue holds them any more
              Nothing was changed. Restore a newer backup, or put back the newest copies of the shards. If there is \
            none, --accept-loss restores it and writes them down as lost.
            """

        /// 4 b: Redis has lost its keys; the files that are put aside tell what the backup lacks.
        @Test func restoreAfterFlushall() throws {
            try withNode("restore") { cluster in
                let backup = try backUpAndCountOn(cluster)
                try ClusterTests.check(try cluster.redisCommand(["FLUSHALL"]) == "OK", "FLUSHALL failed")
                let restore = ["restore", backup, "--replace"]
                try cluster.expect(
                    restore, code: 3,
                    ["would be missing: partition 0: 5 batches of producer ", ", sequences 6-10\n", Self.refusal])
                try cluster.expect(restore + ["--no-redis"], code: 3, [Self.refusal])
                try cluster.expect(
                    restore + ["--accept-loss"],
                    [
                        "restored epoch 1: ", "declared lost: partition 0: batches 6-10 of producer ",
                        ": 5 increments (sum 5)\n",
                    ])
                try cluster.expect(["repair", "--yes"], ["created the keys of epoch 1, partitions 0", "done"])
                try countOn(cluster)
            }
        }

        /// 4 c: the shard is lost, Redis is not; the backup is older than the last trim.
        @Test func restoreWithoutTheShard() throws {
            try withNode("lostshard") { cluster in
                let backup = try backUpAndCountOn(cluster)
                let epoch = cluster.dataFolder + "/epoch-0001"
                Files.removeTree(epoch)
                try cluster.expect(["restore", backup, "--replace"], code: 3, [Self.refusal])
                // Redis is not asked: the consumer refuses the file, repair and preflight say why, and the way on.
                try cluster.expect(["restore", backup, "--replace", "--no-redis"], ["restored epoch 1: "])
                let consumer = try cluster.startConsumer("0")
                let ending = try cluster.consumers[consumer].waitForEnd(within: 30)
                try ClusterTests.check(
                    ending == .code(78), "\(ending): \(tail(cluster.consumers[consumer].errorOutput))")
                try refuseEverything(
                    cluster, "5 batches of producer PRODUCER, sequences 6-10",
                    "were committed once, and the file, which holds it through 5, does not have them")
                Files.removeTree(epoch)
                try cluster.expect(
                    ["restore", backup, "--replace", "--accept-loss"],
                    [
                        "declared lost: partition 0: batches 6-10 of producer ",
                        ": how much they held is not known yet\n",
                        "next: start the consumers again",
                    ])
                try cluster.expect(
                    ["audit"],
                    ["6-10: how much they held is not known yet\n", "lost 5 batches of unknown size"])
                try countOn(cluster)
            }
        }

        private func countOn(_ cluster: ManualCluster) throws(HarnessError) {
            try cluster.startConsumer("0")
            try cluster.waitUntilReady(0)
            try cluster.post(3)
            try cluster.expect(total: 8)
            try cluster.proveExact(audit: [
                "lost 5 batches, partition 0, producer ", ", 6-10: 5 increments (sum 5)\n", "residual 0",
            ])
        }

        // MARK: Finding 6

        /// A copy of the folder from before a rebalance is the first to meet an emptied Redis, and counts.
        @Test func aStaleCopyMeetsAnEmptiedRedis() throws {
            try withNode("stale") { cluster in
                let stale = cluster.folder.path + "/stale"
                let first = try cluster.startConsumer("0")
                try cluster.post(4, key: "before")
                try cluster.stopConsumer(first)
                try Files.copyTree(cluster.dataFolder, to: stale)
                try cluster.expect(["rebalance", "run", "--to", "2", "--yes"], ["epoch 2 is ready"])
                try cluster.webs[0].kill9()
                try ClusterTests.check(try cluster.redisCommand(["FLUSHALL"]) == "OK", "FLUSHALL failed")
                try cluster.expect(["init"], on: stale, ["completed: epoch 1"])
                let wrong = try cluster.startConsumer("0", dataFolder: stale)
                try cluster.startNode()
                try cluster.post(3, key: "after")
                let said = try cluster.run(["repair", "--yes"], code: 3)
                let producer = try producer(in: said)
                let range = "epoch 1, partition 0: 3 batches of producer \(producer), sequences 1-3"
                let left = """
                    counts are missing:
                      \(range): they were counted into another copy of the files: this one was closed with nothing of it
                      Find the folder whose consumer counted what is missing of earlier epochs. What its counters \
                    have more than the retired files here may be imported, and nothing else of it. Then record it, \
                    so that it is not found again:
                        tallymill repair --accept-loss e1.p0/\(producer):1-3
                    """
                try ClusterTests.check(said.contains(left), said)
                try ClusterTests.check(said.contains("published epoch 2, 2 partitions"), said)
                try cluster.expect(["verify"], code: 3, ["\(range) were counted into another copy of the files"])
                try cluster.expect(["rebalance", "purge", "--yes"], code: 3, [left])
                try cluster.stopConsumer(wrong)
                let lines = cluster.folder.path + "/lines"
                try cluster.expect(["export", "--prefix", "after", "-o", lines], on: stale, [])
                try cluster.startConsumer("0-1")
                try cluster.expect(["import", "--format", "text", lines], ["imported 1 line: 1 sum counted"])
                try cluster.expect(
                    ["repair", "--accept-loss", "e1.p0/\(producer):1-3", "--yes"], ["declared lost: \(range)"])
                try cluster.post(1, key: "after")
                try cluster.expect(total: 8)
                try cluster.expect(["repair", "--yes"], ["nothing to repair: Redis is as the cluster file says"])
                try cluster.proveExact()
            }
        }

        // MARK: A copy under another log

        /// The consumer was killed, an older copy of its file is put in place, and the log stays.
        @Test func aCopyUnderTheLogOfAKilledConsumer() throws {
            try withNode("log") { cluster in
                let shard = cluster.dataFolder + "/epoch-0001/shard-0000-of-0001.sqlite"
                let (copy, newest) = (cluster.folder.path + "/copy", cluster.folder.path + "/newest")
                for target in [copy, newest] {
                    let consumer = try cluster.startConsumer("0")
                    try cluster.post(3)
                    try cluster.stopConsumer(consumer)
                    try Files.copyTree(shard, to: target)
                }
                let killed = try cluster.startConsumer("0")
                try cluster.post(2)
                try cluster.consumers[killed].kill9()
                try Files.copyTree(copy, to: shard)
                let wrong = try cluster.startConsumer("0")
                let ending = try cluster.consumers[wrong].waitForEnd(within: 30)
                let said = cluster.consumers[wrong].errorOutput
                try ClusterTests.check(ending == .code(78), "\(ending): \(tail(said))")
                let sentence = "the log beside it, \(shard)-wal, belongs to another copy of this file"
                try ClusterTests.check(said.contains(sentence), tail(said))
                try cluster.expect(["verify"], code: 3, [sentence])
                try cluster.expect(["rebalance", "run", "--to", "2", "--yes"], code: 78, [sentence])
                try cluster.expect(["backup", cluster.folder.path + "/backup"], code: 78, [sentence])
                // Nothing was spoilt: under the file that it continues the log is whole.
                try Files.copyTree(newest, to: shard)
                try cluster.startConsumer("0")
                try cluster.waitUntilReady(0)
                try cluster.post(1)
                try cluster.expect(total: 9)
                try cluster.proveExact()
            }
        }

        // MARK: Finding 7

        /// After FLUSHALL and `repair` Redis knows what the files hold: an older copy does not pass.
        @Test func anOlderCopyAfterRepair() throws {
            try withNode("older") { cluster in
                let copy = cluster.folder.path + "/copy"
                let before = try cluster.startConsumer("0")
                try cluster.post(1)
                try cluster.stopConsumer(before)
                try Files.copyTree(cluster.dataFolder, to: copy)
                let right = try cluster.startConsumer("0")
                try cluster.post(5)
                let wrong = try cluster.startConsumer("0", dataFolder: copy)
                try eventually("the second consumer waits", within: 20) {
                    cluster.consumers[wrong].errorOutput.contains("a consumer on another host or of another copy")
                }
                try cluster.consumers[right].send(SIGSTOP)
                try ClusterTests.check(try cluster.redisCommand(["FLUSHALL"]) == "OK", "FLUSHALL failed")
                try cluster.expect(["repair", "--yes"], ["created the keys of epoch 1, partitions 0", "done"])
                try cluster.startNode()
                try cluster.post(2, level: "queued")
                let ending = try cluster.consumers[wrong].waitForEnd(within: 30)
                let said = cluster.consumers[wrong].errorOutput
                try ClusterTests.check(ending == .code(78), "\(ending): \(tail(said))")
                try ClusterTests.check(said.contains("the file is older than its queue"), tail(said))
                try cluster.consumers[right].send(SIGCONT)
                try cluster.expect(total: 8)
                try ClusterTests.check(try Report.read(copy).total == 1, "the copy has counted")
                try cluster.proveExact()
            }
        }
    }
}
