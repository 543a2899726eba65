// What each step does to the cluster, and what is documented to follow from it.

import Glibc
import ServiceKit

extension CampaignRun {
    func perform(_ step: CampaignStep) throws(HarnessError) {
        switch step {
        case .work: letClientsWork(requests: 40, within: 0.3)
        case .letTimePass: letClientsWork(requests: .max, within: Double(CampaignStep.passingSeconds))
        case .settle: try settle()
        case .ask: try askOnce()
        case .askAgain: try askAgain()
        case .startNode(let node, let clock): try startNode(node, clock)
        case .killNode(let node): try endNode(node, SIGKILL)
        case .terminateNode(let node): try endNode(node, SIGTERM)
        case .freezeNode(let node): try freezeNode(node, true)
        case .thawNode(let node): try freezeNode(node, false)
        case .startConsumers(let clock): try startConsumers(clock)
        case .startUp: try startUp()
        case .killConsumers: try killConsumers()
        case .killUp: try killUp()
        case .terminateConsumers: try stopConsumers()
        case .freezeConsumers: try freezeConsumers(true)
        case .thawConsumers: try freezeConsumers(false)
        case .killRedis: try pieces.killRedis()
        case .startRedis(let settings):
            try startRedis(settings)
            if settings != .durable, features.nodesWatchSettings { try expectRefusals(settings) }
        case .copyRedis: try copyRedis(to: path("redis.copy"))
        case .putBackRedis:
            guard Files.exists(path("redis.copy")) else { return }
            try quietly { () throws(HarnessError) in try putBackRedis(from: path("redis.copy")) }
        case .flushRedis:
            guard pieces.redis != nil else { return }
            try quietly { () throws(HarnessError) in
                redisWentBack()
                _ = try pieces.redisCommand(["FLUSHALL"])  // the next look at Redis tells
            }
        default: try performTool(step)
        }
    }

    private func performTool(_ step: CampaignStep) throws(HarnessError) {
        switch step {
        case .initialize: try tool(["init"])
        case .repair: try tool(["repair", "--yes"], killedAfter: 2.5)
        case .collect: try tool(["repair", "--yes", "--collect"], killedAfter: 2.5)
        case .purge:
            if try mayPurge() { try tool(["rebalance", "purge", "--yes"]) }
        case .repairKilled(let after): try tool(["repair", "--yes"], killedAfter: Double(after) / 1_000)
        case .purgeKilled(let after):
            guard try mayPurge() else { return }
            try tool(["rebalance", "purge", "--yes"], killedAfter: Double(after) / 1_000)
        case .resume: try change(["rebalance", "resume"], before: nil)
        case .resumeKilled(let step): try change(["rebalance", "resume"], before: step)
        case .rebalance(let partitions):
            try change(["rebalance", "run", "--to", "\(partitions)", "--yes"], before: nil)
        case .rebalanceKilled(let partitions, let step):
            try change(["rebalance", "run", "--to", "\(partitions)", "--yes"], before: step)
        case .importLines(let file, let isQueued): try importLines(file, isQueued: isQueued)
        case .importKilled(let file, let isQueued, let step): try importLines(file, isQueued: isQueued, before: step)
        case .export: try export()
        case .prove:
            try tool(["verify"])
            try tool(["audit"])
        case .newToken:
            try tool(["token", "new", "campaign", "--scopes", "write", "--append", path("tokens")], isBare: true)
        case .makeLetter, .replayLetters, .dropLetters: try performLetters(step)
        default: try performCopies(step)
        }
    }

    // MARK: Tools

    /// Runs a command to its end, or kills it after a while, which every command must survive.
    ///
    /// - Parameters:
    ///   - isBare: it takes no cluster.
    ///   - codes: with which it may end.
    /// - Returns: nil if it was killed.
    @discardableResult
    func tool(
        _ arguments: [String], dataFolder: String? = nil, isBare: Bool = false, codes: Set<Int32> = [0, 3, 69, 75, 78],
        killedAfter seconds: Double? = nil, before step: Int? = nil
    ) throws(HarnessError) -> CampaignTool? {
        let place = isBare ? [] : ["--redis", pieces.redisURL, "--data-dir", dataFolder ?? self.dataFolder]
        let pause = step.map { ["--pause-before", "\($0)"] } ?? []
        let process = try RunningProcess(
            TestEnvironment.binary(), arguments + place + pause, log: pieces.log("tool-\(arguments[0])"))
        let bound = isBare || pieces.redis != nil ? seconds : min(seconds ?? 0.4, 0.4)
        let watch = Stopwatch()
        let words = arguments.joined(separator: " ") + pause.map { " \($0)" }.joined()
        while try process.poll() == nil {
            let isPaused = step != nil && ProcessTable.entry(process.pid)?.state == "T"
            if isPaused || watch.seconds > bound ?? 45 {
                try process.kill9()
                if bound == nil, !isPaused { throw HarnessError("\(words) hung: \(tail(process.errorOutput))") }
                journal.append("    [killed after \(watch.text) s] tallymill \(words)")
                noteEpoch()
                return nil
            }
            usleep(5_000)
        }
        noteEpoch()
        let result = CampaignTool(
            ending: try process.waitForEnd(within: 1), output: Files.read(process.outputPath) ?? [],
            errorText: process.errorOutput)
        journal.append("    [\(result.ending), \(watch.text) s] tallymill \(words): \(tail(result.said, lines: 2))")
        guard case .code(let code) = result.ending, codes.contains(code) else {
            throw HarnessError("`tallymill \(words)` \(result.ending): \(tail(result.said))")
        }
        return result
    }

    /// What `purge` is documented to need: every node has moved, and no Redis from before comes back.
    private func mayPurge() throws(HarnessError) -> Bool {
        guard pieces.redis != nil, let epoch = clusterFile()?.epoch else { return false }
        for node in servers.indices { try freezeNode(node, false) }
        let ports = servers.compactMap { $0?.port } + [upPort].compactMap(\.self)
        let watch = Stopwatch()
        while watch.seconds < 1 {
            let epochs = ports.map { port -> Int? in
                let answer = Loopback.ask(port, .get("/ledger"), timeoutSeconds: 1)
                return answer.flatMap { try? JSONTree($0.body) }?["epoch"]?.integer()  // one that is dead has none
            }
            if epochs.allSatisfy({ $0 == epoch || $0 == nil }) {
                for copy in ["redis.copy", "host.redis"] { Files.removeTree(path(copy)) }
                copies[path("host.data")] = nil
                return true
            }
            usleep(20_000)
        }
        journal.append("    a node has not moved: no purge")
        return false
    }

    /// A command that needs the shards for itself.
    @discardableResult
    func change(_ arguments: [String], before step: Int?) throws(HarnessError) -> CampaignTool? {
        if upPort == nil { try stopConsumers() }
        return try tool(arguments, before: step)
    }

    private func importLines(_ file: Int, isQueued: Bool, before step: Int? = nil) throws(HarnessError) {
        if !isQueued, upPort == nil { try stopConsumers() }
        model.lines[file].isTried = true
        let bound = isQueued ? step.map { Double($0) * 0.03 } ?? 1.2 : 1.5
        try tool(
            ["import", "--format", "text", path("lines-\(file)")] + (isQueued ? ["--queued"] : []), killedAfter: bound,
            before: isQueued ? nil : step)
    }

    private func export() throws(HarnessError) {
        let file = path("counters.txt")
        unlink(file)
        try quietly { () throws(HarnessError) in
            guard try tool(["export", "-o", file])?.ending == .code(0) else { return }
            var counters: [String: Int64] = [:]
            for line in Files.text(file).split(separator: "\n") {
                let parts = line.split(separator: "\t")
                guard parts.count == 2, let value = Int64(parts[1]) else { throw HarnessError("exported: \(line)") }
                counters[String(parts[0])] = value
            }
            try checkNothingIsTooMuch(counters)
        }
    }

    /// While no request is under way: what is missing may still come, what is too much stays.
    func checkNothingIsTooMuch(_ counters: [String: Int64]) throws(HarnessError) {
        let others = ["import ", "big ", "once "]
        let ofRequests = counters.filter { counter in !others.contains { counter.key.hasPrefix($0) } }
        let found = load.ledger.discrepancies(in: ofRequests).filter { !$0.mayHeal }
        guard let first = found.first else { return }
        throw HarnessError("\(found.count) differences that stay, such as \(first)")
    }

    // MARK: A Redis that is not fit

    /// Nodes that live acknowledge nothing at `queued`.
    private func expectRefusals(_ settings: CampaignStep.RedisSettings) throws(HarnessError) {
        try quietly { () throws(HarnessError) in
            for server in servers {
                guard let server, !server.isFrozen, try server.process.poll() == nil else { continue }
                let watch = Stopwatch()
                while try ask(server.port) == .acknowledged {
                    guard watch.seconds < 3 else {
                        throw HarnessError("acknowledged at `queued` by a Redis that is \(settings)")
                    }
                }
            }
        }
    }

    // MARK: Waiting

    /// Until nothing is under way, if that can be: then nodes hold nothing that only they have.
    private func settle() throws(HarnessError) {
        guard pieces.redis != nil, !servers.contains(where: { $0?.isFrozen == true }) else { return }
        try quietly { () throws(HarnessError) in
            let watch = Stopwatch()
            while watch.seconds < 1.5 {
                if try areNodesEmpty() {
                    journal.append("    nothing is under way")
                    model.fragile = []
                    return try checkNothingIsTooMuch(counters())
                }
                usleep(20_000)
            }
            journal.append("    something stays under way")
        }
    }

    /// Whether a shard has everything that any node has admitted.
    func areNodesEmpty() throws(HarnessError) -> Bool {
        let ports = servers.compactMap { $0?.port } + [upPort].compactMap(\.self)
        for port in ports {
            guard let answer = Loopback.ask(port, .get("/ledger"), timeoutSeconds: 1), answer.status == 200 else {
                return false
            }
            for part in try JSONTree(answer.body)["partitions"]?.elements ?? [] {
                let frozen: Int? = part["frozen"]?.integer()
                let unpushed: Int? = part["unpushed"]?["increments"]?.integer()
                if frozen != part["stored"]?.integer() || unpushed != 0 { return false }
            }
        }
        return true
    }
}

/// What became of a command.
struct CampaignTool {
    let ending: ChildProcess.Ending
    let output: [UInt8]
    let errorText: String

    var said: String { String(decoding: output, as: UTF8.self) + errorText }
    var isFine: Bool { ending == .code(0) }
    var code: Int32 { if case .code(let code) = ending { code } else { -1 } }
}
