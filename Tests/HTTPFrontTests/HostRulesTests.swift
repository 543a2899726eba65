// Who may ask a listener without tokens: programs of this machine, and no page in a browser on it.

import Testing
import Tokens

@testable import HTTPFront

@Suite struct HostRulesTests {
    private static let rules = HostRules(listener: "tally.test", allowed: ["Proxy.Example.org", "10.0.0.7", "fe80::1"])

    private func request(_ host: String?, _ fields: String = "", _ target: String = "POST /increment") -> String {
        let body = target.hasPrefix("POST") ? "key=a&value=1" : ""
        let type = body.isEmpty ? "" : "Content-Type: \(formType)\r\nContent-Length: \(body.utf8.count)\r\n"
        let line = host.map { "HTTP/1.1\r\nHost: \($0)\r\n" } ?? "HTTP/1.0\r\nConnection: keep-alive\r\n"
        return "\(target) \(line)\(fields)\(type)\r\n\(body)"
    }

    @Test(
        arguments: [
            nil, "127.0.0.1", "127.0.0.1:3333", "127.255.0.9", "localhost", "LOCALHOST:13333", "localhost.",
            "a.localhost", "[::1]:3333", "[::1]", "tally.test:1", "proxy.example.org", "10.0.0.7:80", "[FE80::1]:80",
        ] as [String?])
    func programsOfThisMachine(host: String?) throws {
        let embedded = EmbeddedFront(hosts: Self.rules)
        let client = try embedded.connect()
        for _ in 0..<2 { try client.send(request(host)) }
        // Heads with a query are not kept.
        for _ in 0..<2 { try client.send(request(host, "", "POST /increment?level=queued")) }
        #expect(try client.answers().map(\.status) == [200, 200, 200, 200])
        #expect(embedded.service.keys.count == 4)
        let other = try embedded.connect()
        try other.send(request("evil.test", "", "POST /increment?level=queued"))
        #expect(try other.answers().map(\.status) == [403])
    }

    @Test(
        arguments: [
            "evil.test", "evil.test:3333", "localhost.evil.test", "notlocalhost", ".localhost", "127.0.0.1.evil.test",
            "127.0.0.1e", "127.0.0", "127.0.0.0001", "127.0..1", "2130706433", "0.0.0.0", "[::]", "10.0.0.8",
            "1127.0.0.1",
        ])
    func otherHosts(host: String) throws {
        let embedded = EmbeddedFront(hosts: Self.rules)
        let pages = ["GET /ledger", "GET /status", "GET /metrics"]
        for target in ["POST /increment", "POST /increment?key=a&value=1"] + pages {
            let client = try embedded.connect()
            // The second comes from the cache of heads.
            for _ in 0..<2 {
                try client.send(request(host, "", target))
                let answers = try client.answers()
                guard let answer = answers.first else { continue }
                #expect(answer.status == 403, "\(target)")
                #expect(answer.body.contains("--allowed-hosts"))
                #expect(answer.fields["content-type"] == "application/problem+json")
            }
        }
        let client = try embedded.connect()
        try client.send(request(host, "", "GET /livez") + request(host, "", "GET /readyz"))
        #expect(try client.answers().map(\.status) == [200, 200], "balancers ask as they like")
        #expect(embedded.service.keys.isEmpty && embedded.service.documents == 0)
        #expect((embedded.front.statistics.rejected[.forbidden] ?? 0) >= 5)
    }

    @Test(
        arguments: [
            ("Origin: http://evil.test\r\n", 403), ("Origin: null\r\n", 403), ("Origin: file://x\r\n", 403),
            ("Origin: https://localhost.evil.test:3333\r\n", 403), ("Sec-Fetch-Site: cross-site\r\n", 403),
            ("sec-fetch-site: Cross-Site\r\nOrigin: http://localhost:8080\r\n", 403),
            ("Origin: http://localhost:8080\r\n", 200), ("Origin: http://[::1]\r\nSec-Fetch-Site: same-site\r\n", 200),
            ("Sec-Fetch-Site: none\r\n", 200), ("Sec-Fetch-Site: same-origin\r\n", 200),
            ("Origin: https://proxy.example.org\r\nSec-Fetch-Site: cross-site\r\n", 200),
        ])
    func pagesOfBrowsers(fields: String, status: Int) throws {
        let embedded = EmbeddedFront(hosts: Self.rules)
        let client = try embedded.connect()
        try client.send(request("127.0.0.1:3333", fields))
        #expect(try client.answers().map(\.status) == [status])
        #expect(embedded.service.keys.count == (status == 200 ? 1 : 0))
        let open = EmbeddedFront()
        let other = try open.connect()
        try other.send(request("evil.test", fields))
        #expect(try other.answers().map(\.status) == [200], "with tokens, or without a network, nobody asks")
    }

    @Test func twoOriginsAreMalformed() throws {
        #expect(try answers(to: request("h", "Origin: http://a\r\nOrigin: http://b\r\n")).map(\.status) == [400])
    }
}
