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
