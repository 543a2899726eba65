import ArgumentParser
import Glibc
import Operations
import ServiceKit
import ShardConsumer
import ShardStore
import TallyCore

/// `tallymill consume`: consumers of some partitions, until SIGTERM or Ctrl-C.
struct ConsumeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "consume", abstract: "Runs the consumers of some partitions, one thread each.",
        discussion: """
            EXAMPLES
              tallymill consume --partitions 0-3
              tallymill consume --partitions 2 --data-dir /srv/tally --redis redis://10.0.0.1:6379
              tallymill consume --partitions 0,2,5-7

            SIGTERM finishes the transaction under way, exit 0.
            """)

    @OptionGroup var common: CommonOptions
    @Option(help: ArgumentHelp("partitions to consume: a list of numbers and ranges, such as 0-3,7", valueName: "list"))
    var partitions: String
    @Option(help: .setting(.idempotencyRetention)) var idempotencyRetention: String?

    func run() throws {
        try run { () throws(Failure) in
            let signals = try SignalWaiter()
            var flags = common.flags
            flags.set(.idempotencyRetention, idempotencyRetention)
            let session = try Session(.consume, flags)
            return try consume(session, signals)
        }
    }

    private func consume(_ session: Session, _ signals: SignalWaiter) throws(Failure) -> ServiceKit.ExitCode {
        let cluster = try session.folder.readyClusterFile()
        let numbers = try PartitionList.parse(partitions, partitions: cluster.topology.partitions)
        let shards = numbers.map { session.folder.shard($0, of: cluster.topology) }
        // A file that is not right is a matter of this start, whatever Redis does.
        for shard in shards { _ = try shard.open() }
        let access = try session.redis(clientName: "tallymill-consume")
        _ = try access.connect(waitingMilliseconds: RedisAccess.startMilliseconds)
        let consumers = ShardConsumer(
            ShardConsumer.Configuration(
                link: access.link, names: access.names, host: try Host.identity(), owner: Host.owner,
                idempotencyRetentionMilliseconds: UInt64(session.settings.milliseconds(.idempotencyRetention))),
            shards: shards, logger: session.log.logger("consume"))
        Output.line("ready partition \(partitions)")
        let notify = Notify(environment: Environment.current)
        try notify.ready(status: "consuming partition \(partitions)")
        while consumers.isRunning {
            if let event = try signals.wait(timeoutMilliseconds: 100), event.kind != .hangup { break }
        }
        try notify.stopping(status: "finishing the transaction under way")
        if let failure = consumers.stop() { throw failure }
        return .ok
    }
}
