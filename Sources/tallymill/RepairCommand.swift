import ArgumentParser
import Operations
import ServiceKit
import TallyCore

/// `tallymill repair`: brings Redis to what the cluster file says.
struct RepairCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "repair", abstract: "Mends what Redis lost: functions, topology, keys, and old lists.",
        discussion: """
            EXAMPLES
              tallymill repair            shows what is due, asks, and does it
              tallymill repair --yes      without asking, in scripts
              tallymill repair --yes --format json
              tallymill repair --collect  also deletes empty old key groups
              tallymill repair --accept-loss e3.p5/5f0c...e1:6-10
              tallymill repair --accept-loss all --yes
              tallymill repair --bury e3.p5:5f0c2a9b8d7e6f10

            For a Redis that was emptied, replaced, or restored from a dump; `tallymill status` says when it is due. \
            It may run at any time, beside web nodes and consumers, and again after any interruption: what is in \
            order stays as it is. What lies in lists of earlier epochs is sent to the current one and counts once; \
            that needs running consumers.

            With --collect, no node may be left that knows an earlier epoch only.

            Some batches nothing brings back: a shard that is older than its queue, or than what its web nodes know to \
            be committed, lacks them, and so does every shard if another copy of the folder has counted them. Nothing \
            of such a partition is counted, and web nodes refuse what goes there. They are named, by partition, \
            producer and sequences; repair does everything else and ends with 3. The newest copy of the file has them. \
            If there is none, --accept-loss declares them lost: counting goes on behind them, and `tallymill audit` \
            says how much it was once the next batch of that producer tells. Only what really is missing is taken, \
            and it is final: the same batches are never counted again. Batches that were pushed and never committed \
            are declared lost a minute later, when no client waits for them any more: none may be told that they are \
            stored.

            An entry at the head of a list that is no batch, or another partition's, stops its consumer with 65. It is \
            named, too; --bury takes it away, once its bytes are on the disk in the data folder. A batch that only a \
            newer release can read stays.

            What some shards know to be lost of earlier epochs is written into the others; with --accept-loss it ends \
            with 3 while one of them is not here.
            """)

    @OptionGroup var common: CommonOptions
    @Flag(help: "do it without asking") var yes = false
    @Option(help: ArgumentHelp("table or json", valueName: "format")) var format = Format.table
    @Flag(help: "delete key groups of earlier epochs that are sealed and empty") var collect = false
    @Option(
        help: ArgumentHelp(
            "declare missing batches lost, as they are named; repeat it for more; or all",
            valueName: "partition/producer:first-last"))
    var acceptLoss: [String] = []
    @Option(
        help: ArgumentHelp(
            "take the oldest entry of a list away that no consumer can take, as it is named; repeat it for more",
            valueName: "partition:digest"))
    var bury: [String] = []

    func run() throws {
        try run { () throws(Failure) in
            let tool = try ChangeTool(Session(.repair, common.flags), "repair")
            var options = Repair.Options()
            options.collects = collect
            options.accepted = try acceptLoss.map { text throws(Failure) in try LossChoice(text) }
            options.buried = try bury.map { text throws(Failure) in try BuryChoice(text) }
            options.resume = { () throws(Failure) in
                try tool.withConsumersStopped("rebalance, resumed by repair", isLocked: true) {
                    rebalance throws(Failure) in
                    _ = try rebalance.resume()  // that there was something is why it is called
                }
            }
            return try repair(Repair(tool.session.folder, tool.access, options), options)
        }
    }

    private func repair(_ repair: Repair, _ options: Repair.Options) throws(Failure) -> ServiceKit.ExitCode {
        let plan = repair.plan
        if let caution = repair.caution { Output.error("note: \(caution)") }
        for step in plan { Output.remark("due: \(step)") }
        var done: [String] = []
        let tell = { (line: String) in
            done.append(line)
            Output.remark(line)
        }
        var outcome = "failed"
        defer { if format == .json { Output.line(result(repair, outcome, done)) } }
        if plan.isEmpty {
            // What is missing is told at the end; what was declared lost before is told to Redis once more.
            if !repair.unmended.isEmpty || !options.accepted.isEmpty || !options.buried.isEmpty { try repair.run(tell) }
            try repair.checkNodes()
            outcome = "nothing due"
            Output.remark("nothing to repair: Redis is as the cluster file says")
            return .ok
        }
        for range in repair.unmended { Output.remark("not mended: \(range)") }
        guard try Confirmation.ask("Go on?", isGiven: yes) else {
            outcome = "declined"
            Output.remark("nothing was done")
            return .ok
        }
        try repair.run(tell)
        outcome = "done"
        Output.remark("done")
        return .ok
    }

    private func result(_ repair: Repair, _ outcome: String, _ done: [String]) -> String {
        let given = Session.current?.given ?? .none
        var object = JSONObject()
        object.add("outcome", outcome)
        object.add("due", repair.plan.map { given.completing($0) })
        object.add("done", done.map { given.completing($0) })
        object.add("not_mended", repair.unmended)
        return object.text
    }
}
