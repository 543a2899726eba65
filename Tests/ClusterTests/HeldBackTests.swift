// What holds a consumer up without stopping it: a reader that keeps an old state of its shard, and a Redis over its
// maxmemory.

import ClusterSupport
import Glibc
import ServiceKit
import ShardStore
import Testing

extension ClusterTests {
    @Suite struct HeldBackTests {
        /// An export whose output nobody reads is the same: its snapshot lasts as long as it does. Here this process is
        /// the reader.
        @Test func aReaderDoesNotStopTheCounting() throws {
            try ClusterTests.withPieces("reader", partitions: 1) { cluster in
                try cluster.waitUntilReady(try cluster.startWeb())
                try cluster.startConsumer("0")
                try ClusterTests.post(cluster.ports[0], #"{"a":1}"#)
                let path = cluster.dataFolder + "/epoch-0001/shard-0000-of-0001.sqlite"
                var reader: ShardReader? = try ShardReader(at: path)
                #expect(try reader?.statistics().keys == 1)
                // What the reader does not see lies in the log alone.
                try ClusterTests.post(cluster.ports[0], #"{"b":2}"#)
                try cluster.consumers[0].send(SIGTERM)
                #expect(try cluster.consumers[0].waitForEnd(within: 20) == .code(0))
                let admin = try Loopback.freePort()
                let next = try cluster.startConsumer("0", options: ["--admin-port", "\(admin)"])
                try ClusterTests.post(cluster.ports[0], #"{"c":3}"#)
                try checkIsTold(cluster, admin, cluster.consumers[next])
                #expect(try reader?.statistics().keys == 1)
                reader = nil
                try eventually("the log is in the file", within: 10) {
                    cluster.consumers[next].errorOutput.contains("the log of the shard is in its file again")
                        && Loopback.metrics(admin)[Self.held] == 0
                }
                try eventually("the log has shrunk", within: 10) { ShardReaders.logBytes(of: path) == 0 }
                #expect(try cluster.report(["--summary"]).total == 6)
            }
        }

        /// The other end of the pipe is open, and nobody reads.
        @Test func anOutputThatNobodyTakesIsGivenUp() throws {
            try ClusterTests.withPieces("patience", partitions: 1) { cluster in
                try cluster.waitUntilReady(try cluster.startWeb())
                try cluster.startConsumer("0")
                let long = String(repeating: "k", count: 200)
                let counters = (0..<2_000).map { "\"\(long)\($0)\":1" }.joined(separator: ",")
                try ClusterTests.post(cluster.ports[0], "{\(counters)}")
                let pipe = cluster.folder.path + "/pipe"
                #expect(mkfifo(pipe, 0o600) == 0)
                let end = open(pipe, O_RDWR)
                defer { close(end) }
                let place = cluster.place + ["--patience", "1"]
                let binary = try TestEnvironment.binary()
                let commands = [
                    try Command.tallymill(["export", "-o", pipe] + place, within: 30),
                    try Command.run(
                        "/bin/sh", ["-c", "exec \"$@\" > '\(pipe)'", "sh", binary, "report"] + place, within: 30),
                ]
                for command in commands {
                    try ClusterTests.check(
                        command.code == 74
                            && command.errorText.contains("nobody took anything of it for 1 s, so it was given up")
                            && command.errorText.contains("--patience SECONDS"),
                        "\(command.code) \(command.errorText)")
                }
                #expect(try cluster.report(["--summary"]).total == 2_000)
            }
        }

        private static let held = #"tallymill_shard_log_held_seconds{partition="0"}"#

        private func checkIsTold(_ cluster: ManualCluster, _ admin: UInt16, _ consumer: RunningProcess) throws {
            try eventually("the metric tells", within: 10) { Loopback.metrics(admin)[Self.held] ?? 0 > 0 }
            let lines = consumer.errorOutput.split(separator: "\n").count { $0.contains("reads an old state") }
            try ClusterTests.check(lines == 1, "\(lines) lines: \(tail(consumer.errorOutput))")
            let doctor = try Command.tallymill(["doctor"] + cluster.place)
            try ClusterTests.check(
                doctor.code == 3 && doctor.outputText.contains("process \(getpid()) holds an old state of"),
                doctor.outputText + doctor.errorText)
        }

        /// The wait for a batch is a write for Redis, which refuses it then.
        @Test func anIdleConsumerOfARedisThatIsFull() throws {
            try ClusterTests.withPieces("oom") { cluster in
                try cluster.startConsumer("0-3")
                let consumer = cluster.consumers[0]
                func lines(_ text: String) -> Int {
                    consumer.errorOutput.split(separator: "\n").count { $0.contains(text) }
                }
                try eventually("it consumes", within: 20) { lines("consuming") == 4 }
                #expect(try cluster.redisCommand(["CONFIG", "SET", "maxmemory", "1mb"]) == "OK")
                // Of 4 consumers, so many times that all of them have tried again and again.
                try eventually("the wait is refused", within: 30) { () throws(HarnessError) in
                    try refusals(cluster) >= 24
                }
                try ClusterTests.check(lines("waiting") == 4, tail(consumer.errorOutput, lines: 30))
                let watch = Stopwatch()
                let before = try refusals(cluster)
                try eventually("it is refused again", within: 30) { () throws(HarnessError) in
                    try refusals(cluster) >= before + 8
                }
                // 20 ms, the first step of the back-off, would be 80 in that time.
                try ClusterTests.check(watch.seconds > 0.4, "refused 8 times in \(watch.text) s")
                #expect(try cluster.redisCommand(["CONFIG", "SET", "maxmemory", "0"]) == "OK")
                try eventually("it goes on", within: 20) { lines("going on") == 4 }
                #expect(lines("waiting") == 4)
            }
        }

        private func refusals(_ cluster: ManualCluster) throws(HarnessError) -> Int {
            let stats = try cluster.redisCommand(["INFO", "commandstats"])
            let line = stats.split(whereSeparator: \.isNewline).first { $0.hasPrefix("cmdstat_blmove:") } ?? ""
            let field = line.split(separator: ",").first { $0.hasPrefix("rejected_calls=") }
            return field.flatMap { Int($0.dropFirst("rejected_calls=".count)) } ?? 0
        }
    }
}
