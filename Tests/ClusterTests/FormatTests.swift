// `--format json`: of every command that has it, the names that it uses; what it says of failures; and what programs
// could misread.

import ClusterSupport
import ServiceKit
import Testing

extension ClusterTests {
    @Suite struct FormatTests {
        /// Every name that a command of this cluster prints: another name for the same thing does not get in unseen.
        private static let names: [String: Set<String>] = [
            "init": ["cluster", "epoch", "partitions", "state", "created_groups", "data_dir"],
            "status": [
                "epoch", "partitions", "partition", "batches", "bytes", "lag_ms", "owner", "last_commit_ms", "due",
            ],
            "report": [
                "cluster", "epoch", "partitions", "keys", "total", "partial", "missing", "counters", "key", "value",
                "unknown",
            ],
            "verify": [
                "cluster", "epoch", "partitions", "shards", "keys", "total", "redis_skipped", "clean", "findings",
            ],
            "repair": ["outcome", "due", "done", "not_mended"],
            "backup": ["cluster", "epoch", "partitions", "keys", "total", "bytes", "time_ms", "backup"],
            "restore": [
                "restored", "missing", "cluster", "epoch", "shards", "keys", "total", "data_dir", "replaced",
                "repair_due",
            ],
            "config": ["clean", "set", "settings", "findings", "warnings"],
            "rebalance": ["state", "epoch", "partitions", "pid", "step", "progress", "failure", "kept"],
            "dead-letters": ["epoch", "count", "missing", "letters"],
        ]

        @Test func theNamesOfEverything() throws {
            try ClusterTests.withPieces("formats", partitions: 1) { cluster in
                try cluster.startNode()
                try cluster.startConsumer("0")
                try cluster.post(1)
                let copy = cluster.folder.path + "/copy"
                let commands = [
                    ["init"], ["status"], ["report", "k", "nobody"], ["verify"], ["repair", "--yes"],
                    ["backup", copy], ["config", "check"], ["rebalance", "status"], ["dead-letters", "list"],
                ]
                for command in commands { try names(command, cluster.place) }
                try cluster.stopConsumer(0)
                try names(
                    ["restore", copy, "--no-redis"], ["--data-dir", cluster.folder.path + "/restored"])
                try cluster.expect(["report", "k", "nobody"], ["total of 1 key in 1 partition", "NO COUNTER: nobody"])
            }
        }

        private func names(_ command: [String], _ place: [String]) throws {
            let result = try Command.tallymill(command + ["--format", "json"] + place)
            #expect(result.code == 0, "\(command): \(result.errorText)")
            let found = names(in: try JSONTree(result.output))
            let expected = Self.names[command[0]] ?? []
            #expect(found == expected, "\(command[0]): \(found.symmetricDifference(expected))")
        }

        private func names(in tree: JSONTree) -> Set<String> {
            switch tree {
            case .object(let members):
                members.reduce(into: []) { $0.formUnion(names(in: $1.value).union([$1.name])) }
            case .array(let elements): elements.reduce(into: []) { $0.formUnion(names(in: $1)) }
            default: []
            }
        }

        @Test func failures() throws {
            try ClusterTests.inFolder("failures") { folder in
                let place = ["--data-dir", folder.path + "/none", "--format", "json"]
                for (command, code) in [
                    (["report"], 78), (["report", "--top", "x"], 64), (["statsu"], 64),
                    (["rebalance", "plan", "--to", "0"], 64),
                ] {
                    let result = try Command.tallymill(command + place)
                    #expect(result.code == code && result.output.isEmpty, "\(command): \(result.outputText)")
                    let error = try JSONTree(Array(result.errorText.utf8))["error"]  // one line, or it is no JSON
                    #expect(error?["exit_code"]?.integer() == code, "\(command): \(result.errorText)")
                    #expect(error?["what"]?.text?.isEmpty == false && error?["advice"]?.text?.isEmpty == false)
                }
                let path = folder.path + "/wrong.conf"
                try Files.write(Array("TALLYMILL_PARTITIONS=0\nTALLYMILL_QUEUE_BYTES=x\n".utf8), to: path)
                let check = try Command.tallymill(["config", "check", "--config", path, "--format", "json"])
                let findings = try JSONTree(check.output)["findings"]?.elements ?? []
                #expect(check.code == 78 && findings.count == 2, "\(check.outputText)")
                #expect(findings.allSatisfy { $0["where"]?.text?.contains("wrong.conf") == true })
            }
        }

        /// Two partitions of nearly the largest number.
        @Test func aTotalBeyondSixtyFourBits() throws {
            try ClusterTests.withPieces("wide", partitions: 1) { cluster in
                try cluster.startNode()
                try cluster.startConsumer("0")
                let said = { () throws(HarnessError) in
                    try Command.tallymill(["report", "--summary", "--format", "json"] + cluster.place).outputText
                }
                try ClusterTests.post(cluster.ports[0], #"{"a":9223372036854775807}"#)
                #expect(try !said().contains("beyond"))
                try ClusterTests.post(cluster.ports[0], #"{"b":1}"#)
                #expect(try said().contains(#""total":9223372036854775808,"total_beyond_int64":true,"#))
            }
        }

        /// The end of a role is an event of its log.
        @Test func theEndOfARole() throws {
            try ClusterTests.inFolder("role-end") { folder in
                for arguments in [["consume", "--partitions", "0"], ["web", "--listen", "127.0.0.1:x"]] {
                    let result = try Command.tallymill(
                        arguments + ["--data-dir", folder.path + "/none", "--log-format", "json"])
                    let lines = result.errorText.split(separator: "\n")
                    let last = try JSONTree(Array((lines.last ?? "").utf8))
                    #expect(last["level"]?.text == "critical", "\(result.errorText)")
                    #expect(last["metadata"]?["exit_code"]?.text == "\(result.code)")
                    #expect(lines.allSatisfy { $0.hasPrefix("{") }, "\(result.errorText)")
                }
            }
        }

        @Test func theHelpShowsEveryExitCode() throws {
            let help = try Command.tallymill(["--help"]).outputText
            let words = help.split(whereSeparator: \.isWhitespace).joined(separator: " ")
            for code in ExitCode.allCases { #expect(words.contains("\(code.rawValue) \(code.meaning)"), "\(code)") }
        }
    }
}
