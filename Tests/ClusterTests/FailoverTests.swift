// Two Redis behind an address that stays: a failover while roles live, while they start, and while they stop.

import ClusterSupport
import Glibc
import RedisQueue
import ServiceKit
import TestSupport
import Testing

extension ClusterTests {
    @Suite struct FailoverTests {
        /// A primary, a replica of it, and a cluster that reaches them through a forwarder, which leads to the primary.
        private struct Pair {
            let primary: RedisServer
            let replica: RedisServer
            let forwarder: Forwarder
            let cluster: ManualCluster

            func command(_ server: RedisServer, _ words: String...) throws -> RedisReply {
                var command = RedisCommand(words[0])
                for word in words.dropFirst() { command.append(word) }
                return try server.connect().command(command)
            }

            /// Whether the replica has all that the primary has.
            func isInStep() throws -> Bool {
                let (one, other) = (try info(primary), try info(replica))
                return other["master_link_status"] == "up" && one["master_repl_offset"] == other["master_repl_offset"]
            }

            private func info(_ server: RedisServer) throws -> ServerInfo {
                try ServerInfo(server.connect()) ?? ServerInfo(text: "")
            }

            /// The replica becomes the primary, and new connections lead to it.
            func failOver() throws {
                #expect(try command(replica, "REPLICAOF", "NO", "ONE") == .status("OK"))
                forwarder.lead(to: replica.socket)
            }
        }

        private func withPair(_ name: String, _ body: (Pair) throws -> Void) throws {
            // A replica is served at once, not after the 5 s for others to come.
            let options = ["--repl-diskless-sync-delay", "0"]
            let primary = try RedisServer(options, listensOnPort: true)
            let replica = try RedisServer(options, listensOnPort: true)
            let forwarder = try Forwarder(to: primary.socket)
            defer { forwarder.stop() }
            try ClusterTests.inFolder(name) { folder in
                let cluster = try ManualCluster(folder, partitions: 2) { $0.address = forwarder.url }
                defer { cluster.destroy() }
                let pair = Pair(primary: primary, replica: replica, forwarder: forwarder, cluster: cluster)
                #expect(try pair.command(replica, "REPLICAOF", "127.0.0.1", "\(primary.port)") == .status("OK"))
                try #require(try waitUntil { try pair.isInStep() }, "the replica follows")
                try body(pair)
            }
        }

        /// The old primary goes on as a replica: connections to it live, and refuse every write.
        @Test func aDemotedRedisIsLeft() throws {
            try withPair("demoted") { pair in
                let cluster = pair.cluster
                let admin = try Loopback.freePort()
                try cluster.waitUntilReady(try cluster.startWeb(options: ["--admin-port", "\(admin)"]))
                try cluster.startConsumer("0-1")
                try ClusterTests.post(cluster.ports[0], #"{"a":1,"b":2,"c":3}"#)
                try #require(try waitUntil { try pair.isInStep() })
                try pair.failOver()
                // It finds nobody there, and shows what it has for as long as it is asked.
                #expect(try pair.command(pair.primary, "REPLICAOF", "127.0.0.1", "1") == .status("OK"))
                // The first request that meets it waits, and is answered.
                try ClusterTests.post(cluster.ports[0], #"{"a":10,"b":20,"c":30}"#)
                #expect(try cluster.report(["--summary"]).total == 66)
                // Who only looks looks at the new one, too.
                try cluster.consumers[0].send(SIGTERM)
                #expect(try cluster.consumers[0].waitForEnd(within: 20) == .code(0))
                try ClusterTests.post(cluster.ports[0], #"{"a":1}"#, level: "queued")
                try eventually("the metrics show what waits", within: 10) {
                    let seen = Loopback.metrics(admin)
                    return (0...1).contains { seen[#"tallymill_queue_batches{partition="\#($0)"}"#] == 1 }
                }
            }
        }

        /// Redis was replaced by one that lacks the newest batch, and the node still reaches the old one: its stop
        /// looks at what the address leads to now.
        @Test func aStopDeliversToTheRedisThatIsThere() throws {
            try withPair("replaced") { pair in
                let cluster = pair.cluster
                try cluster.waitUntilReady(try cluster.startWeb())
                try ClusterTests.post(cluster.ports[0], #"{"a":1,"b":2,"c":3}"#, level: "queued")
                try #require(try waitUntil { try pair.isInStep() })
                try pair.failOver()
                try ClusterTests.post(cluster.ports[0], #"{"a":10,"b":20,"c":30}"#, level: "queued")
                try cluster.webs[0].send(SIGTERM)
                let ending = try cluster.webs[0].waitForEnd(within: 20)
                try ClusterTests.check(ending == .code(0), "the node \(ending): \(tail(cluster.webs[0].errorOutput))")
                // No consumer runs: it says what it has left, and where.
                let words = "stopped: Redis has these, and no shard has confirmed them yet: "
                try ClusterTests.check(
                    cluster.webs[0].errorOutput.contains(words), tail(cluster.webs[0].errorOutput))
                pair.primary.kill()
                try cluster.startConsumer("0-1")
                try eventually("everything is counted", within: 20) { () throws(HarnessError) in
                    try cluster.report(["--summary"]).total == 66
                }
            }
        }

        /// With consumers at work a stop leaves nothing behind, and a second signal does not wait for them.
        @Test func aStopWaitsForTheShards() throws {
            try withPair("stored") { pair in
                let cluster = pair.cluster
                for _ in 0...1 { try cluster.waitUntilReady(try cluster.startWeb(options: ["--event-loops", "1"])) }
                for port in cluster.ports { try ClusterTests.post(port, #"{"a":1}"#, level: "queued") }
                try cluster.webs[0].send(SIGTERM)
                try eventually("the node stops", within: 10) { cluster.webs[0].errorOutput.contains("stopping") }
                try cluster.startConsumer("0-1")
                #expect(try cluster.webs[0].waitForEnd(within: 20) == .code(0))
                try ClusterTests.check(
                    !cluster.webs[0].errorOutput.contains("no shard"), tail(cluster.webs[0].errorOutput))
                // Nothing is left to wait for, Redis or not.
                try eventually("the other node knows it, too", within: 10) {
                    Loopback.ask(cluster.ports[1], .get("/readyz"))?.text.contains(#""outbox_bytes":0"#) == true
                }
                pair.forwarder.lead(to: nil)
                try cluster.webs[1].send(SIGTERM)
                #expect(try cluster.webs[1].waitForEnd(within: 20) == .code(0))
            }
        }

        /// Where Redis does not come back, the last words are numbers.
        @Test func aStopThatIsCutShortSaysWhatItHolds() throws {
            try withPair("short") { pair in
                let cluster = pair.cluster
                try cluster.waitUntilReady(try cluster.startWeb(options: ["--event-loops", "1"]))
                try ClusterTests.post(cluster.ports[0], #"{"a":1}"#, level: "queued")
                pair.forwarder.lead(to: nil)
                try cluster.webs[0].send(SIGTERM)
                try eventually("it looks for Redis", within: 10) { pair.forwarder.turnedAway > 0 }
                try cluster.webs[0].send(SIGTERM)
                let ending = try cluster.webs[0].waitForEnd(within: 20)
                let said = cluster.webs[0].errorOutput
                try ClusterTests.check(ending == .code(1), "the node \(ending): \(tail(said))")
                try ClusterTests.check(
                    said.contains("stopped with up to 1 batch (")
                        && said.contains("that the Redis which is there now has not confirmed"), tail(said))
            }
        }

        /// A failover is over in seconds: a supervisor has to try again, so it must not be told that this is for ever.
        @Test(arguments: [
            ["REPLICAOF", "127.0.0.1", "1"], ["CONFIG", "SET", "min-replicas-to-write", "2"],
        ])
        func startsWaitForAFailover(_ words: [String]) throws {
            try withPair("starts") { pair in
                let cluster = pair.cluster
                var command = RedisCommand()
                for word in words { command.append(word) }
                #expect(try pair.primary.connect().command(command) == .status("OK"))
                try cluster.startWeb()
                try cluster.startConsumer("0-1")
                let initialize = try RunningProcess(
                    TestEnvironment.binary(), ["init"] + cluster.place, log: cluster.folder.path + "/init")
                for process in [cluster.webs[0], cluster.consumers[0], initialize] {
                    let ending = try process.waitForEnd(within: 20)
                    try ClusterTests.check(ending == .code(69), "\(ending): \(tail(process.errorOutput))")
                    try ClusterTests.check(process.errorOutput.contains("takes no writes"), tail(process.errorOutput))
                }
                // Mended while they wait.
                let web = try cluster.startWeb()
                try pair.failOver()
                try cluster.waitUntilReady(web)
            }
        }

        /// A consumer that is told to stop while it waits for Redis gives its lease back if that is there again.
        @Test func aStopInABackOffGivesTheLeaseBack() throws {
            try withPair("lease") { pair in
                let cluster = pair.cluster
                try cluster.startConsumer("0-1")
                try eventually("it consumes", within: 20) {
                    cluster.consumers[0].errorOutput.components(of: "consuming") == 2
                }
                func leases() throws -> [RedisReply] {
                    try (0...1).map { try pair.command(pair.primary, "HEXISTS", "tallymill:{e1.p\($0)}:meta", "lease") }
                }
                #expect(try leases() == [.integer(1), .integer(1)])
                pair.forwarder.lead(to: nil)
                #expect(
                    try pair.command(pair.primary, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes") != .integer(0))
                // Both have failed often enough to wait for most of a second now.
                try eventually("it waits", within: 20) { pair.forwarder.turnedAway >= 14 }
                pair.forwarder.lead(to: pair.primary.socket)
                try cluster.consumers[0].send(SIGTERM)
                #expect(try cluster.consumers[0].waitForEnd(within: 20) == .code(0))
                #expect(try leases() == [.integer(0), .integer(0)])
            }
        }
    }
}

extension String {
    /// How often a text occurs.
    fileprivate func components(of text: String) -> Int { ranges(of: text).count }
}
