// `import` as an operator runs it: into an empty cluster, into one that counts, with bad lines, twice, and killed on
// the way.

import ClusterSupport
import Glibc
import ServiceKit
import Testing

extension ClusterTests {
    @Suite struct ImportTests {
        @Test func directlyAndThroughTheQueues() throws {
            try ClusterTests.withUp("import") { cluster in
                let lines = Lines(count: 30_000, keys: 9_000, seed: TestEnvironment.seed)
                let file = try lines.write(to: cluster.folder.path + "/lines.txt")
                try Self.run(cluster, [file], says: "imported 30,000 lines")
                var sums = lines.sums
                try Self.expect(cluster, sums, epoch: 2)
                // The same lines, in another order and another format, are the same import.
                let csv = try lines.writeCSV(to: cluster.folder.path + "/lines.csv")
                let known = "imported already: of 30,000 lines 0 are new and 30,000 known; nothing is counted twice"
                try Self.run(cluster, [csv], format: "csv", says: known)
                try Self.expect(cluster, sums, epoch: 2)
                // Beside other counts: through the queues.
                let more = Lines(count: 5_000, keys: 12_000, seed: TestEnvironment.seed &+ 1)
                let second = try more.write(to: cluster.folder.path + "/more.txt")
                let distinct = Humanized.count(more.sums.count)
                try Self.run(cluster, [second], says: "imported 5,000 lines: \(distinct) sums counted\n")
                let again = "imported already: of 5,000 lines 0 are new and 5,000 known; nothing is counted twice"
                for way in [[], ["--queued"]] { try Self.run(cluster, [second] + way, says: again) }
                sums.merge(more.sums, uniquingKeysWith: +)
                try Self.expect(cluster, sums, epoch: 2)
                try Self.run(cluster, [second, "--again", "second time"], says: "imported 5,000 lines")
                try Self.run(cluster, [second, "--again", "second time"], says: "under the name second time")
                sums.merge(more.sums, uniquingKeysWith: +)
                try Self.expect(cluster, sums, epoch: 2)
                try ClusterTests.interrupt(cluster)
            }
        }

        @Test func badLines() throws {
            try ClusterTests.withUp("import-bad") { cluster in
                let file = cluster.folder.path + "/lines.txt"
                try Files.write(Array("a\t1\nno number\tx\nb\t2\nc\t99999999999999999999\n".utf8), to: file)
                let stopped = try Self.command(cluster, [file])
                try ClusterTests.check(stopped.code == 65, "exit \(stopped.code)")
                try ClusterTests.check(stopped.errorText.contains("lines.txt:2"), stopped.errorText)
                try Self.expect(cluster, [:], epoch: 1)
                let rejects = cluster.folder.path + "/rejects.txt"
                let skipped = try Self.command(cluster, [file, "--on-error", "skip", "--rejects", rejects])
                try ClusterTests.check(skipped.code == 3, "exit \(skipped.code): \(skipped.errorText)")
                try ClusterTests.check(skipped.errorText.contains("lines.txt:4"), skipped.errorText)
                let kept = Files.text(rejects)
                try ClusterTests.check(kept == "no number\tx\nc\t99999999999999999999\n", kept)
                try Self.expect(cluster, ["a": 1, "b": 2], epoch: 2)
                try ClusterTests.interrupt(cluster)
            }
        }

        /// The lines of an export count at the other door, too, whatever their keys are.
        @Test func whatIsExportedCanBePosted() throws {
            try ClusterTests.withUp("import-posted") { cluster in
                let sums: [String: Int64] = [
                    "a": 1, "two words": -2, " x": 3, "1234567": 200, "      7 /home": 4, "é": 5,
                ]
                var request = HTTPRequest("/increments?level=stored")
                request.headers = [("Content-Type", "application/json")]
                request.body = Array("{\(sums.map { "\"\($0.key)\":\($0.value)" }.joined(separator: ","))}".utf8)
                let counted = Loopback.ask(cluster.port, request)
                try ClusterTests.check(counted?.status == 200, counted?.text ?? "no answer")
                let export = try Command.tallymill(["export", "--format", "text", "--data-dir", cluster.dataFolder])
                request.headers = [("Content-Type", "text/plain")]
                request.body = Array(export.outputText.utf8)
                let posted = Loopback.ask(cluster.port, request)
                try ClusterTests.check(posted?.status == 200, posted?.text ?? "no answer")
                try Self.expect(cluster, sums.mapValues { 2 * $0 }, epoch: 1)
                // What is refused at one door is refused at the other, with the same words.
                let lines = "a 1\n1234567 200\n"
                request.body = Array(lines.utf8)
                let refused = Loopback.ask(cluster.port, request)
                let reason =
                    "it begins with a number, as `uniq -c` writes it: put the key first, then a TAB and the number"
                try ClusterTests.check(
                    refused?.status == 400 && refused?.text.contains("line 2: \(reason)") == true,
                    refused?.text ?? "no answer")
                let file = cluster.folder.path + "/counts.txt"
                try Files.write(Array(lines.utf8), to: file)
                let imported = try Self.command(cluster, [file])
                try ClusterTests.check(
                    imported.code == 65 && imported.errorText.contains("counts.txt:2: \(reason)"), imported.errorText)
                try Self.expect(cluster, sums.mapValues { 2 * $0 }, epoch: 1)
                try ClusterTests.interrupt(cluster)
            }
        }

        /// Two imports that skip lines within one second.
        @Test func skippedLinesOfOneSecondAreKeptApart() throws {
            try ClusterTests.withUp("import-rejects") { cluster in
                for name in ["one", "two", "three"] {
                    let file = "\(cluster.folder.path)/\(name).txt"
                    try Files.write(Array("\(name)\t1\nbad\n\n".utf8), to: file)
                    let skipped = try Self.command(cluster, [file, "--queued", "--on-error", "skip"])
                    try ClusterTests.check(skipped.code == 3, "exit \(skipped.code): \(skipped.errorText)")
                    let told = skipped.outputText + skipped.errorText
                    try ClusterTests.check(
                        told.contains("read 3 lines: 1 to count, 1 empty or a header, 1 skipped, which are in "), told)
                }
                try Self.expect(cluster, ["one": 1, "two": 1, "three": 1], epoch: 1)
                try ClusterTests.interrupt(cluster)
            }
        }

        /// Killed before a step of the change of epoch: the same lines again finish it, and count once.
        @Test(arguments: [1, 2, 6, 15, 16, 17])
        func killedOnTheWay(step: Int) throws {
            try ClusterTests.withUp("import-killed-\(step)") { cluster in
                let lines = Lines(count: 4_000, keys: 3_000, seed: TestEnvironment.seed)
                let file = try lines.write(to: cluster.folder.path + "/lines.txt")
                try Self.kill(cluster, file, before: step)
                // Requests go on meanwhile, and what they count comes in, too. Before the first step nothing has
                // happened: it is stored, and then the cluster is not empty any more.
                let answer = Loopback.ask(cluster.port, Self.increment(step == 1 ? "stored" : "queued"))
                try ClusterTests.check(answer?.status == 200, answer.map { "\($0.status) \($0.text)" } ?? "no answer")
                if (2...15).contains(step) {
                    let resumed = try Command.tallymill(["rebalance", "resume", "--data-dir", cluster.dataFolder])
                    try ClusterTests.check(
                        resumed.code == 78 && resumed.errorText.contains("an import was interrupted"),
                        "\(resumed.code) \(resumed.errorText)")
                }
                try Self.run(cluster, [file], says: "imported 4,000 lines")
                let sums = lines.sums.merging(["beside": 1], uniquingKeysWith: +)
                try Self.expect(cluster, sums, epoch: step == 1 ? 1 : 2)
                try Self.run(cluster, [file], says: "imported already")
                try Self.run(cluster, [file, "--queued"], says: "imported already")
                try Self.expect(cluster, sums, epoch: step == 1 ? 1 : 2)
                try ClusterTests.interrupt(cluster)
            }
        }

        /// Killed again and again at any point, and repeated the one way and the other.
        @Test func killedAtAnyPointAndRepeatedEitherWay() throws {
            try ClusterTests.withUp("import-kills") { cluster in
                let lines = Lines(count: 20_000, keys: 15_000, seed: TestEnvironment.seed)
                let file = try lines.write(to: cluster.folder.path + "/lines.txt")
                var random = SeededRandom(seed: TestEnvironment.seed)
                for round in 0..<6 {
                    let way = round % 2 == 0 ? ["--queued"] : []
                    let tool = try RunningProcess(
                        TestEnvironment.binary(),
                        ["import", "--format", "text", "--data-dir", cluster.dataFolder, file] + way,
                        log: "\(cluster.folder.path)/import-kill-\(round)")
                    usleep(UInt32.random(in: 50_000...900_000, using: &random))
                    try tool.kill9()
                }
                try Self.run(cluster, [file], says: "imported")
                for way in [["--queued"], []] { try Self.run(cluster, [file] + way, says: "imported already") }
                let found = try cluster.report().counters
                try ClusterTests.check(
                    found == lines.sums, "TALLYMILL_SEED=\(TestEnvironment.seed): \(found.count) keys, not the sums")
                try ClusterTests.interrupt(cluster)
            }
        }

        /// Either way: told, with the command that shows them, and another exit code.
        @Test func sumsThatDoNotFit() throws {
            try ClusterTests.withUp("import-dead", partitions: 2) { cluster in
                let file = cluster.folder.path + "/lines.txt"
                try Files.write(Array("a\t1\nbig\t9223372036854775807\nbig\t5\n".utf8), to: file)
                let list = "(`tallymill dead-letters list --data-dir \(cluster.dataFolder)`)"
                let direct = try Self.command(cluster, [file])
                let told = "imported 3 lines: 1 sum does not fit and is a dead letter \(list)\n"
                try ClusterTests.check(direct.code == 3 && direct.outputText.hasSuffix(told), direct.outputText)
                let queued = try Self.command(cluster, [file, "--again", "b"])
                let more = "imported 3 lines: 1 sum counted, 2 sums do not fit and are dead letters \(list)\n"
                try ClusterTests.check(queued.code == 3 && queued.outputText.hasSuffix(more), queued.outputText)
                let letters = try Command.tallymill(["dead-letters", "list", "--data-dir", cluster.dataFolder])
                let count = letters.outputText.split(separator: "\n").count { $0.contains(" \"big\" ") }
                try ClusterTests.check(count == 3, letters.outputText)
                try ClusterTests.interrupt(cluster)
            }
        }

        /// Given up: the epoch is made without it.
        @Test func givenUp() throws {
            try ClusterTests.withUp("import-given-up") { cluster in
                let file = try Lines(count: 100, keys: 50, seed: 1).write(to: cluster.folder.path + "/lines.txt")
                try Self.kill(cluster, file, before: 15)
                let resumed = try Command.tallymill(
                    ["rebalance", "resume", "--without-import", "--data-dir", cluster.dataFolder])
                try ClusterTests.check(resumed.code == 0, "\(resumed.code) \(resumed.errorText)")
                try Self.expect(cluster, [:], epoch: 2)
                try Self.run(cluster, [file], says: "imported 100 lines")
                try ClusterTests.interrupt(cluster)
            }
        }
    }
}

extension ClusterTests.ImportTests {
    /// Lines of small sums, some keys many times.
    struct Lines {
        private(set) var lines: [(key: String, value: Int64)] = []

        init(count: Int, keys: Int, seed: UInt64) {
            var random = SeededRandom(seed: seed)
            for _ in 0..<count {
                let key = Int.random(in: 0..<keys, using: &random)
                lines.append(("key \(key)", Int64.random(in: -50...1_000, using: &random)))
            }
        }

        var sums: [String: Int64] {
            lines.reduce(into: [:]) { sums, line in sums[line.key, default: 0] += line.value }
        }

        func write(to path: String) throws(HarnessError) -> String {
            try Files.write(Array(lines.map { "\($0.key)\t\($0.value)\n" }.joined().utf8), to: path)
            return path
        }

        func writeCSV(to path: String) throws(HarnessError) -> String {
            let text = "key,value\r\n" + lines.reversed().map { "\"\($0.key)\",\($0.value)\r\n" }.joined()
            try Files.write(Array(text.utf8), to: path)
            return path
        }
    }

    static func increment(_ level: String) -> HTTPRequest {
        var request = HTTPRequest("/increment?level=\(level)")
        request.body = Array("key=beside&value=1".utf8)
        request.headers = [("Content-Type", "application/x-www-form-urlencoded")]
        return request
    }

    static func command(
        _ cluster: UpCluster, _ arguments: [String], format: String = "text"
    ) throws(HarnessError) -> Command {
        try Command.tallymill(
            ["import", "--format", format, "--data-dir", cluster.dataFolder] + arguments, within: 60)
    }

    static func run(
        _ cluster: UpCluster, _ arguments: [String], format: String = "text", says words: String
    ) throws(HarnessError) {
        let result = try command(cluster, arguments, format: format)
        try ClusterTests.check(
            result.code == 0 && result.outputText.contains(words),
            "\(arguments): \(result.code) \(result.outputText) \(result.errorText)")
    }

    /// Starts an import and kills it before a step.
    static func kill(_ cluster: UpCluster, _ file: String, before step: Int) throws(HarnessError) {
        let tool = try RunningProcess(
            TestEnvironment.binary(),
            ["import", "--format", "text", "--pause-before", "\(step)", "--data-dir", cluster.dataFolder, file],
            log: "\(cluster.folder.path)/import-\(step)")
        try eventually("the import stops itself before step \(step)", within: 30) { () throws(HarnessError) in
            if let ending = try tool.poll() { throw HarnessError("the import \(ending): \(tail(tool.errorOutput))") }
            return ProcessTable.entry(tool.pid)?.state == "T"
        }
        try tool.kill9()
    }

    /// Waits until the report says exactly this.
    static func expect(_ cluster: UpCluster, _ sums: [String: Int64], epoch: Int) throws(HarnessError) {
        var last: Report?
        do throws(HarnessError) {
            try eventually("the report has \(sums.count) keys", within: 20) { () throws(HarnessError) in
                last = try cluster.report()
                return last?.counters == sums
            }
        } catch {
            let different = sums.filter { last?.counters[$0.key] != $0.value }.prefix(3)
            throw HarnessError("\(error): \(last?.keys ?? -1) keys, such as \(different)")
        }
        let folder = "\(cluster.dataFolder)/epoch-000\(epoch + 1)"
        try ClusterTests.check(!Files.exists(folder), "there is \(folder)")
    }
}
