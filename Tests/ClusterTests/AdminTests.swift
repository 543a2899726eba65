// The admin listeners of real roles: what they say of real work, while Redis is away, and to whom they say it.

import ClusterSupport
import Glibc
import ServiceKit
import Telemetry
import Testing

extension ClusterTests {
    @Suite struct AdminTests {
        /// A web node and a consumer of two partitions, with admin listeners at known ports.
        private func withAdmin(
            _ name: String, _ body: (ManualCluster, _ web: UInt16, _ consumer: UInt16) throws -> Void
        ) throws {
            try ClusterTests.withPieces(name, partitions: 2) { cluster in
                let (web, consumer) = (try Loopback.freePort(), try Loopback.freePort())
                try cluster.startWeb(options: ["--admin-port", "\(web)"])
                try cluster.startConsumer("0-1", options: ["--admin-port", "\(consumer)"])
                try cluster.waitUntilReady(0)
                try eventually("both roles are ready", within: 20) {
                    Loopback.ask(web, .get("/readyz"))?.status == 200
                        && Loopback.ask(consumer, .get("/readyz"))?.status == 200
                }
                try body(cluster, web, consumer)
            }
        }

        private func post(_ port: UInt16, _ target: String, _ json: String, key: String? = nil) -> Int? {
            var request = HTTPRequest(target)
            request.headers = [("Content-Type", "application/json")]
            if let key { request.headers.append(("Idempotency-Key", key)) }
            request.body = Array(json.utf8)
            return Loopback.ask(port, request)?.status
        }

        @Test func everyMetricIsThereAndMoves() throws {
            try withAdmin("metrics") { cluster, web, consumer in
                let port = cluster.ports[0]
                #expect(post(port, "/increment?level=memory", #"{"key":"a","value":1}"#) == 200)
                #expect(post(port, "/increments", #"[{"key":"a","value":1},{"key":"a","value":2}]"#) == 200)
                #expect(post(port, "/increment?level=stored", #"{"key":"b","value":9223372036854775807}"#) == 200)
                #expect(post(port, "/increment?level=stored", #"{"key":"b","value":1}"#) == 200)
                for _ in 0..<2 {
                    #expect(post(port, "/increment?level=stored", #"{"key":"c","value":1}"#, key: "k") == 200)
                }
                #expect(post(port, "/increment", #"{"key":"","value":1}"#) == 422)
                #expect(Loopback.ask(port, .get("/nothing"))?.status == 404)
                let node: [String: Double] = [
                    #"tallymill_requests_accepted_total{level="memory"}"#: 1,
                    #"tallymill_requests_accepted_total{level="queued"}"#: 1,
                    #"tallymill_requests_accepted_total{level="stored"}"#: 4,
                    #"tallymill_requests_rejected_total{reason="unprocessable_content"}"#: 1,
                    #"tallymill_requests_rejected_total{reason="not_found"}"#: 1,
                    "tallymill_increments_accepted_total": 7, "tallymill_epoch": 1, "tallymill_ready": 1,
                    "tallymill_redis_reachable": 1,
                ]
                try eventually("the web node shows what it has done", within: 10) {
                    let seen = Loopback.metrics(web)
                    return node.allSatisfy { seen[$0.key] == $0.value }
                }
                try eventually("the consumer shows what it has done", within: 10) {
                    let seen = Loopback.metrics(consumer)
                    func sum(_ name: String) -> Double {
                        (0...1).reduce(0) { $0 + (seen["tallymill_\(name){partition=\"\($1)\"}"] ?? .nan) }
                    }
                    return sum("increments_applied_total") == 5 && sum("increments_dead_total") == 1
                        && sum("increments_repeated_total") == 1 && sum("dead_letters") == 1 && sum("shard_keys") == 3
                        && sum("consumer_consuming") == 2 && sum("queue_batches") == 0
                        && sum("commit_seconds_count") > 0 && sum("batches_applied_total") > 0
                        && sum("shard_bytes") > 8_192
                }
                try everyName(of: Metric.ofBoth + Metric.ofNode, at: web)
                try everyName(of: Metric.ofBoth + Metric.ofConsumer, at: consumer)
            }
        }

        /// The page has each of these metrics and no other, and Prometheus' own tool accepts it.
        private func everyName(of metrics: [Metric], at port: UInt16) throws {
            let page = try #require(Loopback.ask(port, .get("/metrics")))
            #expect(page.header("content-type") == "text/plain; version=0.0.4; charset=utf-8")
            let names = page.text.split(separator: "\n").filter { $0.hasPrefix("# TYPE ") }.map {
                $0.split(separator: " ")[2]
            }
            #expect(Set(names.map(String.init)) == Set(metrics.map(\.name)))
            guard let promtool = try? TestEnvironment.program("promtool") else {
                return note("promtool is not installed: the form of /metrics is not checked by it")
            }
            try ClusterTests.inFolder("promtool") { folder in
                try Files.write(page.body, to: folder.path + "/page")
                let script = "exec \"$0\" check metrics < \"$1\""
                let result = try Command.run("/bin/sh", ["-c", script, promtool, folder.path + "/page"])
                #expect(result.code == 0, "\(result.outputText)\(result.errorText)")
            }
        }

        @Test func whileRedisIsAway() throws {
            try withAdmin("admin-outage") { cluster, web, consumer in
                try cluster.killRedis()
                try eventually("neither role is ready", within: 20) {
                    Loopback.ask(web, .get("/readyz"))?.status == 503
                        && Loopback.ask(consumer, .get("/readyz"))?.status == 503
                }
                // Only itself: a supervisor that restarted the roles now would help nobody.
                for port in [web, consumer] { #expect(Loopback.ask(port, .get("/livez"))?.status == 200) }
                #expect(
                    Loopback.ask(web, .get("/readyz"))?.text == #"{"ready":false,"reason":"Redis does not answer"}"#)
                #expect(post(cluster.ports[0], "/increment", #"{"key":"a","value":1}"#) == 503)
                try eventually("the outage shows in the figures", within: 10) {
                    let (node, consumer) = (Loopback.metrics(web), Loopback.metrics(consumer))
                    return node[#"tallymill_requests_rejected_total{reason="redis_unreachable"}"#] == 1
                        && node["tallymill_redis_disconnections_total"] ?? 0 > 0 && node["tallymill_ready"] == 0
                        && node["tallymill_redis_reachable"] == 0 && consumer["tallymill_ready"] == 0
                        && consumer[#"tallymill_consumer_redis_failures_total{partition="0"}"#] ?? 0 > 0
                }
                try cluster.startRedis()
                try eventually("both roles are ready again", within: 20) {
                    Loopback.ask(web, .get("/readyz"))?.status == 200
                        && Loopback.ask(consumer, .get("/readyz"))?.status == 200
                }
            }
        }

        @Test func statusIsJSON() throws {
            try withAdmin("admin-status") { cluster, web, consumer in
                let node = try JSONTree(Loopback.ask(web, .get("/status"))?.body ?? [])
                #expect(node["role"]?.text == "web")
                #expect(node["ready"]?.isTrue == true)
                #expect(node["address"]?.text == "127.0.0.1:\(cluster.ports[0])")
                #expect(node["pid"]?.integer() == cluster.webs[0].pid)
                #expect(node["queues"]?.elements.count == 2)
                let consumer = try JSONTree(Loopback.ask(consumer, .get("/status"))?.body ?? [])
                #expect(consumer["role"]?.text == "consumer")
                #expect(
                    consumer["partitions"]?.elements.compactMap { $0["state"]?.text } == ["consuming", "consuming"])
            }
        }

        @Test func anAdminListenerTakesNoIncrements() throws {
            try withAdmin("admin-routes") { cluster, web, consumer in
                for port in [web, consumer] {
                    for path in ["/increment", "/increments", "/ledger"] {
                        #expect(post(port, path, "{}") == (path == "/ledger" ? 405 : 404), "\(path)")
                    }
                    #expect(Loopback.ask(port, .get("/ledger"))?.status == 404)
                    #expect(post(port, "/metrics", "{}") == 405)
                }
                // And the listener of clients has no figures.
                for path in ["/status", "/metrics"] {
                    #expect(Loopback.ask(cluster.ports[0], .get(path))?.status == 404)
                }
            }
        }

        /// Other machines' address: 78 without tokens; with them, only who has the scope admin reads a page.
        @Test func anOpenAdminListenerDemandsTokens() throws {
            try ClusterTests.withPieces("admin-open", partitions: 1) { cluster in
                let port = try Loopback.freePort()
                let open = ["--admin-host", "0.0.0.0", "--admin-port", "\(port)"]
                let refused = try Command.tallymill(["consume", "--partitions", "0"] + open + cluster.place)
                #expect(refused.code == 78)
                #expect(
                    refused.errorText == """
                        tallymill: 0.0.0.0:\(port): more than this machine reaches this address, \
                        and no tokens are demanded
                          Make one, `tallymill token new NAME --scopes admin --append FILE`, and name the file with \
                        --tokens-file; or leave --admin-host at 127.0.0.1.

                        """)
                let file = cluster.folder.path + "/tokens"
                func token(_ name: String, _ scope: String) throws -> String {
                    let made = try Command.tallymill(["token", "new", name, "--scopes", scope, "--append", file])
                    return String(made.outputText.dropLast())
                }
                let (writer, admin) = (try token("shop", "write"), try token("operator", "admin"))
                try cluster.startConsumer("0", options: open + ["--tokens-file", file])
                func status(_ page: String, _ token: String?) -> Int? {
                    var request = HTTPRequest.get(page)
                    if let token { request.headers.append(("Authorization", "Bearer \(token)")) }
                    return Loopback.ask(port, request)?.status
                }
                try eventually("the consumer is ready", within: 20) { status("/readyz", nil) == 200 }
                #expect(status("/livez", nil) == 200)
                for page in ["/status", "/metrics"] {
                    #expect(status(page, nil) == 401)
                    #expect(status(page, writer) == 403)
                    #expect(status(page, admin) == 200)
                }
            }
        }

        @Test func aTakenPortIsNamed() throws {
            try ClusterTests.withPieces("admin-port", partitions: 1) { cluster in
                let port = try Loopback.freePort()
                try cluster.startWeb(options: ["--admin-port", "\(port)"])
                try cluster.waitUntilReady(0)
                let result = try Command.tallymill(
                    ["consume", "--partitions", "0", "--admin-port", "\(port)"] + cluster.place)
                #expect(result.code == 69)
                #expect(
                    result.errorText == """
                        tallymill: cannot listen on 127.0.0.1:\(port): Address already in use
                          Another program may have it: --admin-port takes another one, 0 lets the system choose.

                        """)
            }
        }
    }
}
