import ArgumentParser
import Operations
import ServiceKit
import ShardStore
import Supervision
import TallyCore

/// `tallymill up`: a whole cluster in one terminal, until SIGTERM or Ctrl-C.
struct UpCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "up", abstract: "Runs a whole cluster: a private Redis, a web node, and a consumer a partition.",
        discussion: """
            EXAMPLES
              tallymill up
              tallymill up --listen 127.0.0.1:8080 --partitions 8 --data-dir /srv/tally
              tallymill up --redis redis://127.0.0.1:6379
              tallymill up --listen 127.0.0.1:3334 --admin-port 0 --data-dir ./second
              tallymill up --listen 0.0.0.0:3333 --tokens-file /etc/tallymill/tokens

            The web node's admin listener is where --admin-port says, those of the consumers at 9400 + the first \
            partition, as by hand. --admin-port 0 lets the system choose all of them: for a second cluster on this \
            machine. The log shows where they are.

            What dies is started again. Ctrl-C drains: the web node pushes what it has admitted, the consumers count \
            it, the total is printed, exit 0. A second Ctrl-C does not wait for that, and a third one kills; what \
            was acknowledged is on disk and is counted by the next `tallymill up`.

            Commands that need the consumers stopped, such as rebalance, hold them meanwhile through a socket in the \
            data folder, and what arrives waits in Redis. After a rebalance that was interrupted, the web node works \
            and no consumer is started until `tallymill rebalance resume` has finished it.
            """)

    @OptionGroup var common: CommonOptions
    @OptionGroup var web: WebOptions
    @OptionGroup var admin: AdminOptions
    @Option(help: .setting(.partitions)) var partitions: String?
    @Option(help: .setting(.idempotencyRetention)) var idempotencyRetention: String?

    func run() throws {
        try run { () throws(Failure) in
            let signals = try SignalWaiter()
            var flags = common.flags
            web.add(to: &flags)
            admin.add(to: &flags)
            flags.set(.partitions, partitions)
            flags.set(.idempotencyRetention, idempotencyRetention)
            let session = try Session(.up, flags)
            let folder = try UpFolder.acquire(dataFolder: session.folder.path)
            return try withExtendedLifetime(folder) { () throws(Failure) in try up(session, folder, signals) }
        }
    }

    private func up(
        _ session: Session, _ folder: UpFolder, _ signals: SignalWaiter
    ) throws(Failure) -> ServiceKit.ExitCode {
        let environment = Environment.current
        let demandsTokens = try session.access() != nil
        let executable = try Programs.own()
        var redis: PrivateRedis?
        if session.settings.optionalText(.redis) == nil {
            let own = try PrivateRedis(in: folder, environment: environment)
            try folder.publish(socket: own.socketPath)
            redis = own
        }
        let control = try folder.openControl(environment: environment)
        let data = DataFolder(folder.dataFolder)
        let access = try session.redis(clientName: "tallymill-up")
        let plans = RolePlans(
            settings: session.settings, executable: executable, dataFolder: data.path, socketPath: redis?.socketPath,
            logFormat: session.log.format, environment: environment)
        let asked = session.demandedPartitions
        let given = session.given.fromAnywhere(
            calling: Programs.callName(of: executable, environment: environment), dataFolder: data.path)
        let hooks = ClusterHooks(
            initialise: { () throws(Failure) in
                _ = try Initializer(folder: data, access: access).run(
                    partitions: asked, otherwise: session.settings.integer(.partitions), takesWhatIsThere: true
                )  // what the folder holds now is asked when it is needed: a rebalance may change it
            },
            state: { () throws(Failure) in try Self.state(data) },
            consumers: { state throws(Failure) in plans.consumers(partitions: state.partitions) },
            web: { () throws(Failure) in plans.web() },
            waitingBatches: { () throws(Failure) in try WaitingBatches.count(data, access) },
            total: { () throws(Failure) in try Self.total(data) },
            readyText: { address, state in
                ReadyText(
                    partitions: state.partitions, shownFolder: session.folder.path, given: given,
                    demandsTokens: demandsTokens
                ).text(address: address)
            },
            unfinishedText: { UnfinishedText.text($0, given: given) })
        return ClusterRun(
            redis: redis?.role, control: control, hooks: hooks, signals: signals, logger: session.log.logger("up"),
            complain: { failure in
                // A terminal that is gone is no reason to end in another way than the cluster has.
                if session.log.format == .text {
                    LineSink.standardError.write(session.given.completing(failure.report))
                } else {
                    Output.failure(failure)
                }
            }
        ).run()
    }

    private static func state(_ data: DataFolder) throws(Failure) -> ClusterState {
        guard let file = try data.readClusterFile() else {
            throw Failure(
                .configuration, "the cluster file is gone", at: data.clusterFilePath,
                advice: "Put it back: it belongs to the shards beside it.")
        }
        return ClusterState(
            epoch: file.topology.epoch, partitions: file.topology.partitions, isBuilding: file.state == .building)
    }

    private static func total(_ data: DataFolder) throws(Failure) -> String {
        let report = try Report(data, ReportQuery())
        if let missing = report.missing.first { throw missing.reason }
        let totals = report.totals
        return "total \(totals.sum) in \(totals.keys == 1 ? "1 key" : "\(totals.keys) keys")"
    }
}
