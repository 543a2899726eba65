// Redis is away for seconds and nothing restarts it; a web node is asked to end in mid-work; the user presses Ctrl-C.

import ClusterSupport
import Glibc
import ServiceKit
import Testing

extension ClusterTests {
    @Suite struct OutageTests {
        /// 503 at once with Retry-After while Redis is dead; what was admitted arrives; service returns within 3 s.
        @Test func redisIsAway() throws {
            try ClusterTests.withPieces("outage") { cluster in
                try cluster.startWeb()
                try cluster.startConsumer("0-3")
                try cluster.waitUntilReady(0)
                let load = Load(NodeBook([cluster.ports[0]]), writers: 4, seed: TestEnvironment.seed)
                defer { load.stop() }
                try eventually("requests are acknowledged", within: 20) { load.acknowledged(by: 0) > 100 }
                try cluster.killRedis()
                let away = Stopwatch()
                try eventually("the node says that it is not ready", within: 2) {
                    Loopback.ask(cluster.ports[0], .get("/readyz"))?.status == 503
                }
                let slowest = try askWhileAway(cluster.ports[0], away)
                try cluster.startRedis()
                let back = Stopwatch()
                let before = load.acknowledged(by: 0)
                try eventually("requests are acknowledged again", within: 3, everyMilliseconds: 2) {
                    load.acknowledged(by: 0) > before
                }
                let returned = back.text
                try eventually("the node is ready", within: 5) {
                    Loopback.ask(cluster.ports[0], .get("/readyz"))?.status == 200
                }
                let ledger = load.stop()
                try ClusterTests.checkComplaints(load)
                try cluster.settle(ledger)
                note(
                    "outage: Redis away for \(TestEnvironment.outageSeconds) s; slowest 503 \(fixed(slowest)) s, "
                        + "\(ledger.requests[.refused] ?? 0) refused, \(ledger.requests[.unknown] ?? 0) unknown, "
                        + "service back \(returned) s after Redis, exact")
            }
        }

        /// Posts until the time is over; each answer must be an immediate 503. The slowest, in seconds.
        private func askWhileAway(_ port: UInt16, _ away: Stopwatch) throws(HarnessError) -> Double {
            var slowest = 0.0
            var request = HTTPRequest("/increment")
            request.headers = [("Content-Type", "application/json")]
            request.body = Array(#"{"key":"never","value":1}"#.utf8)
            while away.seconds < Double(TestEnvironment.outageSeconds) {
                let watch = Stopwatch()
                let reply = Loopback.ask(port, request)
                guard let answer = reply else { throw HarnessError("no answer during the outage") }
                slowest = max(slowest, watch.seconds)
                try ClusterTests.check(
                    answer.status == 503, "\(answer.status) instead of 503 during the outage: \(answer.text)")
                try ClusterTests.check(answer.header("retry-after") != nil, "503 without Retry-After")
                let type = answer.header("content-type") ?? "none"
                try ClusterTests.check(type == "application/problem+json", "a 503 of type \(type)")
            }
            try ClusterTests.check(slowest < 1, "a 503 took \(slowest) s")
            return slowest
        }

        /// SIGTERM under load: exit 0, and whatever was acknowledged is there.
        @Test func aWebNodeDrains() throws {
            try ClusterTests.withPieces("drain") { cluster in
                for _ in 0..<2 { try cluster.startWeb() }
                try cluster.startConsumer("0-3")
                for web in 0..<2 { try cluster.waitUntilReady(web) }
                let nodes = NodeBook([cluster.ports[0]])
                let load = Load(nodes, writers: 4, seed: TestEnvironment.seed)
                defer { load.stop() }
                try eventually("requests are acknowledged", within: 20) { load.acknowledged(by: 0) > 100 }
                // Redis stands still, so that the drain has something to wait for.
                guard let redis = cluster.redis else { throw HarnessError("no Redis") }
                let observer = try connection(cluster.ports[0])
                try ClusterTests.check(status(observer, .get("/readyz")) == 200, "not ready under load")
                try redis.send(SIGSTOP)
                let admitted = Stopwatch()
                try eventually("requests wait for Redis", within: 2) { admitted.seconds > 0.2 }
                try cluster.webs[0].send(SIGTERM)
                let seen = try watchDrain(cluster, observer)
                nodes[0] = nil
                try redis.send(SIGCONT)
                let ending = try cluster.webs[0].waitForEnd(within: 20)
                try ClusterTests.check(ending == .code(0), "\(ending): \(tail(cluster.webs[0].errorOutput))")
                let ledger = load.stop()
                try ClusterTests.checkComplaints(load)
                try cluster.settle(ledger)
                note(
                    "drain: readyz \(seen) meanwhile; \(ledger.requests[.acknowledged] ?? 0) acknowledged, "
                        + "\(ledger.requests[.unknown] ?? 0) unknown, exit 0, exact")
            }
        }

        private func connection(_ port: UInt16) throws(HarnessError) -> HTTPConnection {
            do throws(HTTPTrouble) { return try HTTPConnection(port: port) } catch { throw HarnessError("\(error)") }
        }

        private func status(_ connection: HTTPConnection, _ request: HTTPRequest) -> Int? {
            do throws(HTTPTrouble) { return try connection.send(request).status } catch { return nil }
        }

        /// What the old connection and a new one see between SIGTERM and the end.
        private func watchDrain(_ cluster: ManualCluster, _ observer: HTTPConnection) throws(HarnessError) -> String {
            var old: Int?
            try eventually("/readyz fails after SIGTERM", within: 5) {
                old = status(observer, .get("/readyz"))
                return old != 200
            }
            try eventually("no new connection is served after SIGTERM", within: 5) {
                Loopback.ask(cluster.ports[0], .get("/readyz"))?.status != 200
            }
            try ClusterTests.check(
                try cluster.webs[0].poll() == nil, "the node ended before Redis had what it had admitted")
            try ClusterTests.check(old == 503, "readyz answered \(old.map { "\($0)" } ?? "nothing") instead of 503")
            return "503"
        }

        /// Ctrl-C under load: web, then consumers, then Redis; the total; exit 0; nothing left.
        @Test func upDrainsInOrder() throws {
            try ClusterTests.withUp("interrupt") { cluster in
                let nodes = NodeBook([cluster.port])
                let load = Load(nodes, writers: 4, seed: TestEnvironment.seed)
                defer { load.stop() }
                try eventually("requests are acknowledged", within: 20) { load.acknowledged(by: 0) > 200 }
                let children = ProcessTable.children(of: cluster.process.pid)
                let watch = Stopwatch()
                try cluster.process.send(SIGINT)
                let ends = try watchEnds(children)
                let ending = try cluster.process.waitForEnd(within: 20)
                let seconds = watch.text
                nodes[0] = nil
                let ledger = load.stop()
                try ClusterTests.check(ending == .code(0), "`up` \(ending): \(tail(cluster.process.errorOutput))")
                try checkOrder(children, ends)
                try cluster.settle(ledger, within: 0)
                let total = try cluster.report(["--summary"]).total
                let printed = (cluster.process.output + cluster.process.errorOutput).filter { !",_ '".contains($0) }
                try ClusterTests.check(
                    printed.contains("\(total)"), "the total \(total) is not in: \(tail(cluster.process.output))")
                let left = ProcessTable.naming(cluster.folder.path)
                try ClusterTests.check(left.isEmpty, "left behind: \(left)")
                note("interrupt: web, consumers, Redis in order in \(seconds) s; total \(total) printed; exact")
            }
        }

        /// When each process was first seen to have ended: the number of the look.
        private func watchEnds(_ children: [ProcessEntry]) throws(HarnessError) -> [Int32: Int] {
            var ends: [Int32: Int] = [:]
            var look = 0
            try eventually("every child of `up` ends", within: 20, everyMilliseconds: 1) {
                look += 1
                // Redis first: what ends between two looks of one pass then never seems to be out of order.
                for child in children.sorted(by: { Self.rank($0) > Self.rank($1) })
                where ends[child.pid] == nil && !ProcessTable.isRunning(child.pid) { ends[child.pid] = look }
                return ends.count == children.count
            }
            return ends
        }

        private static func rank(_ entry: ProcessEntry) -> Int {
            switch entry.role {
            case .web: 0
            case .consumer: 1
            case .redis: 2
            case .other: 3
            }
        }

        private func checkOrder(_ children: [ProcessEntry], _ ends: [Int32: Int]) throws(HarnessError) {
            let looks = { (role: ProcessEntry.Role) in children.filter { $0.role == role }.compactMap { ends[$0.pid] } }
            guard let web = looks(.web).max(), let first = looks(.consumer).min(),
                let last = looks(.consumer).max(), let redis = looks(.redis).min()
            else { throw HarnessError("the children of `up` are not what was expected: \(children)") }
            try ClusterTests.check(web <= first, "a consumer ended before the web node")
            try ClusterTests.check(last <= redis, "Redis ended before a consumer")
        }
    }
}
