// The host of Redis, shards and tools goes back to a snapshot as a whole, while a web node elsewhere lives on: what
// only the node knows has to come out, also over a change of epoch that it sleeps through.

import ClusterSupport
import Glibc
import ServiceKit
import Testing

extension ClusterTests {
    @Suite struct HostSnapshotTests {
        private func refusal(_ cluster: ManualCluster) -> String {
            Loopback.ask(cluster.ports[0], .get("/readyz"))?.text ?? "no answer"
        }

        /// Counts batches 1-5, takes the snapshot, and counts batches 6-10, which are in the host's future.
        private func countAcrossASnapshot(_ cluster: ManualCluster) throws {
            try cluster.startNode()
            let first = try cluster.startConsumer("0")
            try cluster.post(5)
            try cluster.stopConsumer(first)
            try cluster.snapshotHost()
            let second = try cluster.startConsumer("0")
            try cluster.waitUntilReady(0)
            try cluster.post(5)
            try cluster.stopConsumer(second)
        }

        /// An idle node finds out by itself, before anything is posted: the change of epoch is refused, too.
        @Test func anIdleNodeSaysWhatIsMissing() throws {
            try ClusterTests.withPieces("host-idle", partitions: 1) { cluster in
                try countAcrossASnapshot(cluster)
                try cluster.putHostBack()
                try eventually("the node knows", within: 20) { refusal(cluster).contains("lacks batches 6-10") }
                try cluster.expect(["verify"], code: 3, ["batches 6-10 were released by its web node"])
                try cluster.expect(["rebalance", "run", "--to", "2", "--yes"], code: 3, ["sequences 6-10"])
            }
        }

        /// The node sleeps while the host goes back and a rebalance makes new shards of the old files: they look whole.
        @Test func aNodeThatSleptThroughARebalance() throws {
            try ClusterTests.withPieces("host-moved", partitions: 1) { cluster in
                try countAcrossASnapshot(cluster)
                try cluster.webs[0].send(SIGSTOP)
                try cluster.putHostBack()
                try cluster.expect(["rebalance", "run", "--to", "2", "--yes"], ["epoch 2 is ready"])
                try cluster.proveExact()
                try cluster.webs[0].send(SIGCONT)
                try cluster.startConsumer("0-1")
                try cluster.waitUntilReady(0)
                try cluster.post(2)
                let range = "epoch 1, partition 0: 5 batches of producer "
                let cause =
                    "sequences 6-10 were released by their web node, and the shards were made of files that were put "
                    + "back to before them"
                try eventually("verify names it", within: 30) { () throws(HarnessError) in
                    let result = try Command.tallymill(["verify"] + cluster.place, within: 60)
                    return result.code == 3 && result.outputText.contains(range) && result.outputText.contains(cause)
                }
                try cluster.expect(["repair", "--yes"], code: 3, [range, "tallymill repair --accept-loss "])
                try cluster.expect(
                    ["repair", "--accept-loss", "all", "--yes"], ["declared lost: " + range, "done\n"])
                try cluster.expect(total: 7)
                try cluster.proveExact()
                try cluster.expect(["repair", "--yes"], ["nothing to repair"])
            }
        }

        /// A backup of an epoch that was opened twice, after everything was put back to before it: it belongs to the
        /// first.
        @Test func aBackupOfAnEpochThatCameAgain() throws {
            try ClusterTests.withPieces("host-backup", partitions: 1) { cluster in
                try cluster.snapshotHost()
                try cluster.run(["rebalance", "run", "--to", "2", "--yes"])
                let backup = cluster.folder.path + "/monday"
                try cluster.expect(["backup", backup], ["backup of epoch 2"])
                try cluster.putHostBack()
                try cluster.run(["rebalance", "run", "--to", "2", "--yes"])
                try cluster.startNode()
                let consumer = try cluster.startConsumer("0-1")
                try cluster.post(5)
                try cluster.stopConsumer(consumer)
                for shards in [[], ["--partitions", "0"]] {
                    try cluster.expect(
                        ["restore", backup, "--replace"] + shards, code: 78,
                        ["the backup holds another epoch 2 than this folder"])
                }
                try ClusterTests.check(try cluster.redisCommand(["FLUSHALL"]) == "OK", "FLUSHALL failed")
                try cluster.expect(
                    ["restore", backup, "--replace", "--accept-loss"], code: 78, ["the backup holds another epoch 2"])
                try cluster.expect(total: 5)
            }
        }

        /// A change of epoch that was killed leaves keys; the folder was put back to before it. They are not met again.
        @Test func keysOfAChangeThatWasGivenUp() throws {
            try ClusterTests.withPieces("host-left", partitions: 1) { cluster in
                try Files.copyTree(cluster.dataFolder, to: cluster.folder.path + "/data-then")
                let tool = try RunningProcess(
                    TestEnvironment.binary(),
                    ["rebalance", "run", "--to", "3", "--yes", "--pause-before", "4"] + cluster.place,
                    log: "\(cluster.folder.path)/tool")
                try eventually("the change stops itself", within: 30) { ProcessTable.entry(tool.pid)?.state == "T" }
                try tool.kill9()
                Files.removeTree(cluster.dataFolder)
                try Files.move(cluster.folder.path + "/data-then", to: cluster.dataFolder)
                try cluster.expect(["rebalance", "run", "--to", "2", "--yes"], ["epoch 3 is ready: 2 partitions"])
                try cluster.startNode()
                try cluster.startConsumer("0-1")
                try cluster.post(3)
                try cluster.expect(total: 3)
            }
        }

        /// The node has moved to an epoch that comes again with another number of partitions.
        @Test func anEpochComesAgain() throws {
            try ClusterTests.withPieces("host-epoch", partitions: 1) { cluster in
                try cluster.startNode()
                try cluster.snapshotHost()
                try cluster.waitUntilReady(0)
                try cluster.expect(["rebalance", "run", "--to", "2", "--yes"], ["epoch 2 is ready"])
                let consumer = try cluster.startConsumer("0-1")
                try cluster.post(5)
                try cluster.stopConsumer(consumer)
                for number in 0..<8 { try cluster.post(1, key: "q\(number)", level: "queued") }
                try cluster.webs[0].send(SIGSTOP)
                try cluster.putHostBack()
                try cluster.expect(["rebalance", "run", "--to", "3", "--yes"], ["epoch 2 is ready: 3 partitions"])
                try cluster.webs[0].send(SIGCONT)
                try cluster.startConsumer("0-2")
                let what = "a web node has seen epoch 2 with 2 partitions, and this is epoch 2 with 3: "
                try eventually("verify names the node", within: 30) { () throws(HarnessError) in
                    try Command.tallymill(["verify"] + cluster.place, within: 60).outputText.contains(what)
                }
                try ClusterTests.check(
                    refusal(cluster).contains("or of another epoch than this node has seen"), refusal(cluster))
                try cluster.expect(
                    ["repair", "--yes"], code: 3,
                    [what, "`tallymill rebalance run --to 3 --redis ", "` opens an epoch above it"])
                let before = try cluster.report()
                try ClusterTests.check(before.total == 0, "\(before.total) counted into another epoch's shards")
                try cluster.stopConsumer(1)
                try cluster.expect(["rebalance", "run", "--to", "3", "--yes"], ["epoch 3 is ready: 3 partitions"])
                try cluster.startConsumer("0-2")
                try cluster.waitUntilReady(0)
                try cluster.expect(total: 8)
                try cluster.post(2)
                try eventually("verify names what is missing", within: 30) { () throws(HarnessError) in
                    let result = try Command.tallymill(["verify"] + cluster.place, within: 60)
                    return result.outputText.contains("were released by their web node")
                }
                try cluster.expect(
                    ["repair", "--accept-loss", "all", "--yes"], ["declared lost: epoch 2, ", "done\n"])
                try cluster.expect(total: 10)
                try cluster.proveExact()
            }
        }
    }
}
