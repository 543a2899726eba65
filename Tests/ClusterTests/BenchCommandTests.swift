// `tallymill bench` as its user runs it: against `up`, with the sums compared at the end.

import ClusterSupport
import Glibc
import ServiceKit
import Testing

extension ClusterTests {
    @Suite struct BenchCommandTests {
        private static func options(_ cluster: UpCluster, _ more: [String]) -> [String] {
            [
                "bench", "--url", "http://127.0.0.1:\(cluster.port)", "--data-dir", cluster.dataFolder, "--format",
                "json",
            ] + more
        }

        private static func count(_ result: JSONTree, _ fate: String) -> Int? {
            result["load"]?["requests"]?[fate]?.integer()
        }

        private static func bench(_ cluster: UpCluster, _ more: [String]) throws(HarnessError) -> JSONTree {
            let command = try Command.tallymill(options(cluster, more), within: 60)
            try ClusterTests.check(
                command.code == 0, "bench ended with \(command.code): \(command.outputText)\(command.errorText)")
            return try JSONTree(command.output)
        }

        /// All of a rate is acknowledged and counted, in every form; a repeat of a seed meets keys that exist.
        @Test func sumsAreExact() throws {
            try ClusterTests.withUp("bench") { cluster in
                let load = ["--duration", "2s", "--rate", "500", "--keys", "200", "--connections", "16"]
                for more in [[], ["--body", "json", "--batch", "20"], ["--body", "lines", "--level", "stored"]] {
                    let result = try Self.bench(cluster, load + ["--seed", "255"] + more)
                    try ClusterTests.check(Self.count(result, "acknowledged") == 1_000, "\(result)")
                    try ClusterTests.check(
                        Self.count(result, "unknown") == 0 && Self.count(result, "unsent") == 0, "\(result)")
                    try ClusterTests.check(result["sums"]?["exact"]?.isTrue == true, "\(result)")
                    try ClusterTests.check(result["sums"]?["differences"]?.integer() == 0, "\(result)")
                    try ClusterTests.check(result["load"]?["statuses"]?["200"]?.integer() == 1_000, "\(result)")
                    let samples: Int? = result["oldest_batch_ms"]?["samples"]?.integer()
                    try ClusterTests.check((samples ?? 0) > 0, "\(result)")
                    let latency = result["load"]?["latency_us"]
                    let (median, longest): (Int?, Int?) = (latency?["p50"]?.integer(), latency?["max"]?.integer())
                    try ClusterTests.check((median ?? 0) > 0 && (longest ?? 0) >= (median ?? 0), "\(result)")
                }
                let report = try cluster.report()
                try ClusterTests.check(
                    report.keys == 200 && report.counters.keys.allSatisfy { $0.hasPrefix("bench:ff:") }, "\(report)")
                try ClusterTests.interrupt(cluster)
            }
        }

        /// Parked connections beside a flood; their memory is told.
        @Test func parkedConnections() throws {
            try ClusterTests.withUp("parked") { cluster in
                let web = try #require(cluster.children(.web).first)
                let result = try Self.bench(
                    cluster,
                    [
                        "--connections-only", "300", "--pid", "\(web.pid)", "--flood", "--duration", "500ms", "--keys",
                        "50",
                    ])
                try ClusterTests.check(result["parked"]?["answered"]?.integer() == 300, "\(result)")
                try ClusterTests.check(result["parked"]?["open_at_end"]?.integer() == 300, "\(result)")
                let each: Int? = result["parked"]?["resident_per_connection"]?.integer()
                try ClusterTests.check(each != nil, "\(result)")
                try ClusterTests.check(result["sums"]?["exact"]?.isTrue == true, "\(result)")
                try ClusterTests.interrupt(cluster)
            }
        }

        /// The web node is killed under the load: what was lost with it is unknown, and the sums still hold.
        @Test func aKilledNode() throws {
            try ClusterTests.withUp("killed") { cluster in
                let process = try RunningProcess(
                    TestEnvironment.binary(),
                    Self.options(cluster, ["--duration", "3s", "--rate", "2000", "--keys", "100"]),
                    log: cluster.folder.path + "/bench")
                try eventually("the load counts", within: 20) { () throws(HarnessError) in
                    try cluster.report(["--summary"]).keys == 100
                }
                cluster.signal(SIGKILL, cluster.children(.web))
                let ending = try process.waitForEnd(within: 60)
                try ClusterTests.check(ending == .code(0), "bench \(ending): \(process.output)\(process.errorOutput)")
                let result = try JSONTree(Array(process.output.utf8))
                let lost: Int? = result["load"]?["connections_lost"]?.integer()
                try ClusterTests.check((lost ?? 0) > 0, "nobody noticed: \(result)")
                let fates = ["acknowledged", "refused", "unknown"].compactMap { Self.count(result, $0) }
                try ClusterTests.check(fates.count == 3 && fates.reduce(0, +) == 6_000, "\(result)")
                try ClusterTests.check(result["sums"]?["exact"]?.isTrue == true, "\(result)")
                try ClusterTests.interrupt(cluster)
            }
        }

        @Test func refusals() throws {
            try ClusterTests.inFolder("bench-refusals") { folder in
                let refused: [(Int32, String, [String])] = [
                    (64, "--rate", ["--rate", "-1"]), (64, "--flood", ["--flood", "--rate", "5"]),
                    (64, "--duration", ["--duration", "30"]), (64, "--body", ["--body", "xml"]),
                    (64, "--batch", ["--batch", "5"]), (64, "--url", ["--url", "https://127.0.0.1"]),
                    (64, "--level", ["--level", "eternal"]), (64, "--keys", ["--keys", "0"]),
                    (64, "--pid", ["--pid", "1"]), (78, "--no-check", []),
                    (69, "--url", ["--no-check", "--url", "http://127.0.0.1:1"]),
                ]
                for (code, word, options) in refused {
                    let command = try Command.tallymill(["bench", "--data-dir", folder.path + "/none"] + options)
                    try ClusterTests.check(command.code == code, "\(options): \(command.code) \(command.errorText)")
                    try ClusterTests.check(command.errorText.contains(word), "\(options): \(command.errorText)")
                }
            }
        }
    }
}
