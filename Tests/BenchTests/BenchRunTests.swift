// Whole runs against a server over real sockets, and the totals that it would report.

import Glibc
import ServiceKit
import TallyCore
import Testing

@testable import Bench

@Suite struct BenchRunTests {
    private static func plan(_ server: FakeServer) -> LoadPlan {
        var plan = LoadPlan(seed: 5, keysPrefix: "b:")
        plan.endpoint = Endpoint(host: "127.0.0.1", port: server.port)
        plan.rate = .perSecond(2_000)
        plan.durationMilliseconds = 200
        plan.patienceMilliseconds = 5_000
        plan.keys = 20
        plan.connections = 4
        return plan
    }

    private static func hooks(
        _ server: FakeServer, planted: [String: Int64] = [:], stopRequests: @escaping (Int) -> Int = { _ in 0 }
    ) -> BenchHooks {
        BenchHooks(
            counters: { prefix, body throws(Failure) in
                for (key, value) in server.counters where key.utf8.starts(with: prefix) {
                    // What is planted comes after the run: before it, nothing was counted.
                    body(Array(key.utf8), value + (planted[key] ?? 0))
                }
            },
            backlog: { () throws(Failure) in BenchHooks.Backlog(batches: 0, oldestSeconds: nil) },
            stopRequests: { milliseconds throws(Failure) in
                usleep(UInt32(milliseconds) * 1_000)  // the wait that it is asked for
                return stopRequests(milliseconds)
            })
    }

    private static func run(_ plan: LoadPlan, _ hooks: BenchHooks) throws -> BenchResult {
        var run = try BenchRun(plan, hooks: hooks)
        return try run.run()
    }

    /// Every request of the rate is sent, once, whatever becomes of the others; refused, lost and counted, and lost
    /// and not counted ones are told apart as far as a client can, and the sums hold.
    @Test(arguments: [1, 2]) func fatesOfAllKinds(threads: Int) throws {
        let server = FakeServer { number in
            switch number % 40 {
            case 7: .init(isCounted: false, answer: FakeServer.answer("503 Service Unavailable"))
            case 11: .init(isCounted: true, answer: FakeServer.answer("202 Accepted"))
            case 13: .init(isCounted: true, answer: nil)
            case 17: .init(isCounted: false, answer: nil)
            case 19: .init(isCounted: true, answer: FakeServer.answer("500 Internal Server Error"))
            case 23: .init(isCounted: false, answer: "HTTP/1.1 200 OK\r\n\r\n")
            default: .init()
            }
        }
        defer { server.stop() }
        var plan = Self.plan(server)
        plan.threads = threads
        let result = try Self.run(plan, Self.hooks(server))
        let load = try #require(result.load)
        #expect(load.requests == 400 && load.unsent == 0 && server.requests == 400)
        #expect(load.acknowledged == 350 && load.refused == 10 && load.unknown == 40)
        #expect(load.statuses[200] == 340 && load.statuses[202] == 10)
        #expect(load.statuses[503] == 10 && load.statuses[500] == 10)
        #expect(load.lostConnections == 30)
        let check = try #require(result.check)
        #expect(check.differences.isEmpty && check.keys == 20)
        #expect(result.exitCode == .ok)
        #expect(result.json.contains(#""sums":{"exact":true,"keys":20,"differences":0,"first":[],"#))
        #expect(result.table.contains("sums: exact for all 20 keys"))
    }

    /// One increment too many on one key: 3, and the key is named.
    @Test func aDifferenceEndsWith3() throws {
        let server = FakeServer()
        defer { server.stop() }
        var plan = Self.plan(server)
        plan.patienceMilliseconds = 100
        let result = try Self.run(plan, Self.hooks(server, planted: ["b:13": 1]))
        #expect(result.exitCode == .partial)
        let difference = try #require(result.check?.differences.first)
        #expect(result.check?.differences.count == 1 && difference.key == 13)
        #expect(difference.grown == (server.counters["b:13"].map { Int128($0) + 1 }))
        #expect(result.table.contains("SUMS DIFFER for 1 of 20 keys:\n  b:13: the total grew by "))
        #expect(result.json.contains(#""exact":false,"keys":20,"differences":1,"first":[{"key":"b:13","grown":"#))
    }

    /// A server that stalls for the whole run but for one connection is asked no less, and the wait shows.
    @Test func aStallShowsInTheLatencies() throws {
        let server = FakeServer { number in
            if number == 10 { usleep(150_000) }  // the stall
            return .init()
        }
        defer { server.stop() }
        var plan = Self.plan(server)
        plan.connections = 1
        let result = try Self.run(plan, Self.hooks(server))
        let load = try #require(result.load)
        #expect(load.acknowledged == 400)
        // 300 requests were due in the stall: a quarter of all waited for 75 ms and longer, though only one was slow.
        #expect(load.latencyMicroseconds(percent: 75) > 50_000)
        #expect(result.exitCode == .ok)
    }

    @Test func aFloodKeepsAllConnectionsBusy() throws {
        let server = FakeServer()
        defer { server.stop() }
        var plan = Self.plan(server)
        plan.rate = .flood
        let result = try Self.run(plan, Self.hooks(server))
        #expect((result.load?.acknowledged ?? 0) > 400 && result.exitCode == .ok)
        #expect(result.json.contains(#""load":{"rate":null,"#))
    }

    /// Parked connections send one increment each, stay open beside a load, and count in the sums.
    @Test func parkedConnectionsStay() throws {
        let server = FakeServer()
        defer { server.stop() }
        var plan = Self.plan(server)
        plan.parkedConnections = 70
        plan.serverProcess = getpid()
        let result = try Self.run(plan, Self.hooks(server))
        #expect(server.requests == 470 && result.load?.acknowledged == 400)
        let parked = try #require(result.parked)
        #expect(parked.answered == 70 && parked.openAtEnd == 70 && parked.residentPerConnection != nil)
        #expect(result.exitCode == .ok)
        #expect(result.table.contains("connections: 70 of 70 were answered, 70 were open at the end"))
    }

    /// Ctrl-C: what was sent is compared, the rest is told.
    @Test func stoppedEarly() throws {
        let server = FakeServer()
        defer { server.stop() }
        var plan = Self.plan(server)
        plan.durationMilliseconds = 60_000
        let hooks = Self.hooks(server) { _ in server.requests > 50 ? 1 : 0 }
        let result = try Self.run(plan, hooks)
        let load = try #require(result.load)
        #expect(load.requests + load.unsent == 120_000 && load.unsent > 0 && load.acknowledged > 50)
        #expect(result.exitCode == .ok && result.table.contains("not sent"))
    }

    /// Nobody serves: 69 at once, with what to do.
    @Test func nobodyServes() throws {
        let server = FakeServer()
        let plan = Self.plan(server)
        server.stop()
        let failure = #expect(throws: Failure.self) { try Self.run(plan, Self.hooks(server)) }
        #expect(failure?.code == .unavailable)
        #expect(failure?.sentence == "cannot connect to the server: Connection refused")
        var parked = plan
        parked.rate = .none
        parked.parkedConnections = 3
        let second = #expect(throws: Failure.self) { try Self.run(parked, Self.hooks(server)) }
        #expect(second == failure)
    }

    /// Nothing was acknowledged, and nothing counted: 1.
    @Test func allRefused() throws {
        let server = FakeServer { _ in .init(isCounted: false, answer: FakeServer.answer("503 Service Unavailable")) }
        defer { server.stop() }
        let result = try Self.run(Self.plan(server), Self.hooks(server))
        #expect(result.load?.refused == 400 && result.exitCode == .failure && result.check?.differences.isEmpty == true)
    }
}
