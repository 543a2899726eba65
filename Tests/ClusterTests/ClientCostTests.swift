// What clients cannot take from a node: its connection to Redis, its admin listener, and counts through a browser.

import ClusterSupport
import Glibc
import Testing

extension ClusterTests {
    @Suite struct ClientCostTests {
        @Test func socketsDoNotTakeAllDescriptors() throws {
            try ClusterTests.withPieces("descriptors", partitions: 1) { cluster in
                let admin = try Loopback.freePort()
                try cluster.startWeb(options: ["--event-loops", "1", "--admin-port", "\(admin)"], filesMax: 160)
                try cluster.waitUntilReady(0)
                let sockets = try (0..<400).map { _ in try HTTPConnection(port: cluster.ports[0], timeoutSeconds: 5) }
                try eventually("the admin listener answers", within: 10) {
                    Loopback.ask(admin, .get("/livez"))?.status == 200
                }
                try cluster.killRedis()
                try eventually("the loss of Redis is seen", within: 20) {
                    Loopback.ask(admin, .get("/readyz"))?.status == 503
                }
                try cluster.startRedis()
                try eventually("Redis is connected anew", within: 20) {
                    Loopback.ask(admin, .get("/readyz"))?.status == 200
                }
                try eventually("a client gets through", within: 10) {
                    Loopback.ask(cluster.ports[0], HTTPRequest("/increment?key=a&value=1"))?.status == 200
                }
                #expect(sockets.count == 400)
                let log = cluster.webs[0].errorOutput.split(separator: "\n")
                #expect(log.count { $0.contains("allows fewer connections than --max-connections") } == 1)
            }
        }

        @Test func tooFewDescriptorsAreNamed() throws {
            try ClusterTests.withPieces("few", partitions: 1) { cluster in
                try cluster.startWeb(options: ["--event-loops", "2"], filesMax: 64)
                let ending = try cluster.webs[0].waitForEnd(within: 20)
                #expect("\(ending)".contains("78"), "\(ending)")
                #expect(cluster.webs[0].errorOutput.contains("64 open files are too few for a web node"))
            }
        }

        @Test func pagesInABrowserDoNotCountOrRead() throws {
            try ClusterTests.withPieces("browser", partitions: 1) { cluster in
                let ports = [try Loopback.freePort(), try Loopback.freePort()]
                for (port, hosts) in zip(ports, ["proxy.test", "proxy.test,page.test"]) {
                    try cluster.startWeb(
                        options: ["--event-loops", "1", "--admin-port", "\(port)", "--allowed-hosts", hosts])
                }
                for node in 0..<2 {
                    try cluster.waitUntilReady(node)
                    let increment = HTTPRequest("/increment?key=a&value=1")
                    let expected = node == 0 ? 403 : 200
                    for (port, request) in [
                        (cluster.ports[node], increment), (cluster.ports[node], .get("/ledger")),
                        (ports[node], .get("/status")), (ports[node], .get("/metrics")),
                    ] {
                        #expect(Loopback.ask(port, request)?.status == 200)
                        var request = request
                        request.headers.append(("Origin", "https://page.test"))
                        #expect(Loopback.ask(port, request)?.status == expected)
                    }
                }
            }
        }
    }
}
