public import ArgumentParser
public import Bench
import Operations
import ServiceKit
import TallyCore

/// `tallymill bench`: a load, and the proof that all of it was counted.
struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Sends increments at a constant rate, and checks that each counted once.",
        discussion: """
            EXAMPLES
              tallymill bench                              9,000 requests/s for 30 s
              tallymill bench --rate 500 --body lines --batch 1000
              tallymill bench --flood --duration 10s
              tallymill bench --connections-only 10000 --pid 4711
              tallymill bench --connections-only 10000 --rate 5000
              tallymill bench --url http://10.0.0.7:3333 --no-check

            At a constant rate, a latency counts from when the request was due, also if no connection was free then: \
            a server that stalls is not asked less. Values are random in -10000...10000.

            At the end, the totals of the run's keys in the shards of --data-dir must have grown by what was \
            acknowledged; requests without an answer may have counted or not. If not, it names keys and ends with 3. \
            The keys are the run's own and stay in the shards; nobody else may use its seed or prefix meanwhile.

            Ctrl-C ends the load and compares what was sent; a second one does not wait for answers.
            """)

    @OptionGroup var common: CommonOptions
    @Option(help: ArgumentHelp("where the web node serves", valueName: "url")) var url = "http://127.0.0.1:3333"
    @Option(help: .setting(.tokenFile)) var tokenFile: String?
    @Option(
        help: ArgumentHelp(
            "requests a second; 0 is --flood (default: 9000, or no load with --connections-only)", valueName: "n"))
    var rate: Int?
    @Flag(help: "no rate: each connection sends its next request when the last is answered") var flood = false
    @Option(
        help: ArgumentHelp("how long, such as 500ms, 30s or 10m (default: 30s; 0s without a load)", valueName: "time"))
    var duration: Span?
    @Option(help: ArgumentHelp("number of different keys, each as likely", valueName: "n")) var keys = 9_000
    @Option(help: ArgumentHelp("connections of the load", valueName: "n")) var connections = 256
    @Option(help: ArgumentHelp("form, json or lines", valueName: "form")) var body = LoadPlan.Body.form
    @Option(help: ArgumentHelp("increments a request", valueName: "n")) var batch = 1
    @Option(help: ArgumentHelp("what to wait for: memory, queued or stored", valueName: "level"))
    var level = LevelArgument(level: .queued)
    @Option(help: ArgumentHelp("threads of the load", valueName: "n")) var threads = 1
    @Option(help: ArgumentHelp("decides all keys and values (default: another each time)", valueName: "n"))
    var seed: UInt64?
    @Option(help: ArgumentHelp("what keys begin with, before the seed and a number", valueName: "text"))
    var prefix = "bench"
    @Option(help: ArgumentHelp("all that stands before the number: keys that exist already", valueName: "text"))
    var keysPrefix: String?
    @Option(
        help: ArgumentHelp("open so many connections, send one increment on each, leave them open", valueName: "n"))
    var connectionsOnly: Int?
    @Option(help: ArgumentHelp("the server, whose memory is compared before and after them", valueName: "pid"))
    var pid: Int32?
    @Option(help: ArgumentHelp("how long to wait, after the end, for answers, and for the shards", valueName: "time"))
    var patience = Span(milliseconds: 30_000)
    @Flag(help: "do not read the totals") var noCheck = false
    @Option(help: ArgumentHelp("table or json", valueName: "format")) var format = Format.table

    func validate() throws {
        if flood, let rate, rate != 0 { throw ValidationError("--flood and --rate \(rate) exclude each other") }
        if keysPrefix != nil && prefix != "bench" {
            throw ValidationError("--prefix and --keys-prefix exclude each other")
        }
        do throws(Failure) { try plan(seed: seed ?? 0).validate() } catch { throw ValidationError(error.sentence) }
    }

    func run() throws {
        try run { () throws(Failure) in
            let signals = try SignalWaiter()
            var flags = common.flags
            flags.set(.tokenFile, tokenFile)
            let session = try Session(.bench, flags)
            try ResourceLimits.raiseOpenFiles()
            var plan = try plan(seed: seed ?? UInt64(UInt32.random(in: 0...UInt32.max)))
            plan.token = try session.token()
            var bench = try BenchRun(plan, hooks: try hooks(session, signals))
            let result = try bench.run()
            Output.write(Array((format == .json ? result.json + "\n" : result.table).utf8), to: 1)
            if let advice = result.tokenAdvice { Output.error("tallymill: \(advice)") }
            return result.exitCode
        }
    }

    private func plan(seed: UInt64) throws(Failure) -> LoadPlan {
        var plan = LoadPlan(seed: seed, keysPrefix: keysPrefix ?? "\(prefix):\(String(seed, radix: 16)):")
        plan.endpoint = try endpoint()
        plan.rate =
            switch (flood, rate) {
            case (true, _), (_, 0): .flood
            case (false, let rate?): .perSecond(rate)
            case (false, nil): connectionsOnly == nil ? .perSecond(9_000) : .none
            }
        plan.durationMilliseconds = duration?.milliseconds ?? (plan.rate == .none ? 0 : 30_000)
        plan.patienceMilliseconds = patience.milliseconds
        plan.keys = keys
        plan.connections = connections
        plan.threads = threads
        plan.body = body
        plan.batch = batch
        plan.level = level.level
        plan.parkedConnections = connectionsOnly ?? 0
        plan.serverProcess = pid
        return plan
    }

    private func endpoint() throws(Failure) -> Endpoint {
        let scheme = "http://"
        guard url.hasPrefix(scheme) else { throw Failure(.usage, "--url begins with http://; TLS is not spoken here") }
        var rest = url.dropFirst(scheme.count)
        if rest.hasSuffix("/") { rest.removeLast() }
        guard let endpoint = Endpoint(String(rest)), endpoint.port > 0 else {
            throw Failure(.usage, "--url must be http://HOST:PORT, such as http://127.0.0.1:3333, not \(url)")
        }
        return endpoint
    }

    private func hooks(_ session: Session, _ signals: SignalWaiter) throws(Failure) -> BenchHooks {
        let folder = session.folder
        var requests = 0
        return BenchHooks(
            counters: noCheck
                ? nil
                : { prefix, body throws(Failure) in
                    var query = ReportQuery()
                    query.prefix = prefix
                    let report = try Report(folder, query)
                    if let missing = report.missing.first { throw missing.reason }
                    try report.forEachCounter { body($0.key, $0.value) }
                },
            backlog: try noCheck ? nil : backlog(session),
            stopRequests: { milliseconds throws(Failure) in
                if let event = try signals.wait(timeoutMilliseconds: milliseconds) { requests = event.stopRequests }
                return requests
            })
    }

    /// A look at Redis; nil if there is none to be had, which is no reason not to run.
    private func backlog(_ session: Session) throws(Failure) -> (() throws(Failure) -> BenchHooks.Backlog)? {
        guard try session.folder.readClusterFile() != nil else {
            throw Failure(
                .configuration, "there is no cluster in \(session.folder.path), so no sums to check",
                advice: "--data-dir names the folder of the server's shards; --no-check sends the load all the same.")
        }
        let topology = try session.folder.readyClusterFile().topology
        let probe = BacklogProbe(try session.redis(clientName: "tallymill-bench"))
        do throws(Failure) {
            _ = try probe.look(at: topology.partitionIDs)  // only whether it can be done
        } catch {
            Output.error("tallymill: the age of batches is not looked at: \(error.sentence)")
            return nil
        }
        return { () throws(Failure) in
            let backlog = Backlog(try probe.look(at: topology.partitionIDs))
            return BenchHooks.Backlog(batches: backlog.batches, oldestSeconds: backlog.oldestSeconds)
        }
    }
}

extension BenchCommand {
    /// A time on the command line.
    struct Span: ExpressibleByArgument, CustomStringConvertible {
        static let kind = SettingKind.duration(0...7 * 86_400_000)
        let milliseconds: Int

        init(milliseconds: Int) {
            self.milliseconds = milliseconds
        }

        init?(argument: String) {
            guard case .duration(let milliseconds)? = Self.kind.parse(argument) else { return nil }
            self.milliseconds = milliseconds
        }

        var description: String { "\(milliseconds)ms" }
        var defaultValueDescription: String { "\(milliseconds / 1_000)s" }
    }

    /// A level on the command line.
    struct LevelArgument: ExpressibleByArgument {
        let level: Level

        init(level: Level) {
            self.level = level
        }

        init?(argument: String) {
            guard let level = Level(argument) else { return nil }
            self.level = level
        }

        static var allValueStrings: [String] { Level.allCases.map(\.description) }
        var defaultValueDescription: String { level.description }
    }
}

extension LoadPlan.Body: ExpressibleByArgument {}
