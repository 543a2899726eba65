// A mistyped --redis, --namespace or --data-dir, and an `up` that does not run: what is where, at once, and what to
// type. Nobody is sent in a circle, or told to make a cluster where one was mistyped.

import ClusterSupport
import Glibc
import Testing

extension ClusterTests {
    @Suite struct MisplacedTests {
        private func expect(
            _ arguments: [String], code: Int32, _ words: [String], without: [String] = []
        ) throws(HarnessError) {
            let watch = Stopwatch()
            let result = try Command.tallymill(arguments)
            let said = result.outputText + result.errorText
            let command = arguments.joined(separator: " ")
            try ClusterTests.check(result.code == code, "\(command) ended with \(result.code): \(said)")
            for word in words { try ClusterTests.check(said.contains(word), "`\(word)` is not in \(command): \(said)") }
            for word in without { try ClusterTests.check(!said.contains(word), "`\(word)` is in \(command): \(said)") }
            try ClusterTests.check(watch.seconds < 15, "\(command) took \(watch.text) s")
        }

        private func cluster(in folder: String) throws(HarnessError) -> String {
            let file = try JSONTree(Files.read(folder + "/topology.json") ?? [])
            return "cluster \(file["cluster"]?.text ?? "?"), epoch 1, 4 partitions"
        }

        @Test func aRedisThatIsAway() throws {
            try ClusterTests.withPieces("no-redis") { pieces in
                let place = ["--redis", "unix:///none.sock", "--data-dir", pieces.dataFolder]
                let words = [
                    "cannot reach Redis at unix:///none.sock",
                    "folder: \(try cluster(in: pieces.dataFolder)), in \(pieces.dataFolder)",
                    "Redis:  unix:///none.sock, namespace tallymill: does not answer",
                    "`up`:   does not run for this folder",
                    "`tallymill doctor --redis unix:///none.sock --data-dir \(pieces.dataFolder)` looks closer",
                ]
                for command in [
                    ["status"], ["init"], ["repair"], ["audit"], ["rebalance", "plan", "--to", "3"],
                    ["rebalance", "run", "--to", "3", "--yes"],
                ] {
                    try expect(command + place, code: 69, words, without: ["tallymill init"])
                }
            }
        }

        @Test func aWrongFolderAndAWrongNamespace() throws {
            try ClusterTests.withPieces("misplaced") { pieces in
                let redis = ["--redis", pieces.redisURL]
                let here = try cluster(in: pieces.dataFolder)
                let empty = ["--data-dir", pieces.folder.path + "/empty"]
                for command in [["report"], ["verify"], ["repair"], ["init"]] {
                    try expect(
                        command + redis + empty, code: 78,
                        [
                            "folder: no cluster in \(pieces.folder.path)/empty",
                            "Redis:  \(pieces.redisURL), namespace tallymill: \(here)",
                            "The folder of the cluster in this Redis is another one: name it with --data-dir.",
                        ], without: ["tallymill init"])
                }
                let typo = ["--namespace", "tallymil"]
                try expect(
                    ["status"] + pieces.place + typo, code: 0,
                    [
                        "DUE: nothing of this cluster is in \(pieces.redisURL), namespace tallymil: `tallymill repair"
                            + " --redis \(pieces.redisURL) --namespace tallymil --data-dir \(pieces.dataFolder)` makes",
                        "If not, name the right one with --redis and --namespace.",
                    ])
                try expect(
                    ["repair"] + pieces.place + typo, code: 64,
                    ["is in \(pieces.redisURL), namespace tallymil: if it has not lost its keys, name the right one"])
                _ = try pieces.redisCommand(["FUNCTION", "FLUSH"])  // told by what follows
                try expect(
                    ["status"] + pieces.place, code: 78,
                    ["this Redis has no functions of tallymill", "`tallymill repair --redis"], without: ["init"])
            }
        }

        @Test func anUpThatDoesNotRun() throws {
            try ClusterTests.withUp("no-up") { up in
                let place = ["--data-dir", up.dataFolder]
                try expect(["status", "--redis", "unix:///none.sock"] + place, code: 69, ["--redis is left out"])
                try ClusterTests.interrupt(up)
                let words = ["`up`:   does not run", "`tallymill up --data-dir \(up.dataFolder)` starts it"]
                for command in [["status"], ["rebalance", "plan", "--to", "3"]] {
                    try expect(command + place, code: 69, words, without: ["tallymill init"])
                }
            }
        }

        /// A node in an empty namespace says where it has looked, in its log and to clients; with the cluster made
        /// there by the command that it prints it serves.
        @Test func aNodeInAWrongNamespace() throws {
            try ClusterTests.withPieces("web-typo") { pieces in
                let web = try pieces.startWeb(options: ["--namespace", "shopp"])
                let place = "\(pieces.redisURL), namespace shopp"
                let words = "no cluster is published in \(place): start this node with the --redis and --namespace of"
                let command = "`tallymill init --redis \(pieces.redisURL) --namespace shopp --data-dir"
                try eventually("the log says where the node has looked", within: 20) {
                    let log = pieces.webs[web].errorOutput
                    return log.contains(#"redis="\#(place)""#) && log.contains(words) && log.contains(command)
                }
                let answer = Loopback.ask(pieces.ports[web], HTTPRequest("/increment?key=a&value=1"))
                try ClusterTests.check(
                    answer?.status == 503 && answer?.text.contains(words) == true
                        && answer?.text.contains(command) == true, answer?.text ?? "no answer")
                let data = pieces.folder.path + "/shopp"
                let made = try Command.tallymill(
                    ["init", "--redis", pieces.redisURL, "--namespace", "shopp", "--data-dir", data])
                try ClusterTests.check(made.code == 0, made.errorText)
                try pieces.waitUntilReady(web)
            }
        }
    }
}
