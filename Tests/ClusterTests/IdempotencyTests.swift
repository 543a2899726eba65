// One request with one Idempotency-Key, a hundred times, through two web nodes that are killed meanwhile.

import ClusterSupport
import Glibc
import ServiceKit
import Testing

extension ClusterTests {
    @Suite struct IdempotencyTests {
        private static let times = 100

        @Test func aHundredTimesCountsOnce() throws {
            try ClusterTests.withUp("idempotency") { cluster in
                let port = try Loopback.freePort()
                var starts = 0
                func startSecond() throws(HarnessError) -> RunningProcess {
                    starts += 1
                    return try RunningProcess(
                        TestEnvironment.binary(),
                        ["web", "--listen", "127.0.0.1:\(port)", "--data-dir", cluster.dataFolder],
                        log: "\(cluster.folder.path)/web-second-\(starts)")
                }
                var second = try startSecond()
                defer { do throws(HarnessError) { try second.kill9() } catch { note("\(error)") } }
                var random = SeededRandom(seed: TestEnvironment.seed)
                var statuses: [Int: Int] = [:]
                for number in 0..<Self.times {
                    if number % 10 == 5 { try strike(cluster, second, number / 10, &random) }
                    if try second.poll() != nil { second = try startSecond() }
                    let status = Loopback.ask(number % 2 == 0 ? cluster.port : port, request)?.status ?? 0
                    statuses[status, default: 0] += 1
                    // A 503 and no answer are the world's business; half of all must have got through.
                    try ClusterTests.check([200, 202, 503, 0].contains(status), "answer \(status)")
                    if number % 10 == 9 { try waitUntilWhole(cluster, port) }
                }
                try check(cluster, statuses)
            }
        }

        private var request: HTTPRequest {
            var request = HTTPRequest("/increments")
            request.headers = [("Content-Type", "application/json"), ("Idempotency-Key", "only-once")]
            // Seven keys reach several partitions; `a` is repeated, and the request is summed by key.
            request.body = Array(#"{"a":1,"b":20,"c":300,"d":4000,"e":50000,"f":-6,"g":0,"a":1}"#.utf8)
            return request
        }

        private func strike(_ cluster: UpCluster, _ second: RunningProcess, _ number: Int, _ random: inout SeededRandom)
            throws(HarnessError)
        {
            switch number % 4 {
            case 0: cluster.signal(SIGKILL, cluster.children(.web))
            case 1: try second.kill9()
            case 2: cluster.signal(SIGKILL, cluster.children(.redis))
            default: cluster.signal(SIGKILL, Array(cluster.children(.consumer).shuffled(using: &random).prefix(2)))
            }
        }

        private func waitUntilWhole(_ cluster: UpCluster, _ port: UInt16) throws(HarnessError) {
            try eventually("both nodes are ready again", within: 20) {
                cluster.isComplete && cluster.isReady && Loopback.ask(port, .get("/readyz"))?.status == 200
            }
        }

        private func check(_ cluster: UpCluster, _ statuses: [Int: Int]) throws(HarnessError) {
            let acknowledged = statuses[200] ?? 0
            try ClusterTests.check(acknowledged >= Self.times / 4, "too few were acknowledged: \(statuses)")
            let expected: [String: Int64] = ["a": 2, "b": 20, "c": 300, "d": 4000, "e": 50000, "f": -6, "g": 0]
            var counters: [String: Int64] = [:]
            do throws(HarnessError) {
                try eventually("the request is counted", within: 20) { () throws(HarnessError) in
                    counters = try cluster.report().counters
                    return counters == expected
                }
            } catch {
                throw HarnessError("\(error): \(counters) instead of \(expected)")
            }
            // Nothing may follow: after the drain the totals are final.
            try ClusterTests.interrupt(cluster)
            counters = try cluster.report().counters
            try ClusterTests.check(counters == expected, "after the drain: \(counters)")
            note("idempotency: 100 times, answers \(statuses.sorted { $0.key < $1.key }), counted once")
        }
    }
}
