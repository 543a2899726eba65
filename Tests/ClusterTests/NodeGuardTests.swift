// What a web node must not promise: over a Redis that may lose what it confirms, under an identity that another process
// uses, and into the lists of another cluster.

import ClusterSupport
import RedisQueue
import ServiceKit
import TallyCore
import TestSupport
import Testing

extension ClusterTests {
    @Suite struct NodeGuardTests {
        private static let volatile =
            "this Redis confirms writes before they are on disk (appendfsync no): write `appendfsync always` into"
            + " redis.conf and run `CONFIG SET appendfsync always`, or pass --allow-volatile-redis"

        private func status(_ port: UInt16, _ page: String = "/readyz") -> Int? {
            Loopback.ask(port, .get(page))?.status
        }

        /// Killed and started again with other settings: nodes refuse at once and say why, a consumer takes what is
        /// there; mended, all goes on without a restart.
        @Test func redisComesBackUnfit() throws {
            try ClusterTests.withPieces("unfit", partitions: 2) { cluster in
                let (web, consumer) = (try Loopback.freePort(), try Loopback.freePort())
                try cluster.startWeb(options: ["--event-loops", "1", "--admin-port", "\(web)"])
                try cluster.startConsumer("0-1", options: ["--admin-port", "\(consumer)"])
                try cluster.waitUntilReady(0)
                let load = Load(NodeBook([cluster.ports[0]]), writers: 2, seed: TestEnvironment.seed)
                defer { load.stop() }
                try eventually("requests are acknowledged", within: 20) { load.acknowledged(by: 0) > 50 }
                try cluster.killRedis()
                try cluster.startRedis(options: ["--appendfsync", "no"])
                try eventually("the node says why it refuses", within: 10) {
                    Loopback.ask(cluster.ports[0], .get("/readyz"))?.text.contains(Self.volatile) == true
                }
                let before = load.acknowledged(by: 0)
                try eventually("the consumer goes on, and says what is wrong", within: 10) {
                    let text = Loopback.ask(consumer, .get("/status"))?.text ?? ""
                    return text.contains(#""redis_unfit":"\#(Self.volatile)""#) && text.contains(#""ready":true"#)
                        && status(consumer) == 200
                }
                try eventually("the figures show it", within: 10) {
                    [web, consumer].allSatisfy {
                        Loopback.ask($0, .get("/metrics"))?.text.contains("\ntallymill_redis_fit 0\n") == true
                    }
                }
                // The request of each writer may have been under way, and have got its 202.
                #expect(load.acknowledged(by: 0) <= before + 2)
                let refused = Loopback.ask(cluster.ports[0], HTTPRequest("/increment?key=never&value=1"))
                #expect(refused?.status == 503)
                #expect(try cluster.redisCommand(["CONFIG", "SET", "appendfsync", "always"]) == "OK")
                try eventually("requests are acknowledged again", within: 10) { load.acknowledged(by: 0) > before + 2 }
                let ledger = load.stop()
                try ClusterTests.checkComplaints(load)
                try cluster.settle(ledger)
                let log = cluster.webs[0].errorOutput
                #expect(log.split(separator: "\n").count { $0.contains(Self.volatile) } == 1, "\(log)")
                #expect(cluster.consumers[0].errorOutput.contains("Redis is not fit, and consumed all the same"))
            }
        }

        /// `appendonly yes` is in force at once for whoever asks, and on disk only when the first file is whole.
        @Test func anAppendOnlyFileThatIsStillBeingWritten() throws {
            try ClusterTests.withPieces("aof", partitions: 1) { cluster in
                try cluster.startNode()
                try cluster.killRedis()
                Files.removeTree(cluster.redisFolder + "/appendonlydir")
                // A second for each key that the first file takes.
                try cluster.startRedis(options: ["--appendonly", "no", "--rdb-key-save-delay", "1000000"])
                let pads = (0..<6).flatMap { ["pad\($0)", "x"] }
                #expect(try cluster.redisCommand(["MSET"] + pads) == "OK")
                let text = { Loopback.ask(cluster.ports[0], .get("/readyz"))?.text ?? "" }
                try eventually("the node says why it refuses", within: 10) { text().contains("(appendonly no)") }
                #expect(try cluster.redisCommand(["CONFIG", "SET", "appendonly", "yes"]) == "OK")
                try eventually("it waits for the file", within: 6) { text().contains("still writing the file") }
                try eventually("the file is whole", within: 60) { () throws(HarnessError) in
                    let info = try cluster.redisCommand(["INFO", "persistence"])
                    return info.contains("aof_rewrite_in_progress:0") && info.contains("aof_rewrite_scheduled:0")
                }
                try cluster.run(["repair", "--yes"])
                try cluster.waitUntilReady(0)
                try cluster.post(1, level: "queued")
            }
        }

        @Test func aRoleDoesNotStartOverARewriteWithoutFsync() throws {
            try ClusterTests.withPieces("rewrite", partitions: 1) { cluster in
                #expect(try cluster.redisCommand(["CONFIG", "SET", "no-appendfsync-on-rewrite", "yes"]) == "OK")
                let address = "127.0.0.1:\(try Loopback.freePort())"
                for role in [["web", "--listen", address, "--admin-port", "0"], ["consume", "--partitions", "0"]] {
                    let result = try Command.tallymill(role + cluster.place)
                    #expect(result.code == 78)
                    #expect(result.errorText.contains("run `CONFIG SET no-appendfsync-on-rewrite no`"))
                }
            }
        }

        /// A batch under the node's id that it has not made: it ends with 1, and a supervisor starts it with a new one.
        @Test func aCloneOfANode() throws {
            try ClusterTests.withPieces("clone", partitions: 1) { cluster in
                try cluster.startWeb(options: ["--event-loops", "1"])
                try cluster.startConsumer("0")
                try cluster.waitUntilReady(0)
                let ledger = try JSONTree(Loopback.ask(cluster.ports[0], .get("/ledger"))?.body ?? [])
                let name = try #require(ledger["producer"]?.text)
                let id = ProducerID(try #require(Bytes16(name)))
                let link = RedisLink(url: try RedisURL(cluster.redisURL), clientName: "clone")
                let clone = try CloneNode(id, link, try KeyNames(namespace: "tallymill"))
                #expect(try clone.push("clone"))
                var request = HTTPRequest("/increment?key=own&value=1")
                request.headers = [("Prefer", "wait=20")]
                // Nobody knows whether it counted: the connection ends without an answer.
                #expect(Loopback.ask(cluster.ports[0], request) == nil)
                let ending = try cluster.webs[0].waitForEnd(within: 5)
                #expect(ending == .code(1))
                #expect(
                    cluster.webs[0].errorOutput.contains(
                        "tallymill: another process uses the identity of this node, producer \(name) in partition 0:"
                            + " this one was resumed from a snapshot of its memory, or cloned\n"))
                // What was pushed first is counted, and nothing else.
                try eventually("the clone's batch is counted", within: 10) { () throws(HarnessError) in
                    try cluster.report().counters == ["clone": 1]
                }
            }
        }

        /// FLUSHALL and `init` of another cluster under the feet of a node that pushes: nothing of it is given to them.
        @Test func anotherClusterInTheNamespace() throws {
            try ClusterTests.withPieces("two-clusters", partitions: 2) { cluster in
                try cluster.startWeb()
                try cluster.waitUntilReady(0)
                let load = Load(NodeBook([cluster.ports[0]]), writers: 4, seed: TestEnvironment.seed)
                defer { load.stop() }
                try eventually("requests are acknowledged", within: 20) { load.acknowledged(by: 0) > 50 }
                #expect(try cluster.redisCommand(["FLUSHALL"]) == "OK")
                let other = ["--redis", cluster.redisURL, "--data-dir", cluster.folder.path + "/other"]
                let made = try Command.tallymill(["init", "--partitions", "2"] + other)
                #expect(made.code == 0, "\(made.errorText)")
                try eventually("the node sees whose Redis it is", within: 10) {
                    Loopback.ask(cluster.ports[0], .get("/readyz"))?.text.contains("Redis belongs to another cluster")
                        == true
                }
                load.stop()
                try ClusterTests.checkComplaints(load)
                for number in 0...1 {
                    let key = "tallymill:{e1.p\(number)}"
                    #expect(try cluster.redisCommand(["LLEN", "\(key):queue"]) == "0")
                    #expect(try cluster.redisCommand(["EXISTS", "\(key):seqs"]) == "0")
                }
            }
        }
    }
}
