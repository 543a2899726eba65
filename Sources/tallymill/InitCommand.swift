import ArgumentParser
import Operations
import ServiceKit

/// `tallymill init`: makes a cluster, or completes one.
struct InitCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "init", abstract: "Makes a cluster: its cluster file, its shards, and its keys in Redis.",
        discussion: """
            EXAMPLES
              tallymill init --partitions 4
              tallymill init --partitions 8 --data-dir /srv/tally --redis redis://10.0.0.1

            May be run again at any time: it creates what is missing in Redis and changes nothing else. Another \
            number of partitions is refused: that is a rebalance. In the environment or in the file of --config, the \
            number is that of a new cluster; one that exists keeps its own.
            """)

    @OptionGroup var common: CommonOptions
    @Option(help: .setting(.partitions)) var partitions: String?
    @Option(help: ArgumentHelp("table or json", valueName: "format")) var format = Format.table

    func run() throws {
        try run { () throws(Failure) in
            var flags = common.flags
            flags.set(.partitions, partitions)
            let session = try Session(.initialize, flags)
            let access = try session.redis(clientName: "tallymill-init")
            let outcome = try Initializer(folder: session.folder, access: access).run(
                partitions: session.demandedPartitions, otherwise: session.settings.integer(.partitions))
            Output.line(format == .json ? outcome.json : outcome.description)
            return .ok
        }
    }
}
