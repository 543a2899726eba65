// Tokens as an operator and a client meet them: real files, real processes, real signals.

import ClusterSupport
import Glibc
import ServiceKit
import Testing

extension ClusterTests {
    @Suite struct AccessTests {
        private static func tallymill(_ arguments: [String], code: Int32 = 0) throws(HarnessError) -> Command {
            let result = try Command.tallymill(arguments)
            try ClusterTests.check(
                result.code == code,
                "\(arguments.joined(separator: " ")) ended with \(result.code): \(result.outputText)\(result.errorText)"
            )
            return result
        }

        /// A new token in `file`; the token.
        private static func token(_ name: String, _ scopes: String, in file: String, _ more: [String] = [])
            throws(HarnessError) -> String
        {
            let made = try tallymill(["token", "new", name, "--scopes", scopes, "--append", file] + more)
            try ClusterTests.check(
                made.errorText == "\(file) has a line for \(name); web nodes that run read it after SIGHUP\n",
                made.errorText)
            let text = made.outputText
            try ClusterTests.check(text.hasPrefix("tm_") && text.hasSuffix("\n") && text.utf8.count == 47, text)
            return String(text.dropLast())
        }

        private static func post(_ port: UInt16, _ key: String, token: String?) throws(HarnessError) -> HTTPAnswer {
            var request = HTTPRequest("/increment?key=\(key)&value=1")
            if let token { request.headers = [("Authorization", "Bearer \(token)")] }
            guard let answer = Loopback.ask(port, request) else { throw HarnessError("no answer at \(port)") }
            return answer
        }

        private static func expect(_ status: Int, _ port: UInt16, token: String?) throws(HarnessError) {
            let answer = try post(port, "a", token: token)
            try ClusterTests.check(answer.status == status, "\(answer.status) instead of \(status): \(answer.text)")
        }

        // MARK: The command

        @Test func newTokensAreShownOnceAndChecked() throws {
            try ClusterTests.inFolder("token") { folder in
                let file = "\(folder.path)/tokens"
                let secret = try Self.token("shop", "write", in: file, ["--rate", "1000"])
                try ClusterTests.check(!Files.text(file).contains(secret), "the file holds the token itself")
                let printed = try Self.tallymill(["token", "new", "operator", "--scopes", "admin,write"]).outputText
                let lines = printed.split(separator: "\n")
                try ClusterTests.check(
                    lines.count == 2 && lines[1].hasPrefix("operator write,admin unlimited sha256:"), printed)
                try Files.write(Array(Files.text(file).utf8) + Array("\(lines[1])\n".utf8), to: file)
                let checked = try Self.tallymill(["token", "check", file])
                try ClusterTests.check(
                    checked.outputText == """
                        name      scopes       requests a second
                        shop      write                     1000
                        operator  write,admin          unlimited

                        """, checked.outputText)
                // The digest of a token that is known already is the one in the file.
                let own = "\(folder.path)/own"
                try Files.write(Array("\(lines[0])\nmore\n".utf8), to: own)
                let digest = try Command.run(
                    "/bin/sh",
                    ["-c", "exec \"$0\" token digest operator --scopes admin,write < \(own)", TestEnvironment.binary()])
                try ClusterTests.check(digest.outputText == "\(lines[1])\n", digest.outputText + digest.errorText)
                let twice = try Self.tallymill(
                    ["token", "new", "shop", "--scopes", "write", "--append", file], code: 78)
                try ClusterTests.check(
                    twice.output.isEmpty && twice.errorText.contains("\(file):3: the name shop is already in line 1"),
                    twice.outputText + twice.errorText)
            }
        }

        @Test(arguments: [
            (["new", "a:b", "--scopes", "write"], "NAME takes 1 to 64 letters, digits, '.', '_' or '-'"),
            (["new", "a", "--scopes", "read"], "read"),
            (["new", "a", "--scopes", "write", "--rate", "0"], "--rate takes a whole number from 1 to 1000000"),
            (["new", "a"], "--scopes"),
        ])
        func wrongOptionsAreUsageErrors(arguments: [String], word: String) throws {
            let result = try Self.tallymill(["token"] + arguments, code: 64)
            try ClusterTests.check(result.errorText.contains(word) && result.output.isEmpty, result.errorText)
        }

        // MARK: The node

        /// Everybody's address without tokens: 78, and what to do. With tokens it serves.
        @Test func anOpenAddressDemandsTokens() throws {
            try ClusterTests.withPieces("open") { cluster in
                let port = try Loopback.freePort()
                let open = ["web", "--listen", "0.0.0.0:\(port)"] + cluster.place
                let refused = try Self.tallymill(open, code: 78)
                for word in ["0.0.0.0:\(port): more than this machine reaches this address", "--tokens-file"] {
                    try ClusterTests.check(refused.errorText.contains(word), refused.errorText)
                }
                let file = "\(cluster.folder.path)/tokens"
                let missing = try Self.tallymill(open + ["--tokens-file", file], code: 78)
                try ClusterTests.check(missing.errorText.contains("\(file): there is no such file"), missing.errorText)
                let secret = try Self.token("shop", "write", in: file)
                let web = try cluster.startWeb(options: ["--listen", "0.0.0.0:\(port)", "--tokens-file", file])
                try eventually("the node answers", within: 20) { () throws(HarnessError) in
                    if let ending = try cluster.webs[web].poll() { throw HarnessError("the node \(ending)") }
                    return Loopback.ask(port, .get("/readyz"))?.status == 200
                }
                try Self.expect(401, port, token: nil)
                try Self.expect(200, port, token: secret)
            }
        }

        /// SIGHUP: new tokens pass, removed ones do not, and a wrong file changes nothing.
        @Test func theFileIsReadAgain() throws {
            try ClusterTests.withPieces("reload") { cluster in
                let file = "\(cluster.folder.path)/tokens"
                let first = try Self.token("first", "write", in: file)
                let web = try cluster.startWeb(options: ["--tokens-file", file])
                try cluster.waitUntilReady(web)
                let (port, process) = (cluster.ports[web], cluster.webs[web])
                try Self.expect(200, port, token: first)
                let second = try Self.token("second", "write", in: file, ["--rate", "1"])
                try Self.expect(401, port, token: second)
                try process.send(SIGHUP)
                try eventually("the second token passes", within: 10) { () throws(HarnessError) in
                    try Self.post(port, "a", token: second).status == 200
                }
                let over = try Self.post(port, "a", token: second)
                try ClusterTests.check(
                    over.status == 429 && over.header("retry-after") == "1"
                        && over.header("ratelimit-policy") == #""default";q=1;w=1"#, "\(over)")
                let good = Files.text(file)
                try Files.write(Array("wrong\n".utf8), to: file)
                try process.send(SIGHUP)
                try eventually("the wrong file is reported", within: 10) { () throws(HarnessError) in
                    process.errorOutput.contains("those of before stay in force")
                        && process.errorOutput.contains("\(file):1: 1 word in a line of four")
                }
                try Self.expect(200, port, token: first)
                try Files.write(Array(good.split(separator: "\n")[1].utf8), to: file)
                try process.send(SIGHUP)
                try eventually("the first token is gone", within: 10) { () throws(HarnessError) in
                    try Self.post(port, "a", token: first).status == 401
                }
                for secret in [first, second] {
                    try ClusterTests.check(!process.errorOutput.contains(secret), "a token is in the log")
                }
            }
        }

        /// The credential of systemd, without any setting.
        @Test func aCredentialIsFound() throws {
            try ClusterTests.withPieces("credential") { cluster in
                let secret = try Self.token("shop", "write", in: "\(cluster.folder.path)/tokens")
                let port = try Loopback.freePort()
                let process = try RunningProcess(
                    TestEnvironment.program("env"),
                    [
                        "CREDENTIALS_DIRECTORY=\(cluster.folder.path)", TestEnvironment.binary(), "web", "--listen",
                        "127.0.0.1:\(port)",
                    ] + cluster.place, log: "\(cluster.folder.path)/credential")
                defer { do { try process.kill9() } catch { note("\(error)") } }
                try eventually("the node answers", within: 20) { () throws(HarnessError) in
                    if let ending = try process.poll() { throw HarnessError("the node \(ending)") }
                    return Loopback.ask(port, .get("/readyz"))?.status == 200
                }
                try Self.expect(401, port, token: nil)
                try Self.expect(200, port, token: secret)
            }
        }

        // MARK: Clients of a node

        /// `up` hands the file to its web node; bench and audit bring a token.
        @Test func theToolsBringTokens() throws {
            try ClusterTests.inFolder("clients") { folder in
                let file = "\(folder.path)/tokens"
                let paths = try ["write", "admin"].map { scope in
                    let path = "\(folder.path)/\(scope)"
                    try Files.write(Array("\(try Self.token(scope, scope, in: file))\n".utf8), to: path)
                    return path
                }
                let cluster = try UpCluster(folder, options: ["--tokens-file", file])
                defer { cluster.destroy() }
                let url = "http://127.0.0.1:\(cluster.port)"
                let load = [
                    "bench", "--url", url, "--data-dir", cluster.dataFolder, "--rate", "200", "--duration", "1s",
                ]
                let without = try Self.tallymill(load + ["--format", "json"], code: 1)
                let statuses = try JSONTree(without.output)["load"]?["statuses"]
                try ClusterTests.check(statuses?["401"]?.integer() == 200, without.outputText)
                try ClusterTests.check(
                    without.errorText.contains("the server demands a token: name the file of one with --token-file"),
                    without.errorText)
                let with = try JSONTree(
                    try Self.tallymill(load + ["--format", "json", "--token-file", paths[0]]).output)
                try ClusterTests.check(with["load"]?["statuses"]?["200"]?.integer() == 200, "\(with)")
                try ClusterTests.check(with["sums"]?["exact"]?.isTrue == true, "\(with)")
                let audit = ["audit", "--data-dir", cluster.dataFolder, "--node", url]
                let advice = [
                    ([], "it answered 401\n  It demands a token: name the file of one with --token-file."),
                    (
                        ["--token-file", paths[0]],
                        "it answered 403\n  The token of --token-file needs the scope admin."
                    ),
                ]
                for (more, words) in advice {
                    let refused = try Self.tallymill(audit + more, code: 1)
                    try ClusterTests.check(refused.errorText.contains(words), refused.errorText)
                }
                _ = try Self.tallymill(audit + ["--token-file", paths[1]])  // its exit code was checked
                try ClusterTests.interrupt(cluster)
            }
        }
    }
}
