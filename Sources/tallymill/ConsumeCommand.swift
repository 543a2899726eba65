import ArgumentParser
import Glibc
import Logging
import Operations
import ServiceKit
import ShardConsumer
import ShardStore
import TallyCore
import Telemetry
import Tokens

/// `tallymill consume`: consumers of some partitions, until SIGTERM or Ctrl-C.
struct ConsumeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "consume", abstract: "Runs the consumers of some partitions, one thread each.",
        discussion: """
            EXAMPLES
              tallymill consume --partitions 0-3
              tallymill consume --partitions 2 --redis redis://10.0.0.1:6379
              tallymill consume --partitions 0,2,5-7

            SIGTERM finishes the transaction under way, exit 0.
            SIGHUP reads the configuration again; `tallymill config show` marks what can change without a restart.
            """)

    @OptionGroup var common: CommonOptions
    @OptionGroup var admin: AdminOptions
    @Option(help: ArgumentHelp("partitions to consume: a list of numbers and ranges, such as 0-3,7", valueName: "list"))
    var partitions: String
    @Option(help: .setting(.idempotencyRetention)) var idempotencyRetention: String?

    func run() throws {
        try run { () throws(Failure) in
            let signals = try SignalWaiter()
            var flags = common.flags
            flags.set(.idempotencyRetention, idempotencyRetention)
            admin.add(to: &flags)
            let session = try Session(.consume, flags)
            let logger = session.log.logger("consume")
            var reload = Reload(.consume, flags, session, logger: logger)
            return try consume(session, signals, &reload, logger)
        }
    }

    private func consume(
        _ session: Session, _ signals: SignalWaiter, _ reload: inout Reload, _ logger: Logger
    ) throws(Failure) -> ServiceKit.ExitCode {
        let cluster = try session.folder.readyClusterFile()
        let numbers = try PartitionList.parse(partitions, partitions: cluster.topology.partitions)
        let shards = numbers.map { session.folder.shard($0, of: cluster.topology) }
        // A file that is not right is a matter of this start, whatever Redis does.
        for shard in shards { _ = try shard.open() }
        let tokens = try session.access()
        let port = RoleWatch.port(ofConsumer: shards[0].partition.number)
        var watch = try RoleWatch(session, defaultPort: port, tokens, logger: logger)
        let access = try session.redis(clientName: "tallymill-consume")
        _ = try access.connect(waitingMilliseconds: RedisAccess.startMilliseconds)
        let retention = IdempotencyRetention(milliseconds: Self.retention(session.settings))
        let consumers = ShardConsumer(
            ShardConsumer.Configuration(
                link: access.link, names: access.names, host: try Host.identity(), owner: Host.owner,
                idempotencyRetention: retention),
            shards: shards, logger: logger)
        watch.start { ConsumerObserver(consumers, shards: shards, access, RoleWatch.build) }
        Output.announce("ready partition \(partitions)", logger)
        var readiness = ConsumerReadiness()
        while consumers.isRunning {
            if let event = try signals.wait(timeoutMilliseconds: 100) {
                if event.kind != .hangup { break }
                reload.run { settings throws(Failure) in
                    retention.milliseconds = Self.retention(settings)
                }
                tokens?.reload(logger: logger)
            }
            readiness.tell(watch, consumers)
        }
        watch.tell { notify throws(Failure) in try notify.stopping(status: "finishing the transaction under way") }
        watch.askForPatience()
        let failure = consumers.stop()
        watch.stop()
        if let failure { throw failure }
        return .ok
    }

    private static func retention(_ settings: Settings) -> UInt64 {
        UInt64(settings.milliseconds(.idempotencyRetention))
    }
}

/// Tells systemd once that every shard is owned, and asks for patience until then: the lease of a consumer that was
/// killed on another host has to run out first.
private struct ConsumerReadiness {
    private var isTold = false
    private var askedAt: UInt64?

    mutating func tell(_ watch: RoleWatch, _ consumers: ShardConsumer) {
        if isTold { return }
        if consumers.report().allSatisfy({ $0.state == .consuming }) {
            isTold = true
            return watch.tell { notify throws(Failure) in try notify.ready(status: "consuming") }
        }
        let now = MonotonicClock.milliseconds()
        if let askedAt, now < askedAt + UInt64(RoleWatch.patienceMilliseconds / 3) { return }
        askedAt = now
        watch.askForPatience()
    }
}
