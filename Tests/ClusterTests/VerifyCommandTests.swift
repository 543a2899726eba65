// `verify` and `audit` as an operator meets them: beside a cluster under load, after processes were killed and Redis
// went back in time they find nothing; what a hand has changed they name, with the exit codes that scripts rely on.

import ClusterSupport
import Glibc
import Testing

extension ClusterTests {
    @Suite struct VerifyCommandTests {
        // MARK: Nothing to find

        /// Beside the load, and beside children of `up` that are killed.
        @Test func cleanUnderLoad() throws {
            try ClusterTests.withUp("verify") { cluster in
                let nodes = NodeBook([cluster.port])
                let load = Load(nodes, writers: 4, seed: TestEnvironment.seed)
                defer { load.stop() }
                var moved = 0
                for round in 0..<6 {
                    try work(load, requests: 50)
                    if round == 2 { try killed(.consumer, cluster) }
                    if round == 4 { try killed(.redis, cluster) }
                    try expectClean(["verify"], cluster)
                    let audit = try expectClean(["audit", "--node", "http://127.0.0.1:\(cluster.port)"], cluster)
                    moved += audit.outputText.contains("exact to the batches under way") ? 1 : 0
                }
                let ledger = load.stop()
                try ClusterTests.checkComplaints(load)
                try cluster.settle(ledger)
                let verify = try expectClean(["verify"], cluster)
                let report = try cluster.report(["--summary"])
                try ClusterTests.check(
                    verify.outputText == "4 shards, \(grouped(report.keys)) keys, total \(report.total): no findings\n",
                    verify.outputText)
                let audit = try expectClean(["audit", "--node", "http://127.0.0.1:\(cluster.port)"], cluster)
                try ClusterTests.check(
                    audit.outputText.contains("0 increments (sum 0) are not pushed yet")
                        && !audit.outputText.contains("under way"),
                    audit.outputText)
                note("verify: 6 rounds under load without a finding, in \(moved) of them streams moved meanwhile")
            }
        }

        /// A Redis that has just been started runs, and answers nobody yet.
        private func killed(_ role: ProcessEntry.Role, _ cluster: UpCluster) throws(HarnessError) {
            let killed = cluster.children(role)
            cluster.signal(SIGKILL, killed)
            try eventually("`up` is whole again", within: 20) { () throws(HarnessError) in
                guard !killed.contains(where: { ProcessTable.isRunning($0.pid) }), cluster.isComplete, cluster.isReady
                else { return false }
                return try Command.tallymill(["status", "--data-dir", cluster.dataFolder]).code == 0
            }
        }

        private func grouped(_ number: Int) -> String {
            let digits = Array(String(number))
            return String(
                digits.enumerated().flatMap { index, digit in
                    index > 0 && (digits.count - index) % 3 == 0 ? [",", digit] : [digit]
                })
        }

        /// Redis forgets what was acknowledged and the nodes send it again.
        @Test func cleanAfterARollback() throws {
            try ClusterTests.withPieces("verify-back") { cluster in
                try cluster.startWeb()
                try cluster.startConsumer("0-3")
                try cluster.waitUntilReady(0)
                let load = Load(NodeBook([cluster.ports[0]]), writers: 4, seed: TestEnvironment.seed)
                defer { load.stop() }
                try work(load, requests: 100)
                try Files.copyTree(cluster.redisFolder + "/appendonlydir", to: "\(cluster.folder.path)/copy")
                try work(load, requests: 100)
                try cluster.killRedis()
                Files.removeTree(cluster.redisFolder + "/appendonlydir")
                try Files.move("\(cluster.folder.path)/copy", to: cluster.redisFolder + "/appendonlydir")
                try cluster.startRedis()
                try cluster.waitUntilReady(0)
                for _ in 0..<3 {
                    try work(load, requests: 20)
                    try expectClean(["verify"], cluster)
                    try expectClean(["audit", "--node", "http://127.0.0.1:\(cluster.ports[0])"], cluster)
                }
                let ledger = load.stop()
                try cluster.settle(ledger)
                try expectClean(["verify"], cluster)
                try expectClean(["audit"], cluster)
            }
        }

        /// What is carried over, re-routed and repeated adds up.
        @Test func cleanAfterARebalance() throws {
            try ClusterTests.withUp("verify-change", partitions: 2) { cluster in
                let load = Load(NodeBook([cluster.port]), writers: 4, seed: TestEnvironment.seed)
                defer { load.stop() }
                for partitions in [5, 3] {
                    try work(load, requests: 60)
                    let change = try Command.tallymill(
                        ["rebalance", "run", "--to", "\(partitions)", "--yes", "--data-dir", cluster.dataFolder],
                        within: 60)
                    try ClusterTests.check(change.code == 0, change.errorText)
                    try work(load, requests: 60)
                    let verify = try expectClean(["verify"], cluster)
                    try ClusterTests.check(
                        verify.outputText.hasPrefix("\(partitions) shards, "), verify.outputText)
                    try expectClean(["audit", "--node", "http://127.0.0.1:\(cluster.port)"], cluster)
                }
                let ledger = load.stop()
                try ClusterTests.checkComplaints(load)
                try cluster.settle(ledger)
                try expectClean(["verify"], cluster)
                let audit = try expectClean(["audit"], cluster)
                try ClusterTests.check(
                    audit.outputText.contains("residual 0; total \(try cluster.report(["--summary"]).total) ="),
                    audit.outputText)
            }
        }

        private func work(_ load: Load, requests: Int) throws(HarnessError) {
            let goal = (load.ledger.requests[.acknowledged] ?? 0) + requests
            try eventually("\(requests) requests are acknowledged", within: 30) {
                (load.ledger.requests[.acknowledged] ?? 0) >= goal
            }
        }

        // MARK: Something to find

        /// An entry deleted by hand, an altered counter, a flipped byte: each with 3, and with its place and name.
        @Test func whatAHandHasChanged() throws {
            try ClusterTests.withPieces("plant") { cluster in
                try cluster.startWeb(options: ["--event-loops", "2"])
                try cluster.waitUntilReady(0)
                let keys = (0..<60).map { "\"k\($0)\":1" }.joined(separator: ",")
                for _ in 0..<3 { try post(cluster, "{\(keys)}") }
                try expectClean(["audit", "--node", "http://127.0.0.1:\(cluster.ports[0])"], cluster)
                let queue = "tallymill:{e1.p2}:queue"
                let reply = try cluster.redisCommand(["LTRIM", queue, "1", "-1"])
                try ClusterTests.check(reply == "OK", reply)
                let missing = "pushed, and neither the list nor the shard, which holds batches through 0, has that"
                let node = "the node at http://127.0.0.1:\(cluster.ports[0]) still holds its missing batches"
                try expect(["verify"], cluster, code: 3, words: [queue, missing])
                try expect(
                    ["audit", "--node", "http://127.0.0.1:\(cluster.ports[0])"], cluster, code: 3,
                    words: [missing, node])

                try cluster.startConsumer("0,1,3")
                try eventually("the others are counted", within: 10) { () throws(HarnessError) in
                    try cluster.report(["--summary"]).total > 120
                }
                let shard = "\(cluster.dataFolder)/epoch-0001/shard-0001-of-0004.sqlite"
                try sqlite(shard, "UPDATE counters SET value = value + 1 WHERE key = (SELECT max(key) FROM counters)")
                try expect(["verify"], cluster, code: 3, words: [shard, "its counters add up to"])
                try expect(["audit"], cluster, code: 3, words: [shard, "its counters add up to"])
                try expect(
                    ["verify", "--format", "json", "--offline"], cluster, code: 3,
                    words: ["\"clean\":false", "\"redis_skipped\":\"--offline\""])
            }
        }

        /// A page of a shard that nobody has open.
        @Test func aFlippedByte() throws {
            try ClusterTests.withUp("flip") { cluster in
                let keys = (0..<400).map { "\"key-number-\($0)\":1" }.joined(separator: ",")
                try ClusterTests.post(cluster.port, "{\(keys)}")
                try ClusterTests.interrupt(cluster)
                let shard = "\(cluster.dataFolder)/epoch-0001/shard-0003-of-0004.sqlite"
                try sqlite(shard, "PRAGMA wal_checkpoint(TRUNCATE)")
                try expect(["verify", "--offline"], cluster, code: 0, words: ["no findings"])
                guard var bytes = Files.read(shard) else { throw HarnessError("no \(shard)") }
                guard let place = bytes.lastRange(of: Array("key-number-".utf8)) else {
                    throw HarnessError("no key in \(shard)")
                }
                // The number of cells of the page.
                bytes[place / 4096 * 4096 + 4] ^= 0x10
                try Files.write(bytes, to: shard)
                try expect(["verify", "--offline"], cluster, code: 3, words: [shard, "SQLite finds it damaged"])
            }
        }

        // MARK: Refusals

        @Test func exitCodes() throws {
            try ClusterTests.inFolder("nothing") { folder in
                let place = ["--data-dir", "\(folder.path)/none"]
                for command in ["verify", "audit"] {
                    let result = try Command.tallymill([command] + place)
                    try ClusterTests.check(
                        result.code == 78 && result.errorText.contains("there is no cluster in"), result.errorText)
                }
            }
            try ClusterTests.withPieces("codes") { cluster in
                let port = try Loopback.freePort()
                try expect(
                    ["audit", "--node", "http://127.0.0.1:\(port)"], cluster, code: 69, words: ["cannot connect"])
                try expect(["audit", "--node", "ftp://x"], cluster, code: 64, words: ["--node"])
                try cluster.killRedis()
                try expect(["verify"], cluster, code: 69, words: ["cannot reach Redis"])
                try expect(
                    ["verify", "--offline"], cluster, code: 0, words: ["4 shards, 0 keys, total 0: no findings"])
                try expect(["audit"], cluster, code: 69, words: ["cannot reach Redis"])
            }
        }

        // MARK: Running

        @discardableResult
        private func expectClean(_ arguments: [String], _ cluster: UpCluster) throws(HarnessError) -> Command {
            try clean(Command.tallymill(arguments + ["--data-dir", cluster.dataFolder]), arguments)
        }

        @discardableResult
        private func expectClean(_ arguments: [String], _ cluster: ManualCluster) throws(HarnessError) -> Command {
            try clean(Command.tallymill(arguments + cluster.place), arguments)
        }

        private func clean(_ result: Command, _ arguments: [String]) throws(HarnessError) -> Command {
            let said = result.outputText + result.errorText
            try ClusterTests.check(
                result.code == 0,
                "TALLYMILL_SEED=\(TestEnvironment.seed): \(arguments) ended with \(result.code): \(tail(said))")
            return result
        }

        private func expect(
            _ arguments: [String], _ cluster: ManualCluster, code: Int32, words: [String]
        ) throws(HarnessError) {
            try expect(Command.tallymill(arguments + cluster.place), arguments, code, words)
        }

        private func expect(
            _ arguments: [String], _ cluster: UpCluster, code: Int32, words: [String]
        ) throws(HarnessError) {
            try expect(Command.tallymill(arguments + ["--data-dir", cluster.dataFolder]), arguments, code, words)
        }

        private func expect(
            _ result: Command, _ arguments: [String], _ code: Int32, _ words: [String]
        ) throws(HarnessError) {
            let said = result.outputText + result.errorText
            try ClusterTests.check(
                result.code == code, "\(arguments) ended with \(result.code) instead of \(code): \(tail(said))")
            for word in words { try ClusterTests.check(said.contains(word), "`\(word)` is not in: \(tail(said))") }
        }

        private func sqlite(_ path: String, _ sql: String) throws(HarnessError) {
            let result = try Command.run("/usr/bin/sqlite3", ["-batch", path, sql])
            try ClusterTests.check(result.code == 0, result.errorText)
        }

        private func post(_ cluster: ManualCluster, _ json: String) throws(HarnessError) {
            try ClusterTests.post(cluster.ports[0], json, level: "queued")
        }
    }
}

extension [UInt8] {
    /// Where the last occurrence of `part` begins.
    fileprivate func lastRange(of part: [UInt8]) -> Int? {
        indices.reversed().first { self[$0...].starts(with: part) }
    }
}
