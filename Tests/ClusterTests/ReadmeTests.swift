// The commands that README.md shows, run in the order of the page against a cluster that `up` has started in the
// same folder. How a block is marked is told in ClusterSupport/ReadmeCommands.swift.
//
// The page shows the defaults. Here the port differs, so that a cluster on this machine is not in the way: the
// test's address takes the place of 127.0.0.1:3333, and `tallymill` is found along PATH.

import ClusterSupport
import Glibc
import Testing

extension ClusterTests {
    @Suite struct ReadmeTests {
        @Test func theCommandsOfTheReadmeWork() throws {
            let page = Files.text(TestEnvironment.packageFolder + "/README.md")
            let blocks = try ReadmeBlock.blocks(of: page)
            try ClusterTests.check(!blocks.isEmpty, "README.md marks no block with <!-- run -->")
            try ClusterTests.inFolder("readme") { folder in
                let cluster = try UpCluster(folder, subfolder: "tallymill-data")
                defer { cluster.destroy() }
                for block in blocks { try run(block, cluster) }
                note("readme: \(blocks.count) blocks work, \(blocks.count { $0.output != nil }) outputs agree")
            }
        }

        private func run(_ block: ReadmeBlock, _ cluster: UpCluster) throws(HarnessError) {
            var output = ""
            let attempt = { () throws(HarnessError) -> Bool in
                let result = try shell(block.script, cluster)
                try ClusterTests.check(
                    result.code == 0, "README.md:\(block.line) ended with \(result.code): \(result.errorText)")
                output = result.outputText
                return block.output.map { ReadmeBlock.matches(output, pattern: localized($0, cluster)) } ?? true
            }
            do throws(HarnessError) {
                // What only reads may be run until the last commit has arrived; the rest once.
                let claim = "README.md:\(block.line) prints what it claims"
                try eventually(claim, within: block.onlyReads ? 5 : 0, attempt)
            } catch {
                throw HarnessError("\(error); it printed:\n\(output)")
            }
        }

        private func localized(_ text: String, _ cluster: UpCluster) -> String {
            text.replacing("127.0.0.1:3333", with: "127.0.0.1:\(cluster.port)")
                .replacing("localhost:3333", with: "127.0.0.1:\(cluster.port)")
        }

        private func shell(_ script: String, _ cluster: UpCluster) throws(HarnessError) -> Command {
            let binary = try TestEnvironment.binary()
            guard let slash = binary.lastIndex(of: "/") else { throw HarnessError("no folder in \(binary)") }
            let prelude = "set -euo pipefail; cd '\(cluster.folder.path)'; PATH='\(binary[..<slash])':$PATH\n"
            return try Command.run("/bin/bash", ["-c", prelude + localized(script, cluster)])
        }
    }
}
