// Redis goes back in time while the web nodes live, and everything dies at once.
//
// A rollback is what an asynchronous replica, a restored snapshot or a lying disk does: Redis comes back with data
// that is some time old. What it had acknowledged is gone from it; the nodes still hold whatever no shard has
// confirmed, and consumers recognise what they have counted already.

import ClusterSupport
import Glibc
import Testing

extension ClusterTests {
    @Suite struct RollbackTests {
        /// Three times: a copy of the append-only folder, more load, kill -9, the copy in its place.
        @Test func redisGoesBackInTime() throws {
            try ClusterTests.withPieces("rollback") { cluster in
                for _ in 0..<2 { try cluster.startWeb() }
                try cluster.startConsumer("0-3")
                for web in 0..<2 { try cluster.waitUntilReady(web) }
                let load = Load(NodeBook(cluster.ports.map { $0 }), writers: 4, seed: TestEnvironment.seed)
                defer { load.stop() }
                for round in 1...3 { try goBack(cluster, load, round) }
                let ledger = load.stop()
                try cluster.settle(ledger)
                note("rollback: \(ledger.increments[.acknowledged] ?? 0) increments acknowledged, exact, three times")
            }
        }

        private func goBack(_ cluster: ManualCluster, _ load: Load, _ round: Int) throws(HarnessError) {
            let copy = "\(cluster.folder.path)/copy-\(round)"
            try work(load, requests: 100)
            // In the second round nothing is consumed after the copy: what is rolled back was never in a shard.
            if round == 2 { try cluster.consumers[cluster.consumers.count - 1].kill9() }
            try Files.copyTree(cluster.redisFolder + "/appendonlydir", to: copy)
            let atCopy = load.ledger.requests[.acknowledged] ?? 0
            try work(load, requests: 200)
            let lost = (load.ledger.requests[.acknowledged] ?? 0) - atCopy
            try cluster.killRedis()
            Files.removeTree(cluster.redisFolder + "/appendonlydir")
            try Files.move(copy, to: cluster.redisFolder + "/appendonlydir")
            try cluster.startRedis()
            if round == 2 { try cluster.startConsumer("0-3") }
            for web in 0..<2 { try cluster.waitUntilReady(web) }
            try work(load, requests: 50)
            try load.pause()
            try ClusterTests.checkComplaints(load)
            let watch = Stopwatch()
            do throws(HarnessError) {
                try cluster.settle(load.ledger)
            } catch {
                throw HarnessError("TALLYMILL_SEED=\(TestEnvironment.seed), rollback \(round): \(error)")
            }
            note("rollback \(round): Redis forgot \(lost) acknowledged requests; exact after \(watch.text) s")
            load.resume()
        }

        private func work(_ load: Load, requests: Int) throws(HarnessError) {
            let goal = (load.ledger.requests[.acknowledged] ?? 0) + requests
            try eventually("\(requests) requests are acknowledged", within: 30) {
                (load.ledger.requests[.acknowledged] ?? 0) >= goal
            }
        }

        /// Nobody pushes, nothing waits: the consumer tells Redis what the shard holds as soon as it is connected
        /// again, so no node is ever refused because of it.
        @Test func anIdleConsumerHealsARedisThatWentBack() throws {
            try ClusterTests.withPieces("rollback-idle", partitions: 1) { cluster in
                try cluster.startWeb(options: ["--event-loops", "1"])
                try cluster.startConsumer("0")
                try cluster.waitUntilReady(0)
                try count(5, cluster)
                let copy = cluster.folder.path + "/copy"
                try Files.copyTree(cluster.redisFolder + "/appendonlydir", to: copy)
                try count(3, cluster)
                let key = "tallymill:{e1.p0}:"
                let applied = try cluster.redisCommand(["HVALS", key + "applied"])
                try cluster.killRedis()
                Files.removeTree(cluster.redisFolder + "/appendonlydir")
                try Files.move(copy, to: cluster.redisFolder + "/appendonlydir")
                try cluster.startRedis()
                try eventually("Redis knows again what the shard holds", within: 20) { () throws(HarnessError) in
                    try cluster.redisCommand(["HVALS", key + "applied"]) == applied
                }
                #expect(try cluster.redisCommand(["HEXISTS", key + "meta", "behind"]) == "0")
                try cluster.waitUntilReady(0)
                try count(2, cluster)
            }
        }

        /// Requests of one increment, each answered when it is in the shard.
        private func count(_ requests: Int, _ cluster: ManualCluster) throws(HarnessError) {
            for _ in 0..<requests {
                var request = HTTPRequest("/increment?level=stored")
                request.headers.append((name: "Content-Type", value: "application/json"))
                request.body = Array(#"{"key":"k","value":1}"#.utf8)
                let status = Loopback.ask(cluster.ports[0], request)?.status
                try ClusterTests.check(status == 200, "an increment was answered \(status ?? 0)")
            }
        }

        /// `up`, its children and a second node, all with one blow; then `up` on the same folder.
        @Test func everythingIsKilledAtOnce() throws {
            try ClusterTests.withUp("blow") { cluster in
                let nodes = NodeBook([cluster.port])
                let load = Load(nodes, writers: 4, seed: TestEnvironment.seed)
                defer { load.stop() }
                for blow in 1...2 {
                    try work(load, requests: 150)
                    nodes[0] = nil
                    cluster.signal(SIGKILL, ProcessTable.children(of: cluster.process.pid))
                    try cluster.killAlone()
                    let watch = Stopwatch()
                    try cluster.startAgain()
                    nodes[0] = cluster.port
                    note("blow \(blow): `up` is ready again after \(watch.text) s")
                    try work(load, requests: 20)
                }
                let ledger = load.stop()
                try ClusterTests.checkComplaints(load)
                try cluster.settle(ledger)
            }
        }
    }
}
