// Many increments through `up`: text lines of 1,000, over a tenth as many keys, each sum known beforehand.

import ClusterSupport
import Glibc
import ServiceKit
import Synchronization
import Testing

extension ClusterTests {
    @Suite struct ThroughputTests {
        private static let linesPerRequest = 1000
        private static let writers = 4

        @Test func totalsOfManyIncrementsAreExact() throws {
            try ClusterTests.withUp("throughput") { cluster in
                let increments = TestEnvironment.increments
                let keys = max(1, increments / 10)
                let requests = increments / Self.linesPerRequest
                let trouble = Mutex<[String]>([])
                let watch = Stopwatch()
                let threads = (0..<Self.writers).map { [port = cluster.port] writer in
                    ServiceThread(name: "bulk-\(writer)") {
                        do throws(HarnessError) {
                            try Self.post(port, stride(from: writer, to: requests, by: Self.writers), keys)
                        } catch {
                            trouble.withLock { $0.append("\(error)") }
                        }
                    }
                }
                for thread in threads { thread.join() }
                let posted = watch.text
                let messages = trouble.withLock(\.self)
                try ClusterTests.check(messages.isEmpty, "\(messages)")
                let expected = Self.expected(requests * Self.linesPerRequest, keys)
                let total = expected.values.reduce(Int128(0)) { $0 + Int128($1) }
                try eventually("the total is exact", within: 120, everyMilliseconds: 50) { () throws(HarnessError) in
                    try cluster.report(["--summary"]).total == total
                }
                let stored = watch.text
                let report = try cluster.report()
                try ClusterTests.check(report.counters == expected, "the total is exact, but not every counter")
                note(
                    "throughput: \(increments) increments over \(keys) keys: acknowledged after \(posted) s, "
                        + "in the shards after \(stored) s; total \(total) exact, every key exact")
            }
        }

        private static func delta(_ number: Int, _ keys: Int) -> Int64 { Int64(number / keys + 1) }

        private static func expected(_ increments: Int, _ keys: Int) -> [String: Int64] {
            var sums: [String: Int64] = [:]
            for number in 0..<increments { sums["key:\(number % keys)", default: 0] += delta(number, keys) }
            return sums
        }

        private static func post(_ port: UInt16, _ requests: StrideTo<Int>, _ keys: Int) throws(HarnessError) {
            var connection: HTTPConnection?
            for request in requests {
                let lines = (0..<linesPerRequest).map { line in
                    let number = request * linesPerRequest + line
                    return Posting.Increment("key:\(number % keys)", delta(number, keys))
                }
                var post = HTTPRequest("/increments")
                post.headers = [("Content-Type", "text/plain")]
                post.body = Array(RequestMaker.lines(lines).utf8)
                var status = 503
                while status == 503 {
                    do throws(HTTPTrouble) {
                        if connection?.isOpen != true { connection = try HTTPConnection(port: port) }
                        if let connection { status = try connection.send(post).status }
                    } catch {
                        throw HarnessError("request \(request): \(error)")
                    }
                    if status == 503 { usleep(20_000) }  // a pace: the backlog is at its bound
                }
                guard status == 200 || status == 202 else { throw HarnessError("request \(request): \(status)") }
            }
        }
    }
}
