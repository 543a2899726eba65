// Rounds of kill -9 under load: the web node, a consumer, Redis, several at once, everything, `up` alone, and a Redis
// that stands still. After each round everything must come back by itself and every increment must be where its
// answer said.
//
// The order of the strikes comes from the seed; each of them happens once in every twelve rounds.

import ClusterSupport
import Glibc
import ServiceKit
import Testing

extension ClusterTests {
    @Suite struct ChaosTests {
        @Test func nothingIsLostOrDoubledWhateverIsKilled() throws {
            try ClusterTests.withUp("chaos") { cluster in
                let seed = TestEnvironment.seed
                note("chaos: seed \(seed), \(TestEnvironment.rounds) rounds, in \(cluster.folder.path)")
                let run = try ChaosRun(cluster, seed: seed)
                defer { run.end() }
                for round in 1...TestEnvironment.rounds {
                    do throws(HarnessError) {
                        try run.round(round)
                    } catch {
                        throw HarnessError("TALLYMILL_SEED=\(seed), round \(round), \(run.strike): \(error)")
                    }
                }
                try run.finish()
            }
        }
    }
}

/// What a round does to the cluster.
private enum Strike: String, CaseIterable {
    case web, consumer, redis, webAndConsumer, webAndRedis, redisAndConsumers, allChildren, upAlone
    case secondNode, bothNodes, redisStandsStill, everything
}

/// A cluster of `up` with a second web node beside it, under load.
private final class ChaosRun {
    private let cluster: UpCluster
    private let nodes: NodeBook
    private let load: Load
    private var random: SeededRandom
    private var strikes: [Strike] = []
    private(set) var strike: Strike = .web
    private var secondNode: RunningProcess
    private let secondPort: UInt16
    private var secondStarts = 1
    private let watch = Stopwatch()

    init(_ cluster: UpCluster, seed: UInt64) throws(HarnessError) {
        self.cluster = cluster
        random = SeededRandom(seed: seed)
        secondPort = try Loopback.freePort()
        secondNode = try Self.startSecond(cluster, secondPort, start: 1)
        nodes = NodeBook([cluster.port, secondPort])
        load = Load(nodes, writers: 4, seed: seed)
    }

    private static func startSecond(_ cluster: UpCluster, _ port: UInt16, start: Int) throws(HarnessError)
        -> RunningProcess
    {
        try RunningProcess(
            TestEnvironment.binary(), ["web", "--listen", "127.0.0.1:\(port)", "--data-dir", cluster.dataFolder],
            log: "\(cluster.folder.path)/web-second-\(start)")
    }

    /// Load, a strike, recovery, more load, and the totals.
    func round(_ number: Int) throws(HarnessError) {
        if strikes.isEmpty { strikes = Strike.allCases.shuffled(using: &random) }
        strike = strikes.removeLast()
        let before = load.ledger
        let roundWatch = Stopwatch()
        try waitForWork(requests: 60, "before the strike")
        try perform(strike)
        let recovery = Stopwatch()
        try waitUntilWhole()
        let back = recovery.text
        try waitForWork(requests: 60, "after the strike")
        try load.pause()
        try ClusterTests.checkComplaints(load)
        let ledger = load.ledger
        let settling = Stopwatch()
        try cluster.settle(ledger)
        let change = { (fate: Fate) in (ledger.increments[fate] ?? 0) - (before.increments[fate] ?? 0) }
        note(
            "round \(number): \(strike): back after \(back) s, exact after \(settling.text) s; increments: "
                + "\(change(.acknowledged)) acknowledged, \(change(.refused)) refused, \(change(.unknown)) unknown; "
                + "\(roundWatch.text) s")
        load.resume()
    }

    /// Everything once more, when nothing can be under way any longer.
    func finish() throws(HarnessError) {
        let ledger = load.stop()
        try secondNode.send(SIGTERM)
        let second = try secondNode.waitForEnd(within: 20)
        try ClusterTests.check(second == .code(0), "the second node \(second)")
        try ClusterTests.interrupt(cluster)
        try cluster.settle(ledger, within: 0)
        let requests = ledger.requests
        note(
            "chaos: \(TestEnvironment.rounds) rounds in \(watch.text) s; requests: \(requests[.acknowledged] ?? 0) "
                + "acknowledged, \(requests[.refused] ?? 0) refused, \(requests[.unknown] ?? 0) unknown; increments "
                + "acknowledged: \(ledger.increments[.acknowledged] ?? 0); lost 0, doubled 0")
    }

    func end() {
        load.stop()
        do throws(HarnessError) { try secondNode.kill9() } catch { note("cannot end the second node: \(error)") }
    }

    /// Waits until each node has acknowledged that many requests more.
    private func waitForWork(requests: Int, _ when: String) throws(HarnessError) {
        let goals = (0..<nodes.count).map { load.acknowledged(by: $0) + requests }
        let text = "each node acknowledges \(requests) requests \(when)"
        do throws(HarnessError) {
            try eventually(text, within: 30) {
                goals.indices.allSatisfy { load.acknowledged(by: $0) >= goals[$0] }
            }
        } catch {
            let reached = goals.indices.map { load.acknowledged(by: $0) - goals[$0] + requests }
            throw HarnessError("\(error); reached \(reached); \(load.complaints.first ?? "no complaints")")
        }
    }

    private func perform(_ strike: Strike) throws(HarnessError) {
        let web = cluster.children(.web)
        let consumers = cluster.children(.consumer).shuffled(using: &random)
        let redis = cluster.children(.redis)
        switch strike {
        case .web: cluster.signal(SIGKILL, web)
        case .consumer: cluster.signal(SIGKILL, Array(consumers.prefix(1)))
        case .redis: cluster.signal(SIGKILL, redis)
        case .webAndConsumer: cluster.signal(SIGKILL, web + consumers.prefix(1))
        case .webAndRedis: cluster.signal(SIGKILL, web + redis)
        case .redisAndConsumers: cluster.signal(SIGKILL, redis + consumers.prefix(2))
        case .allChildren: cluster.signal(SIGKILL, web + consumers + redis)
        case .secondNode: try secondNode.kill9()
        case .bothNodes:
            cluster.signal(SIGKILL, web)
            try secondNode.kill9()
        case .redisStandsStill: try standStill(redis)
        case .upAlone: try restartUp()
        case .everything:
            try secondNode.kill9()
            try restartUp()
        }
        if try secondNode.poll() != nil {
            secondStarts += 1
            secondNode = try Self.startSecond(cluster, secondPort, start: secondStarts)
        }
    }

    /// Long enough that clients see it: until one was refused or not answered in time, or for two seconds.
    private func standStill(_ redis: [ProcessEntry]) throws(HarnessError) {
        let refused = load.ledger.requests[.refused] ?? 0
        let span = Stopwatch()
        cluster.signal(SIGSTOP, redis)
        defer { cluster.signal(SIGCONT, redis) }
        try eventually("two seconds have gone or somebody was refused", within: 10) {
            span.seconds > 2 || (load.ledger.requests[.refused] ?? 0) > refused
        }
    }

    private func restartUp() throws(HarnessError) {
        nodes[0] = nil
        try cluster.killAlone()
        try cluster.startAgain()
        nodes[0] = cluster.port
    }

    private func waitUntilWhole() throws(HarnessError) {
        try eventually("everything is back and both nodes are ready", within: 30) { () throws(HarnessError) in
            if let ending = try cluster.process.poll() {
                throw HarnessError("`up` \(ending): \(tail(cluster.process.errorOutput))")
            }
            if let ending = try secondNode.poll() {
                throw HarnessError("the second node \(ending): \(tail(secondNode.errorOutput))")
            }
            guard cluster.isComplete else { return false }
            return cluster.isReady && Loopback.ask(secondPort, .get("/readyz"))?.status == 200
        }
    }
}
