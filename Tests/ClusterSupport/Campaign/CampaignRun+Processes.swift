// The processes of a campaign: started, killed, frozen and put back.

import Glibc
import ServiceKit

extension CampaignRun {
    private func environment(_ clock: CampaignStep.Clock) -> [String: String] {
        guard clock != .right, let library = features.faketime else { return [:] }
        return [
            "LD_PRELOAD": library, "FAKETIME": "\(clock.rawValue > 0 ? "+" : "")\(clock.rawValue)d",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        ]
    }

    // MARK: Web nodes

    func startNode(_ number: Int, _ clock: CampaignStep.Clock) throws(HarnessError) {
        if let server = servers[number], try server.process.poll() == nil { return }
        if let server = servers[number] { ended(server.port) }
        let web = try pieces.startWeb(options: ["--event-loops", "1"], environment: environment(clock))
        servers[number] = Server(process: pieces.webs[web], port: pieces.ports[web])
        nodes[number] = pieces.ports[web]
    }

    func waitUntilReady(_ number: Int, within seconds: Double = 15) throws(HarnessError) {
        guard let server = servers[number] else { return }
        var answer: HTTPAnswer?
        do throws(HarnessError) {
            try eventually("node \(number) is ready", within: seconds) { () throws(HarnessError) in
                if let ending = try server.process.poll() {
                    throw HarnessError("node \(number) \(ending): \(tail(server.process.errorOutput))")
                }
                answer = Loopback.ask(server.port, .get("/readyz"), timeoutSeconds: 2)
                if answer?.text.contains("behind") == true { throw HarnessError("node \(number) is behind") }
                return answer?.status == 200
            }
        } catch {
            throw HarnessError("\(error); /readyz: \(answer.map { "\($0.status) \($0.text)" } ?? "no answer")")
        }
    }

    /// A stop waits 3 s for shards that nobody consumes into.
    func endNode(_ number: Int, _ signal: Int32, within seconds: Double = 5) throws(HarnessError) {
        guard let server = servers[number] else { return }
        if signal != SIGKILL, !server.isFrozen {
            try server.process.send(signal)
            let watch = Stopwatch()
            while try server.process.poll() == nil, watch.seconds < seconds { usleep(5_000) }
            if try server.process.poll() == nil { journal.append("    node \(number) cannot push, it is killed") }
        }
        try server.process.kill9()
        servers[number] = nil
        nodes[number] = nil
        // Recorded before it counts as dead: what the writers were told meanwhile is in the ledger.
        try quietly { ended(server.port) }
    }

    func freezeNode(_ number: Int, _ isFrozen: Bool) throws(HarnessError) {
        guard let server = servers[number] else { return }
        try server.process.send(isFrozen ? SIGSTOP : SIGCONT)
        servers[number]?.isFrozen = isFrozen
        // What is under way there gets no answer; after that clients go elsewhere.
        if isFrozen { letClientsWork(requests: 20, within: 0.1) }
        nodes[number] = isFrozen ? nil : server.port
    }

    // MARK: Consumers

    /// Starts consumers for all partitions, unless they run.
    func startConsumers(_ clock: CampaignStep.Clock) throws(HarnessError) {
        if let consumers, try consumers.poll() == nil { return }
        try forgetUp()
        guard let file = clusterFile(), file.isReady else {
            return journal.append("    no epoch is ready")
        }
        let number = try pieces.startConsumer(
            "0-\(file.partitions - 1)", options: retentionOptions, environment: environment(clock))
        consumers = pieces.consumers[number]
    }

    func startUp() throws(HarnessError) {
        if upPort != nil, let consumers, try consumers.poll() == nil { return }
        try stopConsumers()
        let port = try Loopback.freePort()
        let process = try RunningProcess(
            TestEnvironment.binary(),
            ["up", "--listen", "127.0.0.1:\(port)", "--event-loops", "1"] + pieces.place + retentionOptions,
            log: pieces.log("up"))
        consumers = process
        upPort = port
        nodes[2] = port
        let watch = Stopwatch()
        while try process.poll() == nil, watch.seconds < 3, pieces.redis != nil {
            if Loopback.ask(port, .get("/readyz"), timeoutSeconds: 1)?.status == 200 { return }
            usleep(10_000)
        }
    }

    /// An `up` that has ended took its node with it.
    private func forgetUp() throws(HarnessError) {
        guard let port = upPort else { return }
        nodes[2] = nil
        upPort = nil
        try quietly { ended(port) }
    }

    /// SIGTERM; `up` is asked again if it cannot drain.
    func stopConsumers() throws(HarnessError) {
        guard let process = consumers else { return }
        let isUp = upPort != nil
        try process.send(SIGCONT)
        try process.send(SIGTERM)
        let watch = Stopwatch()
        let patience = isUp ? 2.0 : 15.0
        while try process.poll() == nil, watch.seconds < patience { usleep(5_000) }
        if try process.poll() == nil, isUp {
            journal.append("    `up` cannot drain, it is killed")
            try killUp(process)
        }
        let ending = try process.waitForEnd(within: 1)
        consumers = nil
        leaseMayBeHeld = leaseMayBeHeld && ending != .code(0)
        try forgetUp()
        try check(ending, of: process, "consume")
    }

    /// 0, or the signal if it had just begun; Redis away at the start; another holds the shard; the shard is not the
    /// one of this epoch, or too old.
    func check(_ ending: ChildProcess.Ending, of process: RunningProcess, _ name: String) throws(HarnessError) {
        switch ending {
        case .code(0), .code(69), .code(75), .code(78), .signal(SIGKILL), .signal(SIGTERM): break
        // An `up` over an epoch that is not ready has no consumers: it leaves what waits, and says so.
        case .code(1) where process.errorOutput.contains("Nothing is lost"): break
        default: throw HarnessError("\(name) \(ending): \(tail(process.errorOutput))")
        }
    }

    func killConsumers() throws(HarnessError) {
        guard let process = consumers else { return }
        if upPort != nil {
            let children = ProcessTable.children(of: process.pid).filter { $0.role == .consumer }
            if let child = children.first { kill(child.pid, SIGKILL) }
            return
        }
        try process.kill9()
        consumers = nil
        leaseMayBeHeld = true
    }

    func killUp() throws(HarnessError) {
        guard let process = consumers, upPort != nil else { return }
        try killUp(process)
        consumers = nil
        try forgetUp()
    }

    private func killUp(_ process: RunningProcess) throws(HarnessError) {
        let children = ProcessTable.children(of: process.pid)
        try process.kill9()
        leaseMayBeHeld = true
        try eventually("the children of a killed `up` are gone", within: 5) {
            children.allSatisfy { !ProcessTable.isRunning($0.pid) }
        }
    }

    func freezeConsumers(_ isFrozen: Bool) throws(HarnessError) {
        guard let consumers, upPort == nil else { return }
        try consumers.send(isFrozen ? SIGSTOP : SIGCONT)
    }

    /// Another file can take the place of a killed consumer's only when its lease was given back.
    func giveLeaseBack() throws(HarnessError) {
        guard leaseMayBeHeld, pieces.redis != nil else { return try stopConsumers() }
        try stopConsumers()
        try startConsumers(.right)
        if let consumers {
            let watch = Stopwatch()
            while try consumers.poll() == nil, watch.seconds < 2, !consumers.errorOutput.contains("consuming") {
                usleep(5_000)
            }
        }
        try stopConsumers()
        leaseMayBeHeld = false
    }

    // MARK: Redis

    func startRedis(_ wanted: CampaignStep.RedisSettings) throws(HarnessError) {
        // One that keeps nothing forgets what it has when it ends, and does not read what was kept before.
        let goesBack = (settings == .volatile) != (wanted == .volatile) || wanted == .volatile
        if pieces.redis != nil { try pieces.killRedis() }
        if goesBack {
            try quietly { () throws(HarnessError) in
                redisWentBack()
                try pieces.startRedis(settings: wanted.options)
            }
        } else {
            try pieces.startRedis(settings: wanted.options)
        }
        settings = wanted
    }

    /// As if the machine of Redis had been copied at one moment.
    func copyRedis(to copy: String) throws(HarnessError) {
        Files.removeTree(copy)
        try pieces.redis?.send(SIGSTOP)
        try Files.copyTree(pieces.redisFolder, to: copy)
        try pieces.redis?.send(SIGCONT)
    }

    func putBackRedis(from copy: String) throws(HarnessError) {
        try pieces.killRedis()
        Files.removeTree(pieces.redisFolder)
        try Files.copyTree(copy, to: pieces.redisFolder)
        redisWentBack()
        settings = .durable
        try pieces.startRedis()
    }

    /// In a Redis that runs, as the sentence that refuses it says.
    func makeRedisDurable() throws(HarnessError) {
        if pieces.redis == nil { try startRedis(.durable) }
        guard settings != .durable else { return }
        let wanted = [
            ("appendonly", "yes"), ("appendfsync", "always"), ("maxmemory-policy", "noeviction"),
            ("no-appendfsync-on-rewrite", "no"),
        ]
        for (name, value) in wanted {
            let answer = try pieces.redisCommand(["CONFIG", "SET", name, value])
            guard answer == "OK" else { throw HarnessError("CONFIG SET \(name): \(answer)") }
        }
        try eventually("Redis has its data in a log", within: 10) { () throws(HarnessError) in
            let facts = try pieces.redisCommand(["INFO", "persistence"])
            return facts.contains("aof_enabled:1") && facts.contains("aof_rewrite_in_progress:0")
                && facts.contains("aof_rewrite_scheduled:0")
        }
        settings = .durable
    }
}
