// A Redis that takes each connection, answers the first questions and then ends it: a tool waits between its calls.

import ServiceKit
import TestSupport
import Testing

@testable import Operations
@testable import RedisQueue

@Suite struct ToolRedisTests {
    @Test func callsThatAreCutOffAreFew() throws {
        let cluster = try TestCluster()
        let redis = ToolRedis(cluster.access, patienceMilliseconds: 2_000)
        var calls = 0
        #expect(throws: Failure.self) {
            try redis.call { _ throws(RedisError) in
                calls += 1
                throw .connectionLost("Server closed the connection")
            }
        }
        // Waits of up to 20, 40, 80, ... ms add up to the patience.
        #expect((3...60).contains(calls))
        // An answer ends the back-off, and the connection stays.
        #expect(try redis.call { keys throws(RedisError) in try keys.readTopology() } != nil)
    }
}
