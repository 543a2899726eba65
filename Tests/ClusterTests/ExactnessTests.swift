// Sequences of ordinary commands, clocks and pauses that once made a total wrong, step by step as an operator has them.

import ClusterSupport
import Glibc
import ServiceKit
import TallyCore
import Testing

extension ClusterTests {
    @Suite struct ExactnessTests {
        /// A node and, unless it is left out, a consumer.
        private func start(_ cluster: ManualCluster, consumes: Bool = true) throws(HarnessError) {
            let web = try cluster.startWeb(options: ["--event-loops", "1"])
            if consumes { try cluster.startConsumer("0-\(cluster.partitions - 1)") }
            try cluster.waitUntilReady(web)
        }

        private func post(
            _ cluster: ManualCluster, _ json: String, level: String = "stored", key: String? = nil, node: Int = 0
        ) throws(HarnessError) {
            try ClusterTests.post(cluster.ports[node], json, level: level, idempotencyKey: key)
        }

        @discardableResult
        private func run(
            _ cluster: ManualCluster, _ arguments: [String], code: Int32 = 0, says words: String = ""
        ) throws(HarnessError) -> Command {
            let result = try Command.tallymill(arguments + cluster.place, within: 60)
            try ClusterTests.check(
                result.code == code && (result.outputText + result.errorText).contains(words),
                "\(arguments): \(result.code) instead of \(code), `\(words)`: \(result.outputText)\(result.errorText)"
            )
            return result
        }

        /// Exactly these counters, with nothing left in the lists and nothing found.
        private func expect(
            _ cluster: ManualCluster, _ counters: [String: Int64], epoch: UInt32 = 1
        ) throws(HarnessError) {
            try eventually("the lists are empty", within: 20) { () throws(HarnessError) in
                try cluster.waiting(epoch: epoch) == 0
            }
            let last = try cluster.report().counters
            try ClusterTests.check(last == counters, "\(last) instead of \(counters)")
            try run(cluster, ["verify"], says: "no findings")
            try run(cluster, ["audit"], says: "residual 0")
        }

        private func write(_ cluster: ManualCluster, lines: Range<Int>) throws(HarnessError) -> String {
            let path = "\(cluster.folder.path)/lines.txt"
            try Files.write(Array(lines.map { "line\($0)\t10\n" }.joined().utf8), to: path)
            return path
        }

        private func sums(_ lines: Range<Int>) -> [String: Int64] {
            Dictionary(uniqueKeysWithValues: lines.map { ("line\($0)", 10) })
        }

        // MARK: Imports

        /// Through the queues of an empty cluster that nobody consumes, then directly, then again.
        @Test func importBothWays() throws {
            try ClusterTests.withPieces("import-both", partitions: 2) { cluster in
                let lines = try write(cluster, lines: 0..<100)
                let command = ["import", "--format", "text", lines]
                try run(cluster, command + ["--queued"], code: 69, says: "run this again")
                try ClusterTests.check(try cluster.waiting() > 0, "nothing lies in the lists")
                // Not directly: what lies in the lists is this import.
                try run(cluster, command, code: 69, says: "run this again")
                let consumer = try cluster.startConsumer("0-1")
                try run(cluster, command, says: "imported already")
                try run(cluster, command + ["--queued"], says: "imported already")
                try expect(cluster, sums(0..<100))
                // What one run has brought is told apart from what the next one adds.
                let other = try run(cluster, ["import", "--format", "text", "--again", "other", lines])
                try ClusterTests.check(
                    other.outputText.contains("imported 100 lines: 100 sums counted\n"), other.outputText)
                try expect(cluster, sums(0..<100).mapValues { 2 * $0 })
                try cluster.consumers[consumer].send(SIGTERM)
                _ = try cluster.consumers[consumer].waitForEnd(within: 20)
                try run(cluster, ["rebalance", "run", "--to", "3", "--yes"])
                try cluster.startConsumer("0-2")
                try run(cluster, command, says: "imported already")
                try run(cluster, command + ["--queued"], says: "imported already")
                try expect(cluster, sums(0..<100).mapValues { 2 * $0 }, epoch: 2)
            }
        }

        /// The queues are looked at before the drain and after it: here the lines come in between.
        @Test func importThatArrivesDuringADirectOne() throws {
            try ClusterTests.withPieces("import-between", partitions: 2) { cluster in
                let lines = try write(cluster, lines: 0..<40)
                let command = ["import", "--format", "text", lines]
                let tool = try RunningProcess(
                    TestEnvironment.binary(), command + ["--pause-before", "2"] + cluster.place,
                    log: "\(cluster.folder.path)/direct")
                try eventually("the import stops itself", within: 30) { () throws(HarnessError) in
                    try ClusterTests.check(try tool.poll() == nil, tail(tool.errorOutput))
                    return ProcessTable.entry(tool.pid)?.state == "T"
                }
                let id = try importing(cluster)
                // As if they had lain in the lists.
                try plant(cluster, id, ["line1", "line2", "line3"])
                try tool.send(SIGCONT)
                let ending = try tool.waitForEnd(within: 60)
                try ClusterTests.check(ending == .code(69), "\(ending) \(tool.output) \(tool.errorOutput)")
                try ClusterTests.check(tool.output.contains("made without them"), tool.output)
                try cluster.startConsumer("0-1")
                try run(cluster, command, says: "imported already")
                try run(cluster, command + ["--queued"], says: "imported already")
                try expect(cluster, sums(0..<40), epoch: 2)
            }
        }

        /// The name of the import that the cluster file says is under way.
        private func importing(_ cluster: ManualCluster) throws(HarnessError) -> String {
            let text = Files.text(cluster.dataFolder + "/topology.json")
            guard let start = text.firstRange(of: #""importing":""#)?.upperBound else {
                throw HarnessError("no import is under way: \(text)")
            }
            return String(text[start...].prefix(32))
        }

        /// Claims of an import, as sums that were counted by an earlier run have them.
        private func plant(_ cluster: ManualCluster, _ id: String, _ keys: [String]) throws(HarnessError) {
            for number in 0..<2 {
                let path = "\(cluster.dataFolder)/epoch-0001/shard-000\(number)-of-0002.sqlite"
                for key in keys where partition(of: key, cluster) == number {
                    let sql = """
                        BEGIN; INSERT INTO counters VALUES('\(key)', 10, 1);
                        INSERT INTO idempotency VALUES('import:\(id)', '\(key)', \(Int64.max));
                        UPDATE meta SET value = value + 1 WHERE name = 'keys';
                        UPDATE meta SET value = value + 10 WHERE name = 'sum';
                        UPDATE meta SET value = value + 1 WHERE name = 'imported_increments';
                        UPDATE meta SET value = value + 10 WHERE name = 'imported_sum'; COMMIT
                        """
                    let result = try Command.run(try TestEnvironment.program("sqlite3"), [path, sql])
                    try ClusterTests.check(result.code == 0, result.errorText)
                }
            }
        }

        private func partition(of key: String, _ cluster: ManualCluster) -> Int {
            Partitioner(partitions: cluster.partitions).partition(ofHash: XXH64.hash(Array(key.utf8)))
        }

        // MARK: Claims

        /// The repeat is sent within the retention, and counted after it.
        @Test func aRepeatThatWaitsLongerThanTheRetention() throws {
            try ClusterTests.withPieces("late-repeat", partitions: 1) { cluster in
                let options = ["--idempotency-retention", "2s"]
                let web = try cluster.startWeb(options: ["--event-loops", "1"])
                let first = try cluster.startConsumer("0", options: options)
                try cluster.waitUntilReady(web)
                try post(cluster, #"{"orders":1}"#, key: "order-1")
                try cluster.consumers[first].kill9()
                try post(cluster, #"{"orders":1}"#, level: "queued", key: "order-1")
                let sent = Stopwatch()
                try eventually("twice the retention passes", within: 10) { sent.seconds > 4 }
                try cluster.startConsumer("0", options: options)
                try post(cluster, #"{"other":1}"#)
                try expect(cluster, ["orders": 1, "other": 1])
            }
        }

        /// The first request is held by a node that is paused, while the repeat goes through another one.
        @Test func aNodeThatIsPausedBringsTheFirstOneLate() throws {
            try ClusterTests.withPieces("paused-node", partitions: 1) { cluster in
                let slow = try cluster.startWeb(options: ["--event-loops", "1", "--queue-bytes", "1MiB"])
                let quick = try cluster.startWeb(options: ["--event-loops", "1"])
                for web in [slow, quick] { try cluster.waitUntilReady(web) }
                var filler: [String: Int64] = [:]
                // The list is full for the one, not for the other.
                for round in 0..<40 {
                    let keys = (0..<500).map { "filler \(round) \($0) \(String(repeating: "x", count: 80))" }
                    for key in keys { filler[key] = 1 }
                    let json = "{" + keys.map { "\"\($0)\":1" }.joined(separator: ",") + "}"
                    try post(cluster, json, level: "queued", node: quick)
                }
                var request = HTTPRequest("/increments?level=queued")
                request.headers = [
                    ("Content-Type", "application/json"), ("Idempotency-Key", "order-1"), ("Prefer", "wait=1"),
                ]
                request.body = Array(#"{"orders":1}"#.utf8)
                let held = Loopback.ask(cluster.ports[slow], request)
                try ClusterTests.check(held?.status == 202, held.map { "\($0.status) \($0.text)" } ?? "no answer")
                try cluster.webs[slow].send(SIGSTOP)
                try post(cluster, #"{"orders":1}"#, level: "queued", key: "order-1", node: quick)
                try cluster.startConsumer("0", options: ["--idempotency-retention", "2s"])
                try eventually("the list is empty", within: 30) { () throws(HarnessError) in try cluster.waiting() == 0
                }
                try ClusterTests.check(try cluster.report().counters["orders"] == 1, "the repeat did not count")
                let paused = Stopwatch()
                try eventually("twice the retention passes", within: 10) { paused.seconds > 4 }
                try cluster.webs[slow].send(SIGCONT)
                try cluster.waitUntilReady(slow)
                // Behind it in its partition: when this is stored, so is the other.
                var behind = HTTPRequest("/increments?level=stored")
                behind.headers = [("Content-Type", "application/json")]
                behind.body = Array(#"{"behind":1}"#.utf8)
                try eventually("the node has found room in the list", within: 20) {
                    Loopback.ask(cluster.ports[slow], behind)?.status == 200
                }
                try expect(cluster, filler.merging(["orders": 1, "behind": 1]) { $1 })
            }
        }

        /// A consumer whose clock is 30 days ahead for a while.
        @Test func aClockThatIsAheadForAWhile() throws {
            guard let ahead = TestEnvironment.faketime("+30d") else {
                return note("skipped: libfaketime is not installed (Debian package faketime)")
            }
            try ClusterTests.withPieces("clock", partitions: 1) { cluster in
                try start(cluster)
                try post(cluster, #"{"orders":1}"#, key: "order-1")
                try stop(cluster)
                try cluster.startConsumer("0", environment: ahead)
                try post(cluster, #"{"meanwhile":1}"#)
                // Whatever a consumer forgets, it forgets once a second.
                let watch = Stopwatch()
                try eventually("the consumer has looked at its claims", within: 10) { watch.seconds > 2.5 }
                try post(cluster, #"{"meanwhile":1}"#)
                let shown = try Command.run(
                    try TestEnvironment.program("sqlite3"),
                    ["\(cluster.dataFolder)/epoch-0001/shard-0000-of-0001.sqlite", Self.daysAhead])
                try ClusterTests.check(
                    ["29\n", "30\n"].contains(shown.outputText), "its clock is not ahead: \(shown.outputText)")
                try stop(cluster)
                try cluster.startConsumer("0")
                try post(cluster, #"{"orders":1}"#, key: "order-1")
                try expect(cluster, ["orders": 1, "meanwhile": 2])
            }
        }

        /// How far ahead of this machine the last commit was, rounded down.
        private static let daysAhead = """
            SELECT (value - 1000 * strftime('%s', 'now')) / 86400000 FROM meta WHERE name = 'last_commit_ms'
            """

        private func stop(_ cluster: ManualCluster) throws(HarnessError) {
            guard let consumer = cluster.consumers.last else { return }
            try consumer.send(SIGTERM)
            _ = try consumer.waitForEnd(within: 20)  // however it ended, it is gone
        }

        // MARK: Tools' claims

        /// A replay that gave up, was counted afterwards, and is repeated when a client's claim would have expired.
        @Test func aReplayThatGaveUp() throws {
            try ClusterTests.withPieces("replay", partitions: 1) { cluster in
                let options = ["--idempotency-retention", "1s"]
                let web = try cluster.startWeb(options: ["--event-loops", "1"])
                try cluster.startConsumer("0", options: options)
                try cluster.waitUntilReady(web)
                for delta in ["9223372036854775807", "10", "-1000"] { try post(cluster, #"{"a":\#(delta)}"#) }
                try stop(cluster)
                try run(cluster, ["dead-letters", "replay", "--all"], code: 69, says: "run this again")
                try cluster.startConsumer("0", options: options)
                try eventually("the replay is counted", within: 20) { () throws(HarnessError) in
                    try cluster.report().counters["a"] == .max - 990
                }
                // As after a very long time: every claim that can expire has.
                try stop(cluster)
                let path = "\(cluster.dataFolder)/epoch-0001/shard-0000-of-0001.sqlite"
                let sql = "DELETE FROM idempotency WHERE seen_ms < \(Int64.max)"
                let forgotten = try Command.run(try TestEnvironment.program("sqlite3"), [path, sql])
                try ClusterTests.check(forgotten.code == 0, forgotten.errorText)
                try cluster.startConsumer("0", options: options)
                try run(cluster, ["dead-letters", "replay", "--all"], says: "1 counted, 0 still dead")
                try run(cluster, ["dead-letters", "list"], says: "no dead letters")
                try expect(cluster, ["a": .max - 990])
            }
        }

        /// A client cannot take an import's claim.
        @Test func anImportsClaimAsIdempotencyKey() throws {
            try ClusterTests.withPieces("names", partitions: 2) { cluster in
                try start(cluster)
                let lines = try write(cluster, lines: 0..<100)
                let id = try digest(cluster, lines)
                for name in ["import:\(id)", "import:\(id):2", "dead-letter:\(id):1.0.1:\(id)"] {
                    var request = HTTPRequest("/increments?level=stored")
                    request.headers = [("Content-Type", "application/json"), ("Idempotency-Key", name)]
                    request.body = Array(#"{"line1":0}"#.utf8)
                    let answer = Loopback.ask(cluster.ports[0], request)
                    try ClusterTests.check(
                        answer?.status == 422, "\(name): \(answer.map { "\($0.status) \($0.text)" } ?? "no answer")")
                }
                try run(
                    cluster, ["import", "--queued", "--format", "text", lines],
                    says: "imported 100 lines: 100 sums counted")
                try expect(cluster, sums(0..<100))
            }
        }

        /// What these lines are known by: another cluster, into which they are loaded directly, names them.
        private func digest(_ cluster: ManualCluster, _ lines: String) throws(HarnessError) -> String {
            let folder = try TestFolder("digest")
            defer { folder.remove() }
            let other = try ManualCluster(folder, partitions: 1)
            defer { other.destroy() }
            try run(other, ["import", "--format", "text", lines], says: "imported 100 lines")
            let text = Files.text(other.dataFolder + "/topology.json")
            guard let start = text.firstRange(of: #""imports":[""#)?.upperBound else {
                throw HarnessError("no import is named: \(text)")
            }
            return String(text[start...].prefix(32))
        }
    }
}
