// Redis loses everything while web nodes and consumers live: `status` says so, `repair` brings it back, and what was
// acknowledged is counted once, because the nodes still hold whatever no shard has confirmed.

import ClusterSupport
import Glibc
import Testing

extension ClusterTests {
    @Suite struct RepairTests {
        /// Three times under load; in the second round no consumer runs when it happens.
        @Test func everythingInRedisIsLost() throws {
            try ClusterTests.withPieces("flushall") { cluster in
                for _ in 0..<2 { try cluster.startWeb() }
                try cluster.startConsumer("0-3")
                for web in 0..<2 { try cluster.waitUntilReady(web) }
                let load = Load(NodeBook(cluster.ports.map { $0 }), writers: 4, seed: TestEnvironment.seed)
                defer { load.stop() }
                for round in 1...3 { try lose(cluster, load, round) }
                let ledger = load.stop()
                try ClusterTests.checkComplaints(load)
                try cluster.settle(ledger)
                note("flushall: \(ledger.increments[.acknowledged] ?? 0) increments acknowledged, exact, three times")
            }
        }

        private func lose(_ cluster: ManualCluster, _ load: Load, _ round: Int) throws(HarnessError) {
            try work(load, requests: 100)
            if round == 2 { try cluster.consumers[0].kill9() }
            try work(load, requests: 100)
            try ClusterTests.check(try cluster.redisCommand(["FLUSHALL"]) == "OK", "FLUSHALL failed")
            let status = try Command.tallymill(["status", "--format", "json"] + cluster.place)
            let due = try JSONTree(status.output)["due"]?.elements.compactMap(\.text) ?? []
            let command = "tallymill repair --redis \(cluster.redisURL) --data-dir \(cluster.dataFolder)"
            try ClusterTests.check(
                due.count == 1
                    && due[0].hasPrefix(
                        "nothing of this cluster is in \(cluster.redisURL), namespace tallymill: `\(command)` makes"),
                "status: \(due)")
            let asked = try Command.tallymill(["repair"] + cluster.place)
            try ClusterTests.check(asked.code == 64, "repair without --yes ended with \(asked.code)")
            try repair(
                cluster, ["published epoch 1, 4 partitions", "created the keys of epoch 1, partitions 0-3", "done"])
            try repair(cluster, ["nothing to repair: Redis is as the cluster file says"])
            if round == 2 { try cluster.startConsumer("0-3") }
            for web in 0..<2 { try cluster.waitUntilReady(web) }
            try work(load, requests: 50)
            try load.pause()
            do throws(HarnessError) {
                try cluster.settle(load.ledger)
            } catch {
                throw HarnessError("TALLYMILL_SEED=\(TestEnvironment.seed), round \(round): \(error)")
            }
            let nodes = cluster.ports.flatMap { ["--node", "http://127.0.0.1:\($0)"] }
            for command in [["verify"], ["audit"] + nodes] {
                let result = try Command.tallymill(command + cluster.place)
                try ClusterTests.check(
                    result.code == 0, "\(command) ended with \(result.code): \(result.outputText) \(result.errorText)")
            }
            load.resume()
        }

        /// Runs `repair --yes`, which must end with 0 and with these lines.
        private func repair(_ cluster: ManualCluster, _ lines: [String]) throws(HarnessError) {
            let result = try Command.tallymill(["repair", "--yes"] + cluster.place)
            let printed = result.outputText.split(separator: "\n").map { String($0) }
            try ClusterTests.check(
                result.code == 0 && printed.suffix(lines.count) == lines,
                "repair ended with \(result.code): \(result.outputText) \(result.errorText)")
        }

        private func work(_ load: Load, requests: Int) throws(HarnessError) {
            let goal = (load.ledger.requests[.acknowledged] ?? 0) + requests
            try eventually("\(requests) requests are acknowledged", within: 30) {
                (load.ledger.requests[.acknowledged] ?? 0) >= goal
            }
        }
    }

    @Suite struct DeadLetterTests {
        /// The commands on a running cluster, with their exit codes.
        @Test func replayAndDrop() throws {
            try ClusterTests.withUp("dead") { cluster in
                try post(cluster, "full=9223372036854775807")
                try post(cluster, "full=5")
                try post(cluster, "full=6")
                var (code, letters) = try list(cluster)
                try ClusterTests.check(code == 0 && letters.map(\.sum) == [5, 6], "\(code) \(letters)")
                let shown = try run(cluster, ["show", letters[0].id, "--format", "json"])
                try ClusterTests.check(shown.code == 0 && shown.outputText.contains(#""key":"full""#), shown.outputText)
                let unknown = try run(cluster, ["show", "00000000000003e7"])
                try ClusterTests.check(unknown.code == 1, "show of what is not there")
                try ClusterTests.check(try run(cluster, ["replay"]).code == 64, "replay of nothing")

                let again = try run(cluster, ["replay", letters[0].id])
                try ClusterTests.check(
                    again.code == 3 && again.outputText.contains("still does not fit"),
                    "\(again.code) \(again.outputText) \(again.errorText)")
                (code, letters) = try list(cluster)
                try ClusterTests.check(letters.map(\.sum) == [5, 6], "\(letters)")

                try post(cluster, "full=-5")
                let counted = try run(cluster, ["replay", letters[0].id])
                try ClusterTests.check(
                    counted.code == 0 && counted.outputText.contains("\(letters[0].id) is counted\n"),
                    "\(counted.code) \(counted.outputText) \(counted.errorText)")
                try ClusterTests.check(try run(cluster, ["drop", "--all"]).code == 64, "drop without --yes")
                let dropped = try run(cluster, ["drop", "--all", "--yes"])
                try ClusterTests.check(
                    dropped.code == 0 && dropped.outputText.contains(#""sum":6,"#),
                    "\(dropped.code) \(dropped.outputText)")
                (code, letters) = try list(cluster)
                try ClusterTests.check(code == 0 && letters.isEmpty, "\(code) \(letters)")
                let report = try cluster.report()
                try ClusterTests.check(report.counters == ["full": .max], "\(report)")
                try ClusterTests.interrupt(cluster)
            }
        }

        /// Counts `key=value`, and waits until it is stored.
        private func post(_ cluster: UpCluster, _ pair: String) throws(HarnessError) {
            let parts = pair.split(separator: "=")
            var request = HTTPRequest("/increment?level=stored")
            request.headers = [("Content-Type", "application/x-www-form-urlencoded")]
            request.body = Array("key=\(parts[0])&value=\(parts[1])".utf8)
            let answer = Loopback.ask(cluster.port, request)
            try ClusterTests.check(answer?.level == "stored", "\(pair): \(answer.map { $0.text } ?? "no answer")")
        }

        private func run(_ cluster: UpCluster, _ arguments: [String]) throws(HarnessError) -> Command {
            try Command.tallymill(["dead-letters"] + arguments + ["--data-dir", cluster.dataFolder])
        }

        private func list(_ cluster: UpCluster) throws(HarnessError) -> (Int32, [(id: String, sum: Int)]) {
            let result = try run(cluster, ["list", "--format", "json"])
            let letters = try JSONTree(result.output)["letters"]?.elements ?? []
            return (result.code, letters.map { ($0["id"]?.text ?? "", $0["sum"]?.integer() ?? 0) })
        }
    }
}
