import ArgumentParser
import Operations
import ServiceKit

/// `tallymill repair`: brings Redis to what the cluster file says.
struct RepairCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "repair", abstract: "Mends what Redis lost: functions, topology, keys, and old lists.",
        discussion: """
            EXAMPLES
              tallymill repair            shows what is due, asks, and does it
              tallymill repair --yes      without asking, in scripts
              tallymill repair --collect  also deletes empty old key groups

            For a Redis that was emptied, replaced, or restored from a dump; `tallymill status` says when it is due. \
            It may run at any time, beside web nodes and consumers, and again after any interruption: what is in \
            order stays as it is. What lies in lists of earlier epochs is sent to the current one and counts once; \
            that needs running consumers.

            With --collect, no node may be left that knows an earlier epoch only.
            """)

    @OptionGroup var common: CommonOptions
    @Flag(help: "do it without asking") var yes = false
    @Flag(help: "delete key groups of earlier epochs that are sealed and empty") var collect = false

    func run() throws {
        try run { () throws(Failure) in
            let tool = try ChangeTool(Session(.repair, common.flags), "repair")
            var options = Repair.Options()
            options.collects = collect
            options.resume = { () throws(Failure) in
                try tool.withConsumersStopped("rebalance, resumed by repair", isLocked: true) {
                    rebalance throws(Failure) in
                    _ = try rebalance.resume()  // that there was something is why it is called
                }
            }
            let repair = try Repair(tool.session.folder, tool.access, options)
            let plan = repair.plan
            if plan.isEmpty {
                Output.line("nothing to repair: Redis is as the cluster file says")
                return .ok
            }
            for step in plan { Output.line("due: \(step)") }
            guard try Confirmation.ask("Go on?", isGiven: yes) else {
                Output.line("nothing was done")
                return .ok
            }
            try repair.run { Output.line($0) }
            Output.line("done")
            return .ok
        }
    }
}
