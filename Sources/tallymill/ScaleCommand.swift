import ArgumentParser
import Operations
import ServiceKit

/// `tallymill scale`: the consumers of this host as the topology asks for.
struct ScaleCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "scale", abstract: "Makes the consumer units of this host match the partitions.",
        discussion: """
            EXAMPLES
              tallymill scale                       the commands that are due, one a line
              tallymill scale --partitions 0-3      the others are on another host
              tallymill scale --apply               runs them
              tallymill scale --format json

            It compares the instances of tallymill-consumer@.service that are enabled or running with the cluster \
            file of the data folder, else with the topology in Redis: those beyond the last partition, not of this \
            host, or with a name that is no partition are disabled and stopped first; then the missing ones are \
            enabled and started. What has failed is reset. Without --apply it only prints.

            EXIT CODES
              0 printed, done, or nothing to do; 1 a command failed, 64 usage,
              69 no systemd here, 78 a rebalance is under way, or no such partition
            """)

    @OptionGroup var common: CommonOptions
    @Option(help: ArgumentHelp("partitions of this host, such as 0-3 (default: all)", valueName: "list"))
    var partitions: String?
    @Flag(help: "run the commands, until one fails") var apply = false
    @Option(help: ArgumentHelp("table or json", valueName: "format")) var format = Format.table

    func run() throws {
        try run { () throws(Failure) in
            let session = try Session(.scale, common.flags)
            let systemctl = try Systemctl(environment: Environment.current)
            let scale = try Scale(session.folder, list: partitions, systemctl) { () throws(Failure) in
                try session.redis(clientName: "tallymill-scale")
            }
            if format == .table { for notice in scale.notices { Output.error("tallymill: \(notice)") } }
            if scale.plan.steps.isEmpty {
                Output.line(format == .json ? scale.json(apply ? [] : nil) : scale.summary)
            } else if apply {
                try carryOut(scale, systemctl)
            } else {
                show(scale)
            }
            return .ok
        }
    }

    private func show(_ scale: Scale) {
        if format == .json { return Output.line(scale.json(nil)) }
        for step in scale.plan.steps { Output.line(step.command) }
        Output.error("tallymill: \(scale.summary); nothing was done: --apply runs these commands")
    }

    private func carryOut(_ scale: Scale, _ systemctl: Systemctl) throws(Failure) {
        var outcomes: [String?] = []
        defer { if format == .json { Output.line(scale.json(outcomes)) } }
        try scale.apply(systemctl) { step, words in
            outcomes.append(words)
            if format == .table { Output.line("\(step.command): \(words == nil ? "done" : "failed")") }
        }
    }
}
