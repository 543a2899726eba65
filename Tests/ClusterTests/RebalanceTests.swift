// The number of partitions changes under load, with whatever dies at whatever step.
//
// The tool is stopped (SIGSTOP) by itself right before the step of a given number; then something is killed, and it
// goes on or is resumed. Every total must be exact afterwards, and no request may fail for the change alone.

import ClusterSupport
import Glibc
import ServiceKit
import Testing

extension ClusterTests {
    @Suite struct RebalanceTests {
        @Test func growsAndShrinksWithoutAFailedRequest() throws {
            try ClusterTests.withUp("rebalance", partitions: 1) { cluster in
                let load = Load(NodeBook([cluster.port]), writers: 4, seed: TestEnvironment.seed)
                defer { load.stop() }
                for partitions in [4, 7, 3, 8] {
                    try Self.waitForWork(load, requests: 200)
                    let watch = Stopwatch()
                    try Self.rebalance(cluster, ["run", "--to", "\(partitions)", "--yes"])
                    let took = watch.text
                    cluster.partitions = partitions
                    try Self.waitForWork(load, requests: 200)
                    try load.pause()
                    try ClusterTests.checkComplaints(load)
                    let ledger = load.ledger
                    try cluster.settle(ledger)
                    let failed = (ledger.requests[.refused] ?? 0) + (ledger.requests[.unknown] ?? 0)
                    try ClusterTests.check(failed == 0, "\(failed) requests failed on the way to \(partitions)")
                    let report = try cluster.report()
                    try ClusterTests.check(report.partitions == partitions, "the report has \(report.partitions)")
                    note(
                        "rebalance to \(partitions): \(took) s, \(ledger.requests[.acknowledged] ?? 0) requests "
                            + "acknowledged so far, 0 failed, exact")
                    load.resume()
                }
                load.stop()
                try cluster.settle(load.ledger)
                try Self.prove(cluster)
                try ClusterTests.interrupt(cluster)
            }
        }

        /// Who consumes is named, with the command that stops it; nothing has happened.
        @Test func runningConsumersAreNamed() throws {
            try ClusterTests.withPieces("consuming") { cluster in
                try cluster.startWeb()
                try cluster.waitUntilReady(0)
                let index = try cluster.startConsumer("0-3")
                let pid = cluster.consumers[index].pid
                try eventually("all partitions are consumed", within: 20) { () throws(HarnessError) in
                    let status = try Command.tallymill(["status"] + cluster.place)
                    return status.code == 0 && !status.outputText.contains("nobody")
                }
                let refused = try Command.tallymill(["rebalance", "run", "--to", "7", "--yes"] + cluster.place)
                try ClusterTests.check(refused.code == 75, "exit \(refused.code)")
                try ClusterTests.check(
                    refused.errorText.hasSuffix(
                        """
                        tallymill: consumers are running:
                          partition 0: process \(pid)
                          partition 1: process \(pid)
                          partition 2: process \(pid)
                          partition 3: process \(pid)
                          Stop them and run this again; web nodes go on:
                            kill \(pid)

                        """), refused.errorText)
                let resume = try Command.tallymill(["rebalance", "resume"] + cluster.place)
                try ClusterTests.check(
                    resume.code == 0 && resume.outputText == "nothing to resume\n",
                    "\(resume.code) \(resume.outputText)")
                let same = try Command.tallymill(["rebalance", "run", "--to", "4"] + cluster.place)
                try ClusterTests.check(
                    same.code == 0 && same.outputText == "nothing to do: epoch 1 has 4 partitions\n",
                    "\(same.code) \(same.outputText)")
            }
        }

        /// Steps 1 to 20 of 4 -> 3, and of the way back; every third victim at each in the short form, all three of
        /// them with TALLYMILL_KILLS=all.
        @Test func killedAtEveryStep() throws {
            try ClusterTests.withUp("kill-matrix", partitions: 4) { cluster in
                let nodes = NodeBook([cluster.port])
                let load = Load(nodes, writers: 3, seed: TestEnvironment.seed)
                defer { load.stop() }
                let watch = Stopwatch()
                var strikes = 0
                for (index, strike) in Self.strikes.enumerated() {
                    let target = cluster.partitions == 4 ? 3 : 4
                    do throws(HarnessError) {
                        try Self.change(cluster, to: target, strike)
                        cluster.partitions = target
                        try Self.waitForWork(load, requests: 30)
                        try load.pause()
                        try ClusterTests.checkComplaints(load)
                        try cluster.settle(load.ledger)
                        load.resume()
                    } catch {
                        throw HarnessError("strike \(index), \(strike.victim) before step \(strike.step): \(error)")
                    }
                    strikes += 1
                }
                let ledger = load.stop()
                try cluster.settle(ledger)
                try Self.prove(cluster)
                try ClusterTests.interrupt(cluster)
                note(
                    "kill matrix: \(strikes) strikes in \(watch.text) s; increments acknowledged: "
                        + "\(ledger.increments[.acknowledged] ?? 0); lost 0, doubled 0")
            }
        }
    }
}

extension ClusterTests.RebalanceTests {
    enum Victim: String, CaseIterable { case tool, redis, web }

    struct Strike {
        let step: Int
        let victim: Victim
    }

    /// The first and the last step of each kind of 4 -> 3 and 3 -> 4, which have 20 and 20 steps before old key groups.
    static let strikes: [Strike] = {
        let steps = [1, 2, 4, 5, 6, 9, 10, 13, 14, 15, 16, 17, 19, 20]
        let all = steps.flatMap { step in Victim.allCases.map { Strike(step: step, victim: $0) } }
        if TestEnvironment.runsAllKills { return all }
        return all.enumerated().filter { $0.offset % 3 == $0.offset / 3 % 3 }.map(\.element)
    }()

    static func waitForWork(_ load: Load, requests: Int) throws(HarnessError) {
        let goal = load.acknowledged(by: 0) + requests
        try eventually("the node acknowledges \(requests) requests", within: 30) { load.acknowledged(by: 0) >= goal }
    }

    /// Nothing is found and nothing is missing.
    static func prove(_ cluster: UpCluster) throws(HarnessError) {
        for command in [["verify"], ["audit", "--node", "http://127.0.0.1:\(cluster.port)"]] {
            let result = try Command.tallymill(command + ["--data-dir", cluster.dataFolder], within: 60)
            try ClusterTests.check(
                result.code == 0, "\(command) ended with \(result.code): \(result.outputText) \(result.errorText)")
        }
    }

    static func rebalance(_ cluster: UpCluster, _ arguments: [String], within seconds: Double = 60) throws(HarnessError)
    {
        let command = try Command.tallymill(
            ["rebalance"] + arguments + ["--data-dir", cluster.dataFolder], within: seconds)
        try ClusterTests.check(
            command.code == 0, "rebalance \(arguments) ended with \(command.code): \(command.errorText)")
    }

    /// One change, with one strike in it.
    static func change(_ cluster: UpCluster, to partitions: Int, _ strike: Strike) throws(HarnessError) {
        let tool = try RunningProcess(
            TestEnvironment.binary(),
            [
                "rebalance", "run", "--to", "\(partitions)", "--yes", "--pause-before", "\(strike.step)", "--data-dir",
                cluster.dataFolder,
            ], log: "\(cluster.folder.path)/rebalance-\(strike.step)-\(strike.victim)")
        defer { try? tool.kill9() }  // it may have ended, as it should
        try eventually("the tool stops itself before step \(strike.step)", within: 30) { () throws(HarnessError) in
            if let ending = try tool.poll() { throw HarnessError("the tool \(ending): \(tail(tool.errorOutput))") }
            return ProcessTable.entry(tool.pid)?.state == "T"
        }
        switch strike.victim {
        case .tool:
            try tool.kill9()
            if strike.step == 1 {
                try rebalance(cluster, ["run", "--to", "\(partitions)", "--yes"])
            } else {
                try rebalance(cluster, ["resume"])
            }
            return
        case .redis: cluster.signal(SIGKILL, cluster.children(.redis))
        case .web: cluster.signal(SIGKILL, cluster.children(.web))
        }
        try tool.send(SIGCONT)
        let ending = try tool.waitForEnd(within: 90)
        try ClusterTests.check(ending == .code(0), "the tool \(ending): \(tail(tool.errorOutput))")
        try eventually("everything is back", within: 30) {
            cluster.partitions = partitions
            return cluster.isReady
        }
    }
}
