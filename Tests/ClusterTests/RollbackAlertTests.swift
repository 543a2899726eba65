// What an operator sees of a Redis that went back in time: one line in the log, one count in the metric, and the alert
// of deploy/prometheus, asked of a real Prometheus that scrapes the node.

import ClusterSupport
import Glibc
import ServiceKit
import Testing

extension ClusterTests {
    @Suite struct RollbackAlertTests {
        private static let line = "Redis has gone back in time"

        @Test func putBackAndEmptied() throws {
            try ClusterTests.withPieces("rollback-alert", partitions: 2) { cluster in
                let admin = try Loopback.freePort()
                try cluster.startWeb(options: ["--event-loops", "2", "--admin-port", "\(admin)"])
                try cluster.startConsumer("0-1")
                try cluster.waitUntilReady(0)
                let prometheus = try Prometheus(cluster.folder, scraping: admin)
                defer { prometheus?.end() }
                try eventually("the node is scraped", within: 30) { prometheus?.has("tallymill_ready") ?? true }
                try count(8, cluster, level: "stored")
                #expect(try prometheus?.fires("TallymillRedisWentBack") != true)
                try putBack(cluster)
                try cluster.expect(total: 16)
                try told(1, cluster, admin)
                if let prometheus {
                    try eventually("the alert fires", within: 30) { () throws(HarnessError) in
                        try prometheus.fires("TallymillRedisWentBack")
                    }
                } else {
                    note("prometheus is not installed: the alert was not tried")
                }
                try emptied(cluster)
                try cluster.expect(total: 25)
                try told(2, cluster, admin)
                try cluster.proveExact()
            }
        }

        /// What is pushed after the copy is in no shard when the copy is put back.
        private func putBack(_ cluster: ManualCluster) throws(HarnessError) {
            try cluster.stopConsumer(0)
            let copy = cluster.folder.path + "/copy"
            try Files.copyTree(cluster.redisFolder + "/appendonlydir", to: copy)
            try count(8, cluster, level: "queued")
            try cluster.killRedis()
            Files.removeTree(cluster.redisFolder + "/appendonlydir")
            try Files.move(copy, to: cluster.redisFolder + "/appendonlydir")
            try cluster.startRedis()
            try cluster.startConsumer("0-1")
        }

        /// The first request after FLUSHALL gets what the README says; the next ones are refused until `repair`.
        private func emptied(_ cluster: ManualCluster) throws(HarnessError) {
            try cluster.stopConsumer(1)
            try count(8, cluster, level: "queued")
            try ClusterTests.check(try cluster.redisCommand(["FLUSHALL"]) == "OK", "FLUSHALL failed")
            let first = ask(cluster, "key=k&value=1", wait: 1)
            try ClusterTests.check(first?.status == 202 && first?.level == "memory", "\(first?.text ?? "no answer")")
            // No key at all: whether this loop has noticed, and nothing counts if it has not.
            try eventually("the node is not ready", within: 20) {
                (0..<2).allSatisfy { _ in Loopback.ask(cluster.ports[0], .get("/readyz"))?.status == 503 }
            }
            let next = ask(cluster, "key=k&value=1", wait: 1)
            try ClusterTests.check(next?.status == 503, "\(next?.text ?? "no answer")")
            try cluster.run(["repair", "--yes"])
            try cluster.startConsumer("0-1")
        }

        /// The log and the metric know of so many rollbacks.
        private func told(_ count: Int, _ cluster: ManualCluster, _ admin: UInt16) throws(HarnessError) {
            let web = cluster.webs[0]
            let lines = web.errorOutput.split(separator: "\n").count { $0.contains(Self.line) }
            try ClusterTests.check(lines == count, "\(lines) lines: \(tail(web.errorOutput))")
            let name = "tallymill_redis_rollbacks_total"
            try eventually("the metric is \(count)", within: 10) { Loopback.metrics(admin)[name] == Double(count) }
        }

        private func count(_ requests: Int, _ cluster: ManualCluster, level: String) throws(HarnessError) {
            for number in 0..<requests {
                try ClusterTests.post(cluster.ports[0], #"{"k\#(number)":1}"#, level: level)
            }
        }

        private func ask(_ cluster: ManualCluster, _ form: String, wait: Int) -> HTTPAnswer? {
            var request = HTTPRequest("/increment?\(form)")
            request.headers = [("Prefer", "wait=\(wait)")]
            return Loopback.ask(cluster.ports[0], request)
        }
    }
}

/// A Prometheus with the rules of deploy/prometheus, which looks every second.
private final class Prometheus {
    private let process: RunningProcess
    private let port: UInt16

    /// nil if it is not installed.
    init?(_ folder: TestFolder, scraping target: UInt16) throws(HarnessError) {
        guard let program = try? TestEnvironment.program("prometheus") else { return nil }
        port = try Loopback.freePort()
        let rules = TestEnvironment.packageFolder + "/deploy/prometheus/tallymill-alerts.yml"
        let configuration = """
            global: {scrape_interval: 1s, evaluation_interval: 1s}
            rule_files: ["\(rules)"]
            scrape_configs:
              - job_name: tallymill-web
                static_configs: [{targets: ["127.0.0.1:\(target)"]}]

            """
        let path = folder.path + "/prometheus.yml"
        try Files.write(Array(configuration.utf8), to: path)
        process = try RunningProcess(
            program,
            [
                "--config.file", path, "--storage.tsdb.path", folder.path + "/prometheus",
                "--web.listen-address", "127.0.0.1:\(port)",
            ], log: folder.path + "/prometheus-log")
    }

    /// Whether it has a sample of that name.
    func has(_ metric: String) -> Bool {
        Loopback.ask(port, .get("/api/v1/query?query=\(metric)"))?.text.contains(#""value":["#) ?? false
    }

    func fires(_ alert: String) throws(HarnessError) -> Bool {
        guard let answer = Loopback.ask(port, .get("/api/v1/alerts")) else { return false }
        return try JSONTree(answer.body)["data"]?["alerts"]?.elements.contains {
            $0["labels"]?["alertname"]?.text == alert && $0["state"]?.text == "firing"
        } ?? false
    }

    func end() {
        do throws(HarnessError) { try process.kill9() } catch { note("cannot end Prometheus: \(error)") }
    }
}
