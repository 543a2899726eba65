import ArgumentParser
import Operations
import ServiceKit

/// `tallymill status`: what waits in Redis.
struct StatusCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Shows what waits in Redis, how long, and who consumes it.",
        discussion: """
            EXAMPLES
              tallymill status
              tallymill status --format json --redis redis://127.0.0.1:6379

            Lines that begin with DUE say what is wrong, and the command that mends it: what Redis lacks of the \
            cluster, an interrupted rebalance, a shard that is older than what its queue has seen counted.
            """)

    @OptionGroup var common: CommonOptions
    @Option(help: ArgumentHelp("table or json", valueName: "format")) var format = Format.table

    func run() throws {
        try run { () throws(Failure) in
            let session = try Session(.status, common.flags)
            let status = try Status(session.folder, try session.redis(clientName: "tallymill-status"))
            let told = status.completed(by: session.given)
            Output.write(Array((format == .json ? told.json + "\n" : told.table).utf8), to: 1)
            return .ok
        }
    }
}
