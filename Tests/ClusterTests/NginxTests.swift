// deploy/nginx.conf with a real nginx: TLS, two web nodes, tokens passed through, and a node killed under load. Every
// request has a key of its own, so the report says of each one whether it counted, and how often.

import ClusterSupport
import Glibc
import ServiceKit
import Testing

extension ClusterTests {
    @Suite struct NginxTests {
        @Test func aKilledNodeLosesNothingThatWasAcknowledged() throws {
            guard let nginx = ProxyPrograms.found else { return }
            try ClusterTests.withPieces("nginx") { cluster in
                let tokens = "\(cluster.folder.path)/tokens"
                let made = try Command.tallymill(
                    ["token", "new", "clients", "--scopes", "write,admin", "--append", tokens])
                try ClusterTests.check(made.code == 0, made.errorText)
                for _ in 0..<2 { try cluster.startWeb(options: ["--tokens-file", tokens]) }
                for web in 0..<2 { try cluster.waitUntilReady(web) }
                try cluster.startConsumer("0-3")
                let proxy = try Proxy(nginx, cluster, token: String(made.outputText.dropLast()))
                defer { proxy.destroy() }
                try Self.routes(proxy)
                try Self.load(proxy, cluster)
            }
        }

        /// What is passed through, and what is not.
        private static func routes(_ proxy: Proxy) throws(HarnessError) {
            let secure = "https://localhost:\(proxy.port)"
            let large = "\(proxy.folder)/large"
            try Files.write([UInt8](repeating: UInt8(ascii: "a"), count: (1 << 20) + 1), to: large)
            let cases: [([String], String)] = [
                (["\(secure)/readyz"], "200"), (["\(secure)/ledger"], "404"), (["\(secure)/livez"], "404"),
                (["-d", "key=a&value=1", "\(secure)/increment"], "200"),
                (["--data-binary", "a 1", "-H", "Content-Type: text/plain", "\(secure)/increments"], "200"),
                (["--data-binary", "@\(large)", "\(secure)/increment"], "413"),
                (["-d", "key=a&value=1", "http://localhost:\(proxy.port)/increment"], "400"),
            ]
            for (arguments, status) in cases {
                let answer = try proxy.curl(["-s", "-o", "/dev/null", "-w", "%{http_code}"] + arguments)
                try ClusterTests.check(answer == status, "\(arguments.last ?? ""): \(answer) instead of \(status)")
            }
            let bare = try Command.run(
                TestEnvironment.program("curl"),
                ["-s", "--cacert", proxy.certificate, "-i", "-d", "key=a&value=1", "\(secure)/increment"])
            try ClusterTests.check(
                bare.outputText.contains(" 401 ") && bare.outputText.contains("WWW-Authenticate: Bearer"),
                bare.outputText)
        }

        private static func load(_ proxy: Proxy, _ cluster: ManualCluster) throws(HarnessError) {
            let requests = 4_000
            let client = try proxy.startLoad(requests: requests)
            try eventually("a tenth is answered", within: 60) { () throws(HarnessError) in
                if let ending = try client.poll() { throw HarnessError("curl \(ending): \(tail(client.errorOutput))") }
                return client.output.utf8.count { $0 == UInt8(ascii: "\n") } > requests / 10
            }
            try cluster.webs[0].kill9()
            _ = try client.waitForEnd(within: 120)  // requests that were cut off make it end with their number
            let fates = client.output.split(separator: "\n").map { $0.split(separator: " ") }
            try ClusterTests.check(fates.count == requests, "\(fates.count) fates of \(requests) requests")
            let acknowledged = fates.filter { $0[1] == "200" }.map { String($0[0]) }
            let lost = Set(fates.filter { $0[1] != "200" }.map { String($0[0]) })
            let strange = fates.filter { !["200", "502"].contains($0[1]) }
            try ClusterTests.check(strange.isEmpty, "answers: \(strange.prefix(5))")
            // At most what the node had in its hands: one request for each of the client's connections.
            try ClusterTests.check(lost.count <= Proxy.connections, "\(lost.count) requests were lost")
            let keys = ["--prefix", "load:"]
            try eventually("what was acknowledged is counted", within: 30) { () throws(HarnessError) in
                try cluster.report(keys).keys >= acknowledged.count
            }
            let counters = try cluster.report(keys).counters
            for key in acknowledged where counters[key] != 1 {
                throw HarnessError("\(key) was acknowledged and is \(counters[key] ?? 0)")
            }
            for (key, value) in counters where value != 1 { throw HarnessError("\(key) counted \(value) times") }
            try ClusterTests.check(
                counters.count <= acknowledged.count + lost.count, "\(counters.count) keys of \(requests)")
            note("nginx: \(acknowledged.count) of \(requests) acknowledged, \(lost.count) without a node's answer")
        }
    }
}

/// The programs that only this test needs.
private enum ProxyPrograms {
    /// nginx, or nil after saying why the test is not run.
    static var found: String? {
        for folder in ["/usr/sbin", "/usr/bin", "/usr/local/sbin"] where Files.exists("\(folder)/nginx") {
            return "\(folder)/nginx"
        }
        note("skipped: nginx is not installed (deploy/test installs it)")
        return nil
    }
}

/// nginx with the sample, its addresses and files replaced, and a certificate of its own.
private final class Proxy {
    static let connections = 8
    let folder: String
    let port: UInt16
    let certificate: String
    private let process: RunningProcess
    private let token: String

    init(_ nginx: String, _ cluster: ManualCluster, token: String) throws(HarnessError) {
        self.token = token
        folder = "\(cluster.folder.path)/nginx"
        certificate = "\(folder)/tls.crt"
        port = try Loopback.freePort()
        try Files.makeFolder(folder)
        let made = try Command.run(
            TestEnvironment.program("openssl"),
            [
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", "\(folder)/tls.key",
                "-out", certificate,
            ])
        guard made.code == 0 else { throw HarnessError("openssl: \(made.errorText)") }
        try Files.write(Array(try Self.configuration(folder, cluster, port: port).utf8), to: "\(folder)/nginx.conf")
        process = try RunningProcess(nginx, ["-p", folder, "-c", "\(folder)/nginx.conf"], log: "\(folder)/nginx")
        try eventually("nginx answers", within: 20) { () throws(HarnessError) in
            if let ending = try process.poll() { throw HarnessError("nginx \(ending): \(process.errorOutput)") }
            return Loopback.ask(port, .get("/"))?.status == 400
        }
    }

    /// The sample inside the least that nginx needs around it. Every word that is replaced must be there.
    private static func configuration(
        _ folder: String, _ cluster: ManualCluster, port: UInt16
    ) throws(HarnessError) -> String {
        var sample = Files.text(TestEnvironment.packageFolder + "/deploy/nginx.conf")
        for (word, mine) in [
            ("listen 443 ssl;", "listen 127.0.0.1:\(port) ssl;"),
            ("server 127.0.0.1:3333 ", "server 127.0.0.1:\(cluster.ports[0]) "),
            ("server 127.0.0.1:3334 ", "server 127.0.0.1:\(cluster.ports[1]) "),
            ("/etc/nginx/tallymill.crt", "\(folder)/tls.crt"), ("/etc/nginx/tallymill.key", "\(folder)/tls.key"),
            ("/var/log/nginx/tallymill.log", "\(folder)/access.log"), ("tally.example.org", "localhost"),
        ] {
            guard sample.contains(word) else { throw HarnessError("the sample has no `\(word)`") }
            sample = sample.replacing(word, with: mine)
        }
        let own = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map { "\($0)_temp_path \(folder)/\($0);" }
        return """
            daemon off;
            master_process off;
            pid \(folder)/nginx.pid;
            error_log \(folder)/error.log;
            events { worker_connections 256; }
            http {
            \(own.joined(separator: "\n"))
            \(sample)
            }
            """
    }

    func destroy() {
        do throws(HarnessError) { try process.kill9() } catch { note("cannot end nginx: \(error)") }
    }

    /// What curl prints, with the token.
    func curl(_ arguments: [String]) throws(HarnessError) -> String {
        let own = ["--cacert", certificate, "-H", "Authorization: Bearer \(token)"]
        return try Command.run(TestEnvironment.program("curl"), own + arguments).outputText
    }

    /// Posts, on some connections at a time, as many keys as told; prints a line `KEY STATUS` for each.
    func startLoad(requests: Int) throws(HarnessError) -> RunningProcess {
        var lines = [
            "cacert = \"\(certificate)\"", "oauth2-bearer = \"\(token)\"", "silent", "parallel",
            "parallel-max = \(Self.connections)", "data = \"\"",
            "write-out = \"%{filename_effective} %{http_code}\\n\"",
        ]
        for index in 0..<requests {
            lines.append("url = \"https://localhost:\(port)/increment?key=load:\(index)&value=1\"")
            lines.append("output = \"load:\(index)\"")
        }
        let file = "\(folder)/load"
        try Files.write(Array(lines.joined(separator: "\n").utf8), to: file)
        try Files.makeFolder("\(folder)/answers")
        return try RunningProcess(
            "/bin/sh", ["-c", "cd \"$0\" && exec curl --config \"$1\"", "\(folder)/answers", file],
            log: "\(folder)/load")
    }
}
