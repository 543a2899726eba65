// A cluster whose pieces the test starts and ends itself, so that nothing restarts what it has killed: a Redis on a
// socket, `init`, web nodes and consumers.

import Glibc

/// The pieces. Owned by one thread.
public final class ManualCluster {
    public let folder: TestFolder
    public let dataFolder: String
    public let redisFolder: String
    public let partitions: Int
    public private(set) var redis: RunningProcess?
    /// What Redis gets that acknowledged counts need.
    public static let durable = ["--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction"]
    public private(set) var webs: [RunningProcess] = []
    public private(set) var ports: [UInt16] = []
    public private(set) var consumers: [RunningProcess] = []
    /// Where commands and roles look for Redis, if that is not the socket of the one that this starts.
    public var address: String?
    private var starts = 0

    /// A Redis that runs and a data folder that is set up.
    ///
    /// - Parameter prepare: called when Redis runs, before `init` sets up what is not there.
    public init(
        _ folder: TestFolder, partitions: Int = 4, prepare: (ManualCluster) throws(HarnessError) -> Void = { _ in }
    ) throws(HarnessError) {
        self.folder = folder
        self.partitions = partitions
        dataFolder = folder.path + "/data"
        redisFolder = folder.path + "/redis"
        try Files.makeFolder(redisFolder)
        try startRedis()
        try prepare(self)
        let result = try Command.tallymill(["init", "--partitions", "\(partitions)"] + place)
        guard result.code == 0 else { throw HarnessError("init ended with \(result.code): \(result.errorText)") }
    }

    public var redisURL: String { address ?? "unix://\(folder.path)/redis.sock" }

    /// The options that every command of this cluster takes.
    public var place: [String] { ["--redis", redisURL, "--data-dir", dataFolder] }

    /// Where the next process of that name writes, without its ending.
    func log(_ name: String) -> String {
        starts += 1
        return "\(folder.path)/\(name)-\(starts)"
    }

    // MARK: Redis

    /// Starts Redis and waits until it has loaded its data.
    ///
    /// - Parameters:
    ///   - settings: in place of the durable ones.
    ///   - options: they win over all others.
    public func startRedis(
        settings: [String] = ManualCluster.durable, options: [String] = [], environment: [String: String] = [:]
    ) throws(HarnessError) {
        let process = try RunningProcess(
            TestEnvironment.program("redis-server"),
            [
                "--port", "0", "--unixsocket", "\(folder.path)/redis.sock", "--dir", redisFolder, "--save", "",
                "--daemonize", "no",
            ] + settings + options, environment: environment, log: log("redis"))
        redis = process
        try eventually("Redis answers", within: 20) { () throws(HarnessError) in
            if let ending = try process.poll() { throw HarnessError("Redis \(ending): \(tail(process.output))") }
            return try redisCommand(["PING"]) == "PONG"
        }
    }

    /// What `redis-cli` prints for a command.
    public func redisCommand(_ arguments: [String]) throws(HarnessError) -> String {
        let client = try TestEnvironment.program("redis-cli")
        let result = try Command.run(client, ["-s", "\(folder.path)/redis.sock"] + arguments)
        return result.outputText.split(separator: "\n").joined(separator: "\n")
    }

    public func killRedis() throws(HarnessError) {
        try redis?.kill9()
        unlink("\(folder.path)/redis.sock")
        redis = nil
    }

    // MARK: Roles

    /// Starts a web node without waiting for it; its number.
    ///
    /// - Parameter filesMax: how many files it may open, if that is not what the test may.
    @discardableResult
    public func startWeb(
        options: [String] = [], environment: [String: String] = [:], filesMax: Int? = nil
    ) throws(HarnessError) -> Int {
        let port = try Loopback.freePort()
        ports.append(port)
        var line = [try TestEnvironment.binary(), "web", "--listen", "127.0.0.1:\(port)"] + place + options
        if let filesMax { line = [try TestEnvironment.program("prlimit"), "--nofile=\(filesMax):\(filesMax)"] + line }
        webs.append(
            try RunningProcess(line[0], Array(line[1...]), environment: environment, log: log("web")))
        return webs.count - 1
    }

    /// Starts a consumer without waiting for it; its number.
    @discardableResult
    public func startConsumer(
        _ list: String, dataFolder: String? = nil, options: [String] = [], environment: [String: String] = [:]
    ) throws(HarnessError) -> Int {
        let place = ["--redis", redisURL, "--data-dir", dataFolder ?? self.dataFolder]
        consumers.append(
            try RunningProcess(
                TestEnvironment.binary(), ["consume", "--partitions", list] + place + options,
                environment: environment, log: log("consume")))
        return consumers.count - 1
    }

    /// How many batches wait in the lists of an epoch, of up to 64 partitions.
    public func waiting(epoch: UInt32 = 1) throws(HarnessError) -> Int {
        let script = """
            local all = 0
            for number = 0, 63 do
              all = all + redis.call('LLEN', 'tallymill:{e\(epoch).p' .. number .. '}:queue')
            end
            return all
            """
        let answer = try redisCommand(["EVAL", script, "0"])
        guard let all = Int(answer) else { throw HarnessError("Redis says \(answer)") }
        return all
    }

    public func waitUntilReady(_ web: Int, within seconds: Double = 20) throws(HarnessError) {
        let process = webs[web]
        try eventually("web node \(web) is ready", within: seconds) { () throws(HarnessError) in
            if let ending = try process.poll() {
                throw HarnessError("web node \(web) \(ending): \(tail(process.errorOutput))")
            }
            return Loopback.ask(ports[web], .get("/readyz"))?.status == 200
        }
    }

    /// Ends everything that is left, without asking.
    public func destroy() {
        for process in webs + consumers + [redis].compactMap(\.self) {
            do throws(HarnessError) { try process.kill9() } catch { note("cannot end \(process.pid): \(error)") }
        }
    }

    // MARK: What is counted

    public func report(_ options: [String] = []) throws(HarnessError) -> Report {
        try Report.read(dataFolder, options)
    }

    /// Waits until the report agrees with the ledger.
    public func settle(_ ledger: Ledger, within seconds: Double = 30) throws(HarnessError) {
        let dataFolder = dataFolder
        try Settling.wait(ledger, within: seconds) { () throws(HarnessError) in try Report.read(dataFolder) }
    }
}
