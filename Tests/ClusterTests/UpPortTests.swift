// `up` and ports: one that is taken is said once, and the sample for Prometheus finds every role where it looks.

import ClusterSupport
import Glibc
import ServiceKit
import Testing

extension ClusterTests {
    @Suite struct UpPortTests {
        /// Of the web node: another web node has it, and keeps it.
        @Test func aPortThatIsTakenIsSaidOnce() throws {
            try ClusterTests.withPieces("port", partitions: 1) { cluster in
                try cluster.startWeb()
                try cluster.waitUntilReady(0)
                let port = cluster.ports[0]
                let watch = Stopwatch()
                let result = try Command.tallymill(
                    [
                        "up", "--data-dir", cluster.folder.path + "/other", "--listen", "127.0.0.1:\(port)",
                        "--partitions", "1",
                    ], within: 60)
                #expect(result.code == 69)
                let lines = result.errorText.split(separator: "\n")
                #expect(lines.count { $0.contains("127.0.0.1:\(port)") } == 1, "\(result.errorText)")
                #expect(!result.errorText.contains("is started again"), "\(result.errorText)")
                #expect(lines.last == "tallymill: web ended with code 69; it has said why, above")
                note("a port that is taken: ended after \(watch.text) s, \(lines.count) lines")
            }
        }

        /// The targets of deploy/prometheus are what a web node with the default address and the consumers of a
        /// cluster with the default number of partitions choose.
        @Test func theSampleForPrometheus() throws {
            let sample = Files.text(TestEnvironment.packageFolder + "/deploy/prometheus/prometheus.yml")
            let partitions = try #require(Setting.partitions.defaultText.flatMap { Int($0) })
            let consumers = (0..<partitions).map { #""127.0.0.1:\#(9_400 + $0)""# }.joined(separator: ", ")
            #expect(sample.contains(#"targets: ["127.0.0.1:13333"]"#))
            #expect(sample.contains("targets: [\(consumers)]"))
        }

        /// Below `up` a consumer says where it listens: the same as by hand.
        @Test func consumersBelowUp() throws {
            try ClusterTests.inFolder("admin-ports") { folder in
                let log = folder.path + "/up"
                // Without the variable that the tests give to all children.
                let process = try RunningProcess(
                    "/usr/bin/env",
                    [
                        "-u", "TALLYMILL_ADMIN_PORT", TestEnvironment.binary(), "up", "--data-dir",
                        folder.path + "/data", "--listen", "127.0.0.1:0", "--partitions", "1",
                    ], log: log)
                defer {
                    do throws(HarnessError) {
                        try process.send(SIGINT)
                        _ = try process.waitForEnd(within: 30)  // what it is about has been seen
                    } catch {
                        note("\(error)")
                    }
                }
                // If somebody on this machine has the port, that is what it says.
                try eventually("the consumer has chosen its port", within: 30) {
                    process.errorOutput.contains("127.0.0.1:9400")
                }
            }
        }
    }
}
