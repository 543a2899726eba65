// Commands that are printed are taken from the output and run by a shell as they stand: with nothing but the program
// along PATH. The cluster is at no place that is a default, and its folder has a blank in its name.

import ClusterSupport
import Glibc
import ServiceKit
import Testing

extension ClusterTests {
    @Suite struct PastedCommandTests {
        /// A cluster in a namespace of its own, of which every command has to be told.
        private struct Shop {
            let cluster: ManualCluster
            let place: [String]
            var dataFolder: String { cluster.folder.path + "/my data" }

            init(_ cluster: ManualCluster) {
                self.cluster = cluster
                place = [
                    "--redis", cluster.redisURL, "--namespace", "shop", "--data-dir", cluster.folder.path + "/my data",
                ]
            }

            /// What a command prints.
            func run(_ arguments: [String], code: Int32 = 0) throws(HarnessError) -> String {
                try ClusterTests.run(arguments + place, code: code)
            }
        }

        /// The commands in a text that begin so: between backquotes, or on lines of their own.
        private static func commands(_ beginning: String, in text: String) -> [String] {
            let lines = text.split(separator: "\n").map { line in
                let line = line.drop { $0 == " " }
                return line.hasPrefix("$ ") ? line.dropFirst(2) : line
            }
            return (PrintedCommands.quoted(in: text) + lines).filter { $0.hasPrefix("tallymill \(beginning)") }.map(
                String.init)
        }

        /// Takes a command from a text: the same in all places where it is.
        private func only(_ beginning: String, in texts: [String]) throws(HarnessError) -> String {
            var found: Set<String> = []
            for text in texts {
                let commands = Self.commands(beginning, in: text)
                try ClusterTests.check(!commands.isEmpty, "no `tallymill \(beginning)` is in: \(text)")
                found.formUnion(commands)
            }
            try ClusterTests.check(found.count == 1, "\(found)")
            return found.first ?? ""
        }

        private func shell(_ command: String) throws(HarnessError) -> [String] {
            let folder = try TestEnvironment.binary().split(separator: "/").dropLast().joined(separator: "/")
            return ["-c", "PATH=/\(folder):$PATH\n\(command)"]
        }

        /// Runs a command as it stands.
        @discardableResult
        private func paste(_ command: String) throws(HarnessError) -> String {
            let result = try Command.run("/bin/sh", try shell(command), within: 60)
            let said = result.outputText + result.errorText
            try ClusterTests.check(result.code == 0, "`\(command)` ended with \(result.code): \(said)")
            return said
        }

        private func withShop(_ name: String, _ body: (Shop) throws -> Void) throws {
            try ClusterTests.withPieces(name, partitions: 1) { try body(Shop($0)) }
        }

        /// A cluster is made, repaired, rebalanced and restored by nothing but what commands say.
        @Test func fromInitToRestore() throws {
            try withShop("pasted") { shop in
                let none = try shop.run(["report"], code: 78)
                try paste(try only("init --partitions 4", in: [none]))
                try repairIsDue(shop)
                try aRebalanceIsLeftOver(shop)
                let backup = shop.cluster.folder.path + "/backup"
                _ = try shop.run(["backup", backup])
                let restored = try shop.run(["restore", backup, "--replace"])
                let consume = try only("consume --partitions 0-2", in: [restored])
                let process = try RunningProcess(
                    "/bin/sh", try shell("exec " + consume), log: shop.cluster.folder.path + "/pasted")
                defer { try? process.kill9() }  // nothing is left to be told
                try eventually("the consumer that was pasted has every shard", within: 30) { () throws(HarnessError) in
                    try shop.run(["status"]).split(separator: "\n").count { $0.contains(":\(process.pid)") } == 3
                }
                try ClusterTests.check(!shop.run(["verify"]).contains("FOUND"), "something was found")
            }
        }

        private func repairIsDue(_ shop: Shop) throws(HarnessError) {
            _ = try shop.cluster.redisCommand(["FLUSHALL"])  // told by what follows
            let said = [try shop.run(["status"]), try shop.run(["doctor"], code: 3)]
            try paste(try only("repair", in: said) + " --yes")
            try ClusterTests.check(try !shop.run(["status"]).contains("DUE"), "repair was pasted, and is still due")
        }

        private func aRebalanceIsLeftOver(_ shop: Shop) throws(HarnessError) {
            let tool = try RunningProcess(
                TestEnvironment.binary(),
                ["rebalance", "run", "--to", "3", "--yes", "--pause-before", "3"] + shop.place,
                log: shop.cluster.folder.path + "/tool")
            try eventually("the tool stops itself", within: 30) { () throws(HarnessError) in
                if let ending = try tool.poll() { throw HarnessError("the tool \(ending): \(tail(tool.errorOutput))") }
                return ProcessTable.entry(tool.pid)?.state == "T"
            }
            try tool.kill9()
            let said = [
                try shop.run(["rebalance", "status"]), try shop.run(["status"]), try shop.run(["doctor"], code: 3),
                try shop.run(["verify"], code: 78),
            ]
            try ClusterTests.check(
                try paste(try only("rebalance resume", in: said)).contains("epoch 2 is ready"), "nothing was resumed")
        }

        /// A shard that is older than its queue: everybody names what is missing, and the same way on.
        @Test func aLossIsDue() throws {
            try withShop("pasted-loss") { shop in
                _ = try shop.run(["init", "--partitions", "1"])
                let web = try shop.cluster.startWeb(options: ["--event-loops", "1", "--namespace", "shop"])
                try shop.cluster.waitUntilReady(web)
                let epoch = shop.dataFolder + "/epoch-0001"
                let old = shop.cluster.folder.path + "/old"
                try count(shop)
                try Files.copyTree(epoch, to: old)
                try count(shop)
                try shop.cluster.webs[web].kill9()
                Files.removeTree(epoch)
                try Files.move(old, to: epoch)
                let repair = try shop.run(["repair", "--yes"], code: 3)
                let refused = try consumer(shop)
                let ending = try refused.waitForEnd(within: 30)
                try ClusterTests.check(ending == .code(78), "\(ending): \(tail(refused.errorOutput))")
                let said = [
                    try shop.run(["status"]), try shop.run(["verify"], code: 3), try shop.run(["audit"], code: 3),
                    try shop.run(["doctor"], code: 3), repair, refused.errorOutput,
                ]
                try paste(try only("repair --accept-loss", in: said) + " --yes")
                try ClusterTests.check(!shop.run(["status"]).contains("DUE"), "what was accepted is still due")
                try ClusterTests.check(!shop.run(["doctor"], code: 3).contains("older than"), "and doctor finds it")
            }
        }

        private func consumer(_ shop: Shop) throws(HarnessError) -> RunningProcess {
            let number = try shop.cluster.startConsumer(
                "0", dataFolder: shop.dataFolder, options: ["--namespace", "shop"])
            return shop.cluster.consumers[number]
        }

        /// One increment, by a consumer that runs for it alone.
        private func count(_ shop: Shop) throws(HarnessError) {
            let consumer = try consumer(shop)
            try ClusterTests.post(shop.cluster.ports[0], #"{"a":1}"#)
            try consumer.send(SIGTERM)
            let ending = try consumer.waitForEnd(within: 30)
            try ClusterTests.check(ending == .code(0), tail(consumer.errorOutput))
        }

        /// From a file the commands name the file, from a variable the variable; the password is nowhere.
        @Test func secretsStayWhereTheyAre() throws {
            try withShop("pasted-secret") { shop in
                let port = try Loopback.freePort()
                _ = try shop.run(["init", "--partitions", "1"])
                for setting in [["port", "\(port)"], ["requirepass", "a-word"]] {
                    let answer = try shop.cluster.redisCommand(["CONFIG", "SET"] + setting)
                    try ClusterTests.check(answer == "OK", answer)
                }
                _ = try shop.cluster.redisCommand(["-a", "a-word", "FLUSHALL"])  // told by what follows
                let url = "redis://:a-word@127.0.0.1:\(port)"
                let file = shop.cluster.folder.path + "/shop.conf"
                let text = "TALLYMILL_REDIS=\(url)\nTALLYMILL_NAMESPACE=shop\nTALLYMILL_DATA_DIR=\(shop.dataFolder)\n"
                try Files.write(Array(text.utf8), to: file)
                let byFile = try Command.tallymill(["status", "--config", file]).outputText
                let first = try only("repair", in: [byFile])
                try ClusterTests.check(first == "tallymill repair --config \(file)", first)
                try paste(first + " --yes")
                _ = try shop.cluster.redisCommand(["-a", "a-word", "FLUSHALL"])  // as above
                let variable = "TALLYMILL_REDIS=\(url); export TALLYMILL_REDIS"
                let status = "tallymill status --namespace shop --data-dir '\(shop.dataFolder)'"
                let byVariable = try paste("\(variable)\n\(status)")
                let second = try only("repair", in: [byVariable])
                try ClusterTests.check(second.contains(#" --redis "$TALLYMILL_REDIS" "#), second)
                try paste("\(variable)\n\(second) --yes")
                try ClusterTests.check(!(byFile + byVariable).contains("a-word"), "the password is shown")
            }
        }
    }
}
