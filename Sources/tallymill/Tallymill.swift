// The command line: one file a command, each thin. What they do lives in the rooms that they join.

import ArgumentParser
import ServiceKit

@main
struct Tallymill: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tallymill",
        abstract: "Counts, exactly: an acknowledged increment counts once, whatever is killed or retried.",
        discussion: """
            EXAMPLES
              tallymill up                a whole cluster in this terminal
              curl -d 'key=hello&value=1' http://127.0.0.1:3333/increment
              tallymill report            the totals
              tallymill report --top 10   the largest counters
              tallymill status            what waits in Redis
              tallymill verify            is everything what it should be
              tallymill audit             does the ledger balance
              tallymill doctor            what is wrong here, and what mends it
              tallymill top               rates and backlog, live
              tallymill scale             the consumer units that systemd should run

            BY HAND, WITH A REDIS OF YOUR OWN AT redis://127.0.0.1:6379
              (appendonly yes, appendfsync always, noeviction; elsewhere with --redis)
              tallymill init --data-dir /srv/tally --partitions 4
              tallymill web --listen 127.0.0.1:3333
              tallymill consume --data-dir /srv/tally --partitions 0-3

            Every option can also be set as TALLYMILL_<NAME> in the environment or in the file of --config.

            EXIT CODES
            \(exitCodes)
            """,
        version: Version.text,
        subcommands: [
            UpCommand.self, InitCommand.self, WebCommand.self, ConsumeCommand.self, ReportCommand.self,
            StatusCommand.self, RebalanceCommand.self, VerifyCommand.self, AuditCommand.self, RepairCommand.self,
            ImportCommand.self, ExportCommand.self, BackupCommand.self, RestoreCommand.self, DeadLettersCommand.self,
            ConfigCommand.self, TokenCommand.self, BenchCommand.self, ScaleCommand.self, DoctorCommand.self,
            TopCommand.self,
        ])

    private static let exitCodes = ServiceKit.ExitCode.allCases.map { code in
        "  \(code.rawValue)".padded(to: 6) + code.meaning
    }.joined(separator: "\n")

    static func main() {
        StandardDescriptors.openClosed()
        ProcessLimits.keepFilesFromOthers()
        ProcessLimits.leaveNoImage()
        // A signal that comes before a role waits for it is kept until then.
        if let name = CommandLine.arguments.dropFirst().first, ["up", "web", "consume"].contains(name) {
            SignalWaiter.block()
        }
        refuseUnknownCommand()
        runCommand()
    }
}

extension String {
    fileprivate func padded(to width: Int) -> String { self + String(repeating: " ", count: max(0, width - count)) }
}
