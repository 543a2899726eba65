// The hold on the consumers of a real `up`: under load, by a process that is killed, across Ctrl-C, and at an epoch
// that a rebalance has not finished.

import ClusterSupport
import Glibc
import Operations
import ServiceKit
import ShardStore
import Supervision
import TallyCore
import Testing

extension ClusterTests {
    @Suite struct HoldTests {
        /// Requests are answered all the time, nothing is counted meanwhile, and everything is after the release.
        @Test func requestsGoOn() throws {
            try ClusterTests.withUp("hold") { cluster in
                let load = Load(NodeBook([cluster.port]), writers: 4, seed: TestEnvironment.seed)
                defer { load.stop() }
                let web = cluster.children(.web)
                for round in 1...3 {
                    try acknowledged(load, requests: 100)
                    let watch = Stopwatch()
                    let hold = try take(cluster)
                    let taken = watch.text
                    try ClusterTests.check(cluster.children(.consumer).isEmpty, "a consumer runs during a hold")
                    let counted = try cluster.report().total
                    try acknowledged(load, requests: 100)
                    try ClusterTests.post(cluster.port, #"{"beside":\#(round)}"#, level: "queued")
                    try ClusterTests.check(try cluster.report().total == counted, "somebody has counted during a hold")
                    let back = Stopwatch()
                    try release(hold, "released 4")
                    try ClusterTests.check(cluster.isComplete, "not all consumers run after the release")
                    note("hold \(round): all ended after \(taken) s, all back \(back.text) s after the release")
                }
                let ledger = load.stop()
                try ClusterTests.checkComplaints(load)
                try ClusterTests.check(ledger.requests[.refused] == nil, "requests were refused during a hold")
                try ClusterTests.check(ledger.requests[.unknown] == nil, "connections were lost during a hold")
                try ClusterTests.check(cluster.children(.web) == web, "the web node was restarted")
                try ClusterTests.interrupt(cluster)
                try settle(cluster, ledger, beside: 6)
                let notices = cluster.process.errorOutput.split(separator: "\n").filter { $0.contains("the consumers") }
                try ClusterTests.check(notices.count == 6, "\(notices)")
            }
        }

        /// kill -9 for a tool that holds the consumers: they come back at once.
        @Test func aKilledHolderGivesThemBack() throws {
            try ClusterTests.withUp("killed-holder") { cluster in
                let load = Load(NodeBook([cluster.port]), writers: 2, seed: TestEnvironment.seed)
                defer { load.stop() }
                for round in 1...3 {
                    let holder = try RunningProcess(
                        TestEnvironment.probe("supervision-probe"), ["hold", cluster.dataFolder, "a test"],
                        log: "\(cluster.folder.path)/holder-\(round)")
                    defer { Self.kill(holder) }
                    try eventually("the consumers are held", within: 20) { () throws(HarnessError) in
                        guard try holder.poll() == nil else { throw HarnessError(tail(holder.errorOutput)) }
                        return holder.output == "held\n"
                    }
                    try ClusterTests.check(cluster.children(.consumer).isEmpty, "a consumer runs during a hold")
                    try acknowledged(load, requests: 50)
                    try holder.kill9()
                    try eventually("the consumers are back", within: 20) { cluster.isComplete }
                }
                let ledger = load.stop()
                try ClusterTests.checkComplaints(load)
                try cluster.settle(ledger)
                try ClusterTests.interrupt(cluster)
                try cluster.settle(ledger, within: 0)
            }
        }

        /// Ctrl-C during a hold waits for nobody, says what waits, and the next `up` counts it.
        @Test func ctrlCDuringAHold() throws {
            try ClusterTests.withUp("hold-end") { cluster in
                let hold = try take(cluster)
                try ClusterTests.post(cluster.port, #"{"a":1,"b":20,"c":300}"#, level: "queued")
                let watch = Stopwatch()
                let ending = try cluster.interrupt()
                try ClusterTests.check(ending == .code(1), "`up` \(ending): \(tail(cluster.process.errorOutput))")
                let last = tail(cluster.process.errorOutput, lines: 2).split(separator: "\n")
                try ClusterTests.check(
                    last.first?.hasPrefix("tallymill: the consumers are held (a test): ") == true
                        && last.first?.hasSuffix(" in Redis") == true
                        && last.last?.hasPrefix("  Nothing is lost: the next `tallymill up --data-dir ") == true
                        && last.last?.hasSuffix("` goes on with it.") == true, "\(last)")
                try ClusterTests.check(!cluster.process.output.contains("total"), "a total that is none was printed")
                let said = #expect(throws: Failure.self) { try hold.release(waitingMilliseconds: 20_000) }
                try ClusterTests.check(said?.code == .unavailable, "\(String(describing: said))")
                note("hold: ended \(watch.text) s after Ctrl-C")
                try cluster.startAgain()
                try ClusterTests.interrupt(cluster)
                try ClusterTests.check(try cluster.report().counters == ["a": 1, "b": 20, "c": 300], "not counted")
            }
        }

        /// An epoch that is not finished: the web node works and no consumer, until somebody has finished it.
        @Test func upOnAnUnfinishedEpoch() throws {
            try ClusterTests.withUp("unfinished") { cluster in
                try ClusterTests.interrupt(cluster)
                let file = try openNextEpoch(cluster, partitions: 3)
                try refuses(cluster, ["up", "--partitions", "4", "--listen", "127.0.0.1:0"], "has 3 partitions, not 4")
                try cluster.startAgain(partitions: 3)
                let text =
                    "until `\(try TestEnvironment.binary()) rebalance resume --data-dir \(cluster.dataFolder)` has"
                try eventually("`up` says what to do", within: 10) {
                    cluster.process.output.contains(
                        "The rebalance to 3 partitions is unfinished: \(text) gone on with it")
                }
                try ClusterTests.check(cluster.process.output.contains(", 3 partitions, data in"), "another K is shown")
                try ClusterTests.check(cluster.children(.consumer).isEmpty, "a consumer runs")
                let refused = try refuses(cluster, ["init"], "a rebalance to 3 partitions is unfinished")
                try ClusterTests.check(refused.code == 78, "exit \(refused.code) instead of 78")
                try ClusterTests.post(cluster.port, #"{"a":1,"b":20}"#, level: "queued")
                // Ended and started again it is the same, and says that something waits.
                let ending = try cluster.interrupt()
                try ClusterTests.check(ending == .code(1), "`up` \(ending)")
                let last = tail(cluster.process.errorOutput, lines: 2)
                try ClusterTests.check(last.hasPrefix("tallymill: no consumer runs: "), last)
                try cluster.startAgain(partitions: 3)
                try ClusterTests.post(cluster.port, #"{"b":20,"c":300}"#, level: "queued")

                let hold = try take(cluster)
                try finishEpoch(cluster, file)
                try release(hold, "released 3")
                try ClusterTests.check(cluster.children(.consumer).count == 3, "not all consumers run")
                try ClusterTests.interrupt(cluster)
                let total = cluster.process.output.split(separator: "\n").last ?? ""
                try ClusterTests.check(total == "total 341 in 3 keys", String(total))
                try ClusterTests.check(try cluster.report().counters == ["a": 1, "b": 40, "c": 300], "not exact")
            }
        }

        /// A tool is at work when `up` starts: refused, naming it, unless it is making an epoch.
        @Test func upBesideATool() throws {
            try ClusterTests.withUp("beside") { cluster in
                try ClusterTests.interrupt(cluster)
                let folder = DataFolder(cluster.dataFolder)
                guard case .acquired(let lock) = try FileLock.attempt(folder.clusterLockPath) else {
                    throw HarnessError("somebody has the lock")
                }
                try withExtendedLifetime(lock) { () throws in
                    let refused = try refuses(cluster, ["up", "--listen", "127.0.0.1:0"], "is changing this cluster")
                    try ClusterTests.check(refused.code == 75, "exit \(refused.code) instead of 75")
                    try ClusterTests.check(refused.errorText.contains("process \(getpid()) is"), refused.errorText)
                    let file = try openNextEpoch(cluster, partitions: 3)
                    try cluster.startAgain(partitions: 3)
                    try ClusterTests.check(cluster.children(.consumer).isEmpty, "a consumer runs")
                    // It finishes without a hold.
                    try finishEpoch(cluster, file)
                    try eventually("the consumers are started", within: 20) { cluster.children(.consumer).count == 3 }
                }
            }
        }
    }
}

// MARK: Steps

extension ClusterTests.HoldTests {
    private func take(_ cluster: UpCluster) throws -> ConsumerHold {
        let hold = try ConsumerHold.take(dataFolder: cluster.dataFolder, reason: "a test", waitingMilliseconds: 20_000)
        guard let hold else { throw HarnessError("no `up` was found") }
        return hold
    }

    private func release(_ hold: ConsumerHold, _ expected: String) throws {
        let answer = try hold.release(waitingMilliseconds: 20_000)
        try ClusterTests.check(answer == expected, "\(answer) instead of \(expected)")
    }

    private static func kill(_ process: RunningProcess) {
        do throws(HarnessError) { try process.kill9() } catch { note("cannot end \(process.pid): \(error)") }
    }

    private func acknowledged(_ load: Load, requests: Int) throws(HarnessError) {
        let goal = load.acknowledged(by: 0) + requests
        try eventually("\(requests) requests are acknowledged", within: 30) { load.acknowledged(by: 0) >= goal }
    }

    private func settle(_ cluster: UpCluster, _ ledger: Ledger, beside expected: Int64) throws(HarnessError) {
        var counters = try cluster.report().counters
        let beside = counters.removeValue(forKey: "beside")
        try ClusterTests.check(beside == expected, "beside: \(beside ?? 0) instead of \(expected)")
        let found = ledger.discrepancies(in: counters)
        try ClusterTests.check(found.isEmpty, found.prefix(5).map(\.description).joined(separator: "; "))
    }

    /// Runs a command that must fail.
    @discardableResult
    private func refuses(
        _ cluster: UpCluster, _ arguments: [String], _ words: String
    ) throws(HarnessError) -> Command {
        let result = try Command.tallymill(arguments + ["--data-dir", cluster.dataFolder])
        try ClusterTests.check(result.code != 0, "\(arguments) was not refused")
        try ClusterTests.check(result.errorText.contains(words), result.errorText)
        return result
    }

    /// What the first step of a rebalance leaves if it is killed before it touches Redis.
    private func openNextEpoch(_ cluster: UpCluster, partitions: Int) throws -> ClusterFile {
        let folder = DataFolder(cluster.dataFolder)
        guard let old = try folder.readClusterFile() else { throw HarnessError("no cluster file") }
        let file = ClusterFile(
            topology: Topology(cluster: old.topology.cluster, epoch: old.topology.epoch + 1, partitions: partitions),
            state: .building,
            earlier: old.earlier + [.init(epoch: old.topology.epoch, partitions: old.topology.partitions)])
        try AtomicFile.write(Array(file.json.utf8), to: folder.clusterFilePath)
        return file
    }

    /// What a rebalance of an empty cluster builds, and its commit point.
    private func finishEpoch(_ cluster: UpCluster, _ building: ClusterFile) throws {
        let folder = DataFolder(cluster.dataFolder)
        let topology = building.topology
        try Files.makeFolder(folder.epochPath(topology.epoch))
        for partition in topology.partitionIDs {
            let identity = ShardIdentity(
                cluster: topology.cluster, partition: partition, partitions: topology.partitions,
                uuid: building.derivedShard(of: partition))
            try ShardFile.create(
                at: folder.shardPath(partition, of: topology.partitions), identity: identity,
                timeMilliseconds: UInt64(WallClock.milliseconds()))
        }
        var file = building
        file.state = .ready
        try AtomicFile.write(Array(file.json.utf8), to: folder.clusterFilePath)
    }
}
