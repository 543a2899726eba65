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
