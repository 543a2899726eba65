// What the commands refuse, with which exit code and which words: the contract of scripts and operators.

import ClusterSupport
import Glibc
import ServiceKit
import Testing

extension ClusterTests {
    @Suite struct CommandTests {
        /// A second consumer of a shard: 75, naming who holds it. A partition that does not exist: 78 and the range.
        @Test func consumersRefuse() throws {
            try ClusterTests.withPieces("consume") { cluster in
                let first = try cluster.startConsumer("0")
                try waitUntilOwned(cluster, partition: 0)
                let second = try cluster.startConsumer("0")
                try expect(cluster.consumers[second], code: 75, words: ["\(cluster.consumers[first].pid)"])
                let outside = try cluster.startConsumer("9")
                try expect(cluster.consumers[outside], code: 78, words: ["9", "0 to 3"])
                // SIGTERM ends the first in order, and then another may have the shard.
                try cluster.consumers[first].send(SIGTERM)
                try expect(cluster.consumers[first], code: 0, words: [])
                let third = try cluster.startConsumer("0-1,3")
                try waitUntilOwned(cluster, partition: 3)
                try ClusterTests.check(
                    try cluster.consumers[third].poll() == nil, tail(cluster.consumers[third].errorOutput))
            }
        }

        private func waitUntilOwned(_ cluster: ManualCluster, partition: Int) throws(HarnessError) {
            try eventually("partition \(partition) has a consumer", within: 20) { () throws(HarnessError) in
                for consumer in cluster.consumers {
                    guard let ending = try consumer.poll(), ending != .code(0) else { continue }
                    if [.code(75), .code(78)].contains(ending) { continue }
                    throw HarnessError("a consumer \(ending): \(tail(consumer.errorOutput))")
                }
                let status = try Command.tallymill(["status", "--format", "json"] + cluster.place)
                guard status.code == 0 else {
                    throw HarnessError("status ended with \(status.code): \(status.errorText)")
                }
                let partitions = try JSONTree(status.output)["partitions"]?.elements ?? []
                let owner = partitions.first { $0["partition"]?.integer() == partition }?["owner"]
                guard let owner, owner != .null, owner != .string("") else { return false }
                return true
            }
        }

        private func expect(_ process: RunningProcess, code: Int32, words: [String]) throws(HarnessError) {
            let ending = try process.waitForEnd(within: 15)
            let said = process.errorOutput + process.output
            try ClusterTests.check(ending == .code(code), "\(ending) instead of \(code): \(tail(said))")
            for word in words {
                try ClusterTests.check(said.contains(word), "`\(word)` is not in: \(tail(said))")
            }
        }

        /// Another K on the command line is refused; in a file of settings it is that of a new cluster only, so that
        /// the file of a service may stay as it is after a rebalance.
        /// `--help` shows each setting of the command with the table's words and default.
        @Test(arguments: CommandName.allCases)
        func helpComesFromTheTable(of command: CommandName) throws {
            let subcommands: [CommandName: [String]] = [
                .config: ["show"], .rebalance: ["run"], .deadLetters: ["list"],
            ]
            let words = [command.rawValue] + (subcommands[command] ?? []) + ["--help"]
            let result = try Command.tallymill(words)
            #expect(result.code == 0)
            // The parser breaks lines where it likes.
            func plain(_ text: String) -> String { text.split(whereSeparator: \.isWhitespace).joined(separator: " ") }
            let help = plain(result.outputText)
            for setting in Setting.all(of: command) {
                let fallback = setting.defaultText ?? setting.absence ?? ""
                let row = plain("\(setting.flag) \(Self.placeholder(setting)) \(setting.help) (default: \(fallback))")
                #expect(help.contains(row), "`\(words.joined(separator: " "))` lacks: \(row)")
            }
        }

        /// Examples are there, and the parser does not break them: half an example is read as a whole one.
        @Test(arguments: CommandName.allCases)
        func examplesFitTheirLines(of command: CommandName) throws {
            let help = try Command.tallymill([command.rawValue, "--help"]).outputText
            let examples = help.split(separator: "\n", omittingEmptySubsequences: false)
                .drop { $0 != "EXAMPLES" }.dropFirst().prefix { !$0.isEmpty }
            #expect(!examples.isEmpty && examples.allSatisfy { $0.hasPrefix("  ") }, "\(examples)")
        }

        private static func placeholder(_ setting: Setting) -> String {
            setting.kind == .flag ? "" : "<\(setting.kind.placeholder)>"
        }

        @Test func aSlipInACommandIsNamed() throws {
            for (word, advice) in [
                ("wbe", "Did you mean `tallymill web`?"), ("stauts", "Did you mean `tallymill status`?"),
                ("frobnicate", "`tallymill --help` lists them."),
            ] {
                let result = try Command.tallymill([word])
                #expect(result.code == 64)
                #expect(result.errorText == "tallymill: there is no command \"\(word)\"\n  \(advice)\n")
            }
            // An alias and the parser's own commands are none.
            #expect(try Command.tallymill(["merge", "--help"]).code == 0)
            #expect(try Command.tallymill(["help", "web"]).code == 0)
        }

        @Test func initWithAnotherNumber() throws {
            try ClusterTests.withPieces("init") { cluster in
                let demanded = try Command.tallymill(["init", "--partitions", "9"] + cluster.place)
                try ClusterTests.check(
                    demanded.code == 78 && demanded.errorText.contains("this cluster has 4 partitions, not 9"),
                    "init ended with \(demanded.code): \(demanded.errorText)")
                let path = "\(cluster.folder.path)/services.conf"
                try Files.write(Array("TALLYMILL_PARTITIONS=9\n".utf8), to: path)
                let kept = try Command.tallymill(["init", "--config", path] + cluster.place)
                try ClusterTests.check(
                    kept.code == 0 && kept.outputText.contains("is complete: epoch 1, 4 partitions"),
                    "init ended with \(kept.code): \(kept.outputText)\(kept.errorText)")
            }
        }

        /// `up` on a folder in use: 75. With another K: 78, pointing to `rebalance`. Nothing of it disturbs the first.
        @Test func upRefuses() throws {
            try ClusterTests.withUp("refuse") { cluster in
                let children = Set(ProcessTable.children(of: cluster.process.pid).map(\.pid))
                try expect(up(cluster, partitions: 4), code: 75, words: [])
                let after = Set(ProcessTable.children(of: cluster.process.pid).map(\.pid))
                try ClusterTests.check(cluster.isComplete && after == children, "the first `up` was disturbed")
                // A disk that is busy elsewhere may hold Redis up for a while.
                try eventually("the first `up` serves", within: 20) { cluster.isReady }
                try ClusterTests.interrupt(cluster)
                try expect(up(cluster, partitions: 5), code: 78, words: ["rebalance", "4"])
                // The refusal changed nothing.
                try cluster.startAgain()
                try ClusterTests.check(cluster.isComplete || cluster.isReady, "`up` does not start again")
            }
        }

        /// Another `up` on the folder of a cluster.
        private func up(_ cluster: UpCluster, partitions: Int) throws(HarnessError) -> RunningProcess {
            let options = ["--listen", "127.0.0.1:0", "--partitions", "\(partitions)"]
            return try RunningProcess(
                TestEnvironment.binary(), ["up", "--data-dir", cluster.dataFolder] + options,
                log: "\(cluster.folder.path)/refused-\(partitions)")
        }

        /// A data folder whose socket path would be too long for the system.
        @Test func upWithALongPath() throws {
            try ClusterTests.inFolder("long") { folder in
                var subfolder = ""
                for number in 0..<4 {
                    subfolder += (number == 0 ? "" : "/") + String(repeating: "folder\(number)", count: 6)
                    try Files.makeFolder(folder.path + "/" + subfolder)
                }
                let cluster = try UpCluster(folder, partitions: 2, subfolder: subfolder)
                defer { cluster.destroy() }
                try ClusterTests.check(cluster.dataFolder.utf8.count > 120, "the path is not long enough")
                try ClusterTests.post(cluster.port, #"{"a":1,"b":2}"#)
                // Other commands find the socket by the data folder alone.
                let status = try Command.tallymill(["status", "--data-dir", cluster.dataFolder, "--format", "json"])
                try ClusterTests.check(status.code == 0, "status ended with \(status.code): \(status.errorText)")
                try eventually("the counters are there", within: 10) { () throws(HarnessError) in
                    try cluster.report().counters == ["a": 1, "b": 2]
                }
                try ClusterTests.interrupt(cluster)
            }
        }

        /// A shard file that is not there: exit 3 and `partial`, 0 with --allow-partial, and what remains is right.
        @Test func reportWithoutAShard() throws {
            try ClusterTests.withUp("partial") { cluster in
                let keys = (0..<40).map { "k\($0)" }
                try ClusterTests.post(cluster.port, "{" + keys.map { "\"\($0)\":1" }.joined(separator: ",") + "}")
                try ClusterTests.interrupt(cluster)
                let whole = try cluster.report()
                try ClusterTests.check(whole.code == 0 && !whole.isPartial && whole.total == 40, "\(whole)")
                let shard = try shardFile(cluster, partition: 2)
                for suffix in ["", "-wal", "-shm"] where Files.exists(shard + suffix) {
                    try Files.move(shard + suffix, to: "\(cluster.folder.path)/away\(suffix)")
                }
                let partial = try cluster.report()
                try ClusterTests.check(partial.code == 3, "exit \(partial.code) instead of 3")
                try ClusterTests.check(partial.isPartial && partial.missing == [2], "\(partial)")
                try ClusterTests.check(partial.total < 40 && partial.total == partial.sum, "\(partial)")
                let allowed = try cluster.report(["--allow-partial"])
                try ClusterTests.check(allowed.code == 0 && allowed.isPartial && allowed.missing == [2], "\(allowed)")
            }
        }

        private func shardFile(_ cluster: UpCluster, partition: Int) throws(HarnessError) -> String {
            let path = "\(cluster.dataFolder)/epoch-0001/shard-000\(partition)-of-0004.sqlite"
            try ClusterTests.check(Files.exists(path), "no file \(path)")
            return path
        }
    }
}
