import ArgumentParser
import Glibc
import Operations
import ServiceKit
import ShardConsumer
import Supervision
import TallyCore

/// `tallymill rebalance`: another number of partitions.
struct RebalanceCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rebalance", abstract: "Changes the number of partitions; clients do not notice.",
        discussion: """
            EXAMPLES
              tallymill rebalance plan --to 7
              tallymill rebalance run --to 7 --yes
              tallymill rebalance status
              tallymill rebalance resume
              tallymill rebalance purge --yes

            Consumers stand still meanwhile; a running `tallymill up` stops its own and starts the new ones. Web nodes \
            go on: what arrives waits in the queues of the new epoch. Interrupted at any point, `resume` goes on.
            """,
        subcommands: [Plan.self, Run.self, Status.self, Resume.self, Purge.self])
}

/// Options of what changes a cluster's epoch.
struct ChangeOptions: ParsableArguments {
    @Option(
        help: ArgumentHelp("for drills: the process stops itself before step n", valueName: "n", visibility: .hidden))
    var pauseBefore: Int?
}

extension RebalanceCommand {
    /// `tallymill rebalance plan`.
    struct Plan: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Shows what a change would move, need and take; changes nothing.")

        @OptionGroup var common: CommonOptions
        @Option(help: ArgumentHelp("the new number of partitions, 1 to 1024", valueName: "n")) var to: Int
        @Option(help: .setting(.queueBytes)) var queueBytes: String?
        @Option(help: ArgumentHelp("table or json", valueName: "format")) var format = Format.table

        func run() throws {
            try run { () throws(Failure) in
                try PartitionCount.check(to)
                var flags = common.flags
                flags.set(.queueBytes, queueBytes)
                let session = try Session(.rebalance, flags)
                let plan = try RebalancePlan(
                    session.folder, session.redis(clientName: "tallymill-rebalance"), to: to,
                    queueBytes: session.settings.bytes(.queueBytes))
                if format == .json { Output.line(plan.json) } else { Output.told(plan.text) }
                return .ok
            }
        }
    }

    /// `tallymill rebalance run`.
    struct Run: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Changes the number of partitions.")

        @OptionGroup var common: CommonOptions
        @OptionGroup var change: ChangeOptions
        @Option(help: ArgumentHelp("the new number of partitions, 1 to 1024", valueName: "n")) var to: Int
        @Option(help: .setting(.queueBytes)) var queueBytes: String?
        @Flag(help: "do not ask") var yes = false

        func run() throws {
            try run { () throws(Failure) in
                try PartitionCount.check(to)
                var flags = common.flags
                flags.set(.queueBytes, queueBytes)
                let tool = try ChangeTool(Session(.rebalance, flags), "rebalance", pauseBefore: change.pauseBefore)
                // Who is asked wants to know for how long there is room.
                let plan = try RebalancePlan(
                    tool.session.folder, tool.access, to: to, queueBytes: tool.session.settings.bytes(.queueBytes),
                    measuresRate: !yes)
                if plan.topology.partitions == to, !plan.isAwaited {
                    Output.line("nothing to do: epoch \(plan.topology.epoch) has \(Humanized.count(to, "partition"))")
                    return .ok
                }
                Output.told(plan.text, to: STDERR_FILENO)
                let question = "Change to \(Humanized.count(to, "partition"))?"
                guard try Confirmation.ask(question, isGiven: yes) else { return .failure }
                try tool.withConsumersStopped("rebalance to \(to) partitions") { rebalance throws(Failure) in
                    try rebalance.run(to: to)
                }
                return .ok
            }
        }
    }

    /// `tallymill rebalance status`.
    struct Status: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Shows where a change stands.")

        @OptionGroup var common: CommonOptions
        @Option(help: ArgumentHelp("table or json", valueName: "format")) var format = Format.table

        func run() throws {
            try run { () throws(Failure) in
                let session = try Session(.rebalance, common.flags)
                let status = try RebalanceStatus(session.folder)
                if format == .json { Output.line(status.json) } else { Output.told(status.text) }
                return .ok
            }
        }
    }

    /// `tallymill rebalance resume`.
    struct Resume: ParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Goes on with a change that was interrupted.")

        @OptionGroup var common: CommonOptions
        @OptionGroup var change: ChangeOptions
        @Flag(help: "give up the import that was interrupted: nothing of it is counted") var withoutImport = false

        func run() throws {
            try run { () throws(Failure) in
                let tool = try ChangeTool(
                    Session(.rebalance, common.flags), "rebalance", pauseBefore: change.pauseBefore)
                let withoutImport = withoutImport
                let folder = tool.session.folder
                guard try RebalanceStatus(folder).state != .idle else {
                    let lock = try folder.lockForChange()
                    let hasEnded = try withExtendedLifetime(lock) { () throws(Failure) in try folder.endJournal() }
                    Output.line(hasEnded ? "the change had ended: its journal was put away" : "nothing to resume")
                    return .ok
                }
                try tool.withConsumersStopped("rebalance, resumed") { rebalance throws(Failure) in
                    if try !rebalance.resume(withoutImport: withoutImport) { Output.line("nothing to resume") }
                }
                return .ok
            }
        }
    }

    /// `tallymill rebalance purge`.
    struct Purge: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Deletes earlier epochs: their files, their keys in Redis, their watermarks.",
            discussion: """
                Consumers and web nodes may run. The watermarks of the last of those epochs stay until the next \
                change: they recognise what moved and has not been met yet. What is forgotten can no longer be \
                recognised, so it is refused (3), with what to do,
                  while a list holds batches of an epoch that would be forgotten, or an
                  old list holds any,
                  while the queue of an earlier epoch was consumed by another copy of the
                  files.

                What can still go wrong: a web node that slept through two changes of epoch, or a Redis from before \
                them that is put back, brings batches that nobody can recognise. They are not counted, and not lost: \
                they go to the dead letters (`forgotten`).

                The files are a way back to look at; they are gone then. A second purge has nothing to do, and says so.
                """)

        @OptionGroup var common: CommonOptions
        @Flag(help: "do not ask") var yes = false

        func run() throws {
            try run { () throws(Failure) in
                let tool = try ChangeTool(Session(.rebalance, common.flags), "rebalance")
                let lock = try tool.session.folder.lockForChange()
                let purge = try RebalancePurge(tool.session.folder, tool.access)
                if purge.epochs.isEmpty {
                    Output.line("nothing to purge: no files of an earlier epoch are kept")
                    return .ok
                }
                let names = purge.epochs.map { "\($0.epoch)" }.joined(separator: ", ")
                Output.error(
                    "epoch \(names) can never be looked at again; what a web node or a Redis still brings of epochs "
                        + "before the last change goes to the dead letters")
                guard try Confirmation.ask("Purge epoch \(names)?", isGiven: yes) else { return .failure }
                let bytes = try withExtendedLifetime(lock) { () throws(Failure) in
                    try purge.run { tool.progress.tell($0) }
                }
                tool.progress.clear()
                Output.line("purged epoch \(names): \(Humanized.bytes(bytes))")
                return .ok
            }
        }
    }
}

/// A number of partitions on a command line.
enum PartitionCount {
    /// - Throws: 64.
    static func check(_ partitions: Int) throws(Failure) {
        guard (1...Limits.partitionsMax).contains(partitions) else {
            throw Failure(
                .usage, "\(partitions) is no number of partitions", at: "--to",
                advice: "It is a number from 1 to \(Limits.partitionsMax).")
        }
    }
}
