// One sequence of the operators' campaign: a cluster of its own, clients that count all the time, the steps, and what
// must hold after the cluster was healed as the documentation says.
//
//   lost 0, doubled 0 against the answers that clients got, but for losses that are documented; those are named
//   `verify` without findings, `audit` without residual
//   no command ends by a signal, or with a code that says "damaged", "usage" or "bug"

import Glibc
import ServiceKit

/// Why a sequence failed.
public struct CampaignFailure: Error, Sendable {
    public let text: String
    /// What was run, and how it ended.
    public let journal: [String]

    public init(text: String, journal: [String]) {
        self.text = text
        self.journal = journal
    }

    /// What is wrong, without where and how much: two runs that differ in this alone fail alike.
    public var kind: String {
        let words = text.drop { $0 != ":" }.split { $0.isWhitespace }.filter { word in
            !word.contains { $0.isNumber || $0 == "/" }
        }
        return words.prefix(12).joined(separator: " ")
    }
}

/// One run of one sequence. Owned by one thread.
public final class CampaignRun {
    /// A web node, or an `up`, that runs as far as we know.
    struct Server {
        let process: RunningProcess
        let port: UInt16
        var isFrozen = false
    }

    let pieces: ManualCluster
    let nodes = NodeBook([nil, nil, nil])
    let load: Load
    var model = CampaignModel()
    public internal(set) var journal: [String] = []
    var servers: [Server?] = [nil, nil]
    /// The consumers of all partitions, in one process.
    var consumers: RunningProcess?
    /// Where the node of `up` listens, if `up` runs the consumers.
    var upPort: UInt16?
    /// Whether the last consumer was killed, so that its lease has not been given back.
    var leaseMayBeHeld = false
    var settings = CampaignStep.RedisSettings.durable
    /// The highest epoch that the cluster file has ever shown.
    var newestEpoch = 1
    /// Folders that were moved away for a copy, newest last.
    var asides: [String] = []
    /// Sums in a copy when it was made, by its folder.
    var copies: [String: [String: Int64]] = [:]
    /// Nodes that lived when the healing began.
    var livingSources: Set<UInt16> = []
    let features: CampaignFeatures
    let sequence: CampaignSequence
    private var areClientsWaiting = false
    private var bigCount = 0
    var questionCount = 0
    /// Requests that may be sent again.
    var questions: [CampaignQuestion] = []
    private let watch = Stopwatch()

    /// Starts everything.
    ///
    /// - Parameter seed: of the requests.
    public init(
        _ folder: TestFolder, _ sequence: CampaignSequence, seed: UInt64, _ features: CampaignFeatures
    ) throws(HarnessError) {
        self.features = features
        self.sequence = sequence
        pieces = try ManualCluster(folder, partitions: sequence.partitions)
        var style = LoadStyle()
        style.paceMicroseconds = 12_000
        style.hasBulk = false
        style.waitSeconds = 1
        style.storedOnceIn = 50  // while nobody consumes each of them takes a second
        style.timeoutSeconds = 2
        style.retrySeconds = 2
        style.givesUpWhenPaused = true
        style.remembered = sequence.hasShortRetention ? 0 : 24
        load = Load(nodes, writers: 8, seed: seed, style: style)
        for file in model.lines.indices {
            try Files.write(Array(CampaignModel.text(ofImport: file).utf8), to: path("lines-\(file)"))
        }
        if sequence.emptySteps > 0 { try clientsWait() }
        try startNode(0, .right)
        try startNode(1, .right)
        try startConsumers(.right)
        for node in 0...1 { try waitUntilReady(node) }
    }

    /// Ends everything that is left.
    public func end() {
        load.stop()
        pieces.destroy()
        for process in [consumers].compactMap(\.self) {
            do throws(HarnessError) { try process.kill9() } catch { note("cannot end \(process.pid): \(error)") }
        }
    }

    /// All steps, and what must hold afterwards.
    public func run() throws(CampaignFailure) {
        var place = "at the start"
        do throws(HarnessError) {
            for (number, step) in sequence.steps.enumerated() {
                if number >= sequence.emptySteps { clientsBegin() }
                place = "step \(number + 1), \(step.shell)"
                journal.append("# \(watch.text) s: \(step.shell)")
                try perform(step)
                letClientsWork(requests: 6, within: 0.1)
            }
            clientsBegin()
            place = "healing"
            journal.append("# \(watch.text) s: healing")
            try heal()
            place = "afterwards"
            try judge()
            journal.append("# \(watch.text) s: the end")
        } catch {
            throw CampaignFailure(text: "\(place): \(error)", journal: journal)
        }
    }

    // MARK: Places

    var retentionOptions: [String] { sequence.hasShortRetention ? ["--idempotency-retention", "5s"] : [] }
    var dataFolder: String { pieces.dataFolder }
    func path(_ name: String) -> String { pieces.folder.path + "/" + name }

    /// What the cluster file says; nil if there is none.
    func clusterFile(_ folder: String? = nil) -> (epoch: Int, partitions: Int, isReady: Bool, isImporting: Bool)? {
        guard let bytes = Files.read((folder ?? dataFolder) + "/topology.json"),
            let tree = try? JSONTree(bytes),  // it is replaced as a whole: unreadable means not there
            let epoch: Int = tree["epoch"]?.integer(), let partitions: Int = tree["partitions"]?.integer()
        else { return nil }
        return (epoch, partitions, tree["state"]?.text == "ready", tree["importing"]?.text != nil)
    }

    func noteEpoch() { newestEpoch = max(newestEpoch, clusterFile()?.epoch ?? 0) }

    /// Sums of a folder; none if they cannot be read, which makes everything count as not safe.
    func counters(_ folder: String? = nil) -> [String: Int64] {
        do throws(HarnessError) {
            return try Report.read(folder ?? dataFolder).counters
        } catch {
            journal.append("    no report: \(tail("\(error)", lines: 1))")
            return [:]
        }
    }

    // MARK: Clients

    private func clientsWait() throws(HarnessError) {
        try load.pause()
        areClientsWaiting = true
    }

    private func clientsBegin() {
        if areClientsWaiting { load.resume() }
        areClientsWaiting = false
    }

    /// A pace: until so many requests more have an answer, or the time has passed.
    func letClientsWork(requests: Int, within seconds: Double) {
        if areClientsWaiting { return }
        let count = { self.load.ledger.requests.values.reduce(0, +) }
        let goal = requests == .max ? .max : count() + requests
        let watch = Stopwatch()
        while count() < goal, watch.seconds < seconds { usleep(5_000) }
    }

    /// While no request is under way.
    func quietly<Value>(_ body: () throws(HarnessError) -> Value) throws(HarnessError) -> Value {
        if areClientsWaiting { return try body() }
        try load.pause(within: 20)
        let result = Result { () throws(HarnessError) in try body() }
        load.resume()
        return try result.get()
    }

    /// What was acknowledged and is neither in `safe` nor counted again may be missing: tools must name it.
    func filesWentBack(_ why: String, in place: [String: Int64]? = nil, except safe: [String: Int64]) {
        var exposed = 0
        load.change { exposed = $0.expose(in: place, except: safe) }
        journal.append("    \(why): \(exposed) increments may be missing")
        if exposed > 0 || place == nil { model.filesWentBack.append(why) }
        model.lossIsDocumented()
    }

    /// Redis has less than it had: what dead nodes sent may be lost, unless a shard has it.
    func redisWentBack() {
        let living = servers.compactMap { $0?.port } + [upPort].compactMap(\.self)
        model.fragile.formUnion(living)
        model.fragile.subtract(model.deadSources)
        model.redisWentBack = true
        expose(by: model.deadSources)
    }

    private func expose(by sources: Set<UInt16>) {
        let safe = counters()
        var exposed = 0
        load.change { exposed = $0.expose(as: .forgotten, by: sources, except: safe) }
        model.lossIsDocumented()
        journal.append("    only dead nodes and the lost Redis had them: \(exposed) increments may be missing")
    }

    /// A node has ended.
    func ended(_ port: UInt16) {
        model.deadSources.insert(port)
        if model.fragile.remove(port) != nil { expose(by: [port]) }
    }

    /// The next key whose sum will not fit.
    func nextBigKey() -> String {
        bigCount += 1
        return "big \(bigCount)"
    }
}

/// What the build under test can do, as its help says: the campaign is older than some of it.
public struct CampaignFeatures: Sendable {
    public let repairAcceptsLoss: Bool
    public let restoreAcceptsLoss: Bool
    /// Whether nodes look at Redis' settings at each connection.
    public var nodesWatchSettings: Bool { repairAcceptsLoss }
    /// The library that steps clocks; nil if it is not installed.
    public let faketime: String?

    public init() throws(HarnessError) {
        repairAcceptsLoss = try Command.tallymill(["repair", "--help"]).outputText.contains("--accept-loss")
        restoreAcceptsLoss = try Command.tallymill(["restore", "--help"]).outputText.contains("--accept-loss")
        let machines = ["x86_64-linux-gnu", "aarch64-linux-gnu"]
        let paths = machines.map { "/usr/lib/\($0)/faketime/libfaketimeMT.so.1" }
        faketime = TestEnvironment.stepsClocks ? paths.first { Files.exists($0) } : nil
        if TestEnvironment.stepsClocks, faketime == nil {
            note("campaign: no clock is stepped, the package faketime is not installed")
        }
    }
}
