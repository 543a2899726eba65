import ArgumentParser
import Operations
import ServiceKit
import Supervision
import TallyCore

/// `tallymill restore`: a backup becomes the shards of a cluster.
struct RestoreCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore", abstract: "Puts a backup in place, unless counts would be missing.",
        discussion: """
            EXAMPLES
              tallymill restore /backups/monday --data-dir /srv/tally
              tallymill restore /backups/monday --data-dir /srv/tally --replace
              tallymill restore /backups/monday --replace --accept-loss
              tallymill restore /backups/monday --partitions 2 --replace
              tallymill restore /backups/monday --data-dir ./copy --no-redis
              tallymill restore /backups/monday --replace --format json

            First the backup is compared with its manifest, with the queues in Redis, and with the files that it would \
            replace. Batches that were committed after the backup are in no queue any more: they would be missing, so \
            they are listed, nothing is changed and it ends with 3. A newer copy of the shards has them.

            If there is none, --accept-loss restores all the same and writes them into the shards as lost: web nodes \
            and consumers go on, and `tallymill audit` names what was lost, and how much as soon as that is known. \
            Without it nothing of such a partition would be counted any more. An accepted loss is final.

            With --partitions only their shards are restored, into a folder of the same epoch. The others stay, and \
            their consumers may run.

            Files that are in the data folder stay, or with --replace go to a folder beside them; nothing is deleted. \
            No consumer may run meanwhile: a running `up` stops its own and starts them again, others must be stopped.
            """)

    @OptionGroup var common: CommonOptions
    @Argument(help: "the folder of the backup") var backup: String
    @Option(help: ArgumentHelp("only the shards of these partitions, such as 2 or 0-3,7", valueName: "list"))
    var partitions: String?
    @Flag(help: "there is no Redis to compare with: its data is lost, or this is a copy to look at") var noRedis = false
    @Flag(help: "put the files that are there aside") var replace = false
    @Flag(help: "restore although counts would be missing, and write them down as lost") var acceptLoss = false
    @Option(help: ArgumentHelp("table or json", valueName: "format")) var format = Format.table

    func run() throws {
        try run { () throws(Failure) in
            let session = try Session(.restore, common.flags)
            let source = try BackupFolder(backup)
            let chosen = try partitions.map { list throws(Failure) in
                try PartitionList.parse(list, partitions: source.manifest.topology.partitions)
            }
            let restore = Restore(source, into: session.folder, partitions: chosen)
            let mustReplace = try restore.replacesFiles()
            guard replace || !mustReplace else {
                throw Failure(
                    .configuration, "there are shards of this cluster already", at: session.folder.path,
                    advice: "--replace puts them aside, into a folder beside them.")
            }
            let hold = try ConsumerHold.take(
                dataFolder: session.folder.path, reason: "restore of \(backup)",
                waitingMilliseconds: ChangeTool.holdMilliseconds)
            if hold != nil { Output.remark("the consumers of `up` have stopped") }
            let code = try carryOut(restore, source, session, chosen, isHeld: hold != nil)
            if let hold { Output.remark("`up`: \(try hold.release(waitingMilliseconds: ChangeTool.holdMilliseconds))") }
            return code
        }
    }

    /// Compares and restores. Nobody consumes meanwhile: the locks of the shards, which it takes, see to that.
    private func carryOut(
        _ restore: Restore, _ source: BackupFolder, _ session: Session, _ chosen: [UInt32]?, isHeld: Bool
    ) throws(Failure) -> ServiceKit.ExitCode {
        var comparison = try compare(source, session, chosen)
        if try refuses(comparison, source) { return .partial }
        if comparison.mayBeAwaited {
            ClientWait().run { Output.remark($0) }
            comparison = try compare(source, session, chosen)
            if try refuses(comparison, source) { return .partial }
        }
        let progress = ProgressLine("copying bytes", total: restore.shards.reduce(0) { $0 + $1.bytes })
        let outcome = try progress.during { () throws(Failure) in
            try restore.run(replaces: replace, losses: comparison.losses) { progress.update(done: $0) }
        }
        for loss in comparison.losses { Output.remark("declared lost: \(Self.text(loss))") }
        for later in comparison.unwritten {
            Output.remark("missing behind batches that still wait in the list, and not written down: \(later)")
        }
        tell(outcome, restore.shards, session)
        let all = source.manifest.topology.partitionIDs.map(\.number)
        tellNext(chosen ?? all, comparison, session, isHeld: isHeld)
        if format == .json { Output.line(result(comparison, restore.shards, outcome, session)) }
        return .ok
    }

    private func compare(
        _ source: BackupFolder, _ session: Session, _ chosen: [UInt32]?
    ) throws(Failure) -> RestoreComparison {
        do throws(Failure) {
            let access = noRedis ? nil : try session.redis(clientName: "tallymill-restore")
            return try RestoreComparison(source, access, replacing: session.folder, partitions: chosen)
        } catch {
            guard error.code == .unavailable else { throw error }
            throw Failure(
                .unavailable, error.what, at: error.location,
                advice: "The backup has to be compared with the queues: start Redis, or name it with --redis. "
                    + "--no-redis says that there is none.")
        }
    }

    /// Says what would be missing.
    private func refuses(_ comparison: RestoreComparison, _ source: BackupFolder) throws(Failure) -> Bool {
        for problem in comparison.unread {
            Output.error("note: it cannot be compared what this file has beyond the backup: \(problem)")
        }
        if !comparison.missing.isEmpty, !acceptLoss {
            for missing in comparison.missing { Output.remark("would be missing: \(missing)") }
            if format == .json { Output.line(result(comparison)) }
            let batches = comparison.missing.reduce(0) { $0 + $1.batches }
            Output.failure(
                Failure(
                    .partial,
                    "\(Humanized.batches(batches)) \(batches == 1 ? "was" : "were") committed after this backup, and no"
                        + " queue holds \(batches == 1 ? "it" : "them") any more",
                    at: source.path,
                    advice: "Nothing was changed. Restore a newer backup, or put back the newest copies of the shards."
                        + " If there is none, --accept-loss restores it and writes them down as lost."))
            return true
        }
        guard let holder = comparison.holders.first else { return false }
        throw Failure(
            .locked, "\(holder) consumes", at: "Redis",
            advice: "Stop the consumers first; the lease of one that was killed ends within a minute.")
    }

    private static func text(_ loss: StreamLoss) -> String {
        let (first, last) = (loss.sequences.lowerBound, loss.sequences.upperBound)
        let amount =
            loss.amount.map { "\($0.increments) increments (sum \($0.sum))" } ?? "how much they held is not known yet"
        return "partition \(loss.stream.partition.number): batches \(first)-\(last) of producer "
            + "\(loss.stream.producer): \(amount)"
    }

    private func tell(_ outcome: Restore.Outcome, _ shards: [BackupManifest.Shard], _ session: Session) {
        let keys = shards.reduce(0) { $0 + $1.keys }
        let total = shards.reduce(Int128(0)) { $0 + $1.total }
        Output.remark(
            "restored epoch \(outcome.topology.epoch): \(Humanized.count(shards.count, "shard")), "
                + "\(Humanized.count(keys, "key")), total \(total) in \(session.folder.path)")
        if let path = outcome.replacedPath { Output.remark("what was there is in \(path)") }
    }

    /// - Parameter isHeld: whether an `up` starts the consumers again.
    private func tellNext(
        _ numbers: [UInt32], _ comparison: RestoreComparison, _ session: Session, isHeld: Bool
    ) {
        let needsRepair = comparison.partitionsWithoutKeys > 0
        if isHeld {
            if needsRepair { Output.remark("next: `tallymill repair`") }
            return
        }
        let consume = "`tallymill consume --partitions \(PartitionList.text(numbers))`"
        let repair = needsRepair ? "`tallymill repair`, then " : ""
        if session.settings.optionalText(.redis) != nil {
            Output.remark("next: \(repair)start the consumers again, \(consume)")
        } else {
            Output.remark("next: `tallymill up`, or with your own Redis \(repair)\(consume)")
        }
    }

    /// For programs; without an outcome nothing was restored.
    private func result(
        _ comparison: RestoreComparison, _ shards: [BackupManifest.Shard] = [], _ outcome: Restore.Outcome? = nil,
        _ session: Session? = nil
    ) -> String {
        var object = JSONObject()
        object.add("restored", outcome != nil)
        object.add("missing", comparison.missing.map(\.json))
        if let outcome {
            object.add("cluster", outcome.topology.cluster.description)
            object.add("epoch", outcome.topology.epoch)
            object.add("shards", shards.count)
            object.add("keys", shards.reduce(0) { $0 + $1.keys })
            object.addTotal(shards.reduce(0) { $0 + $1.total })
            object.add("data_dir", session?.folder.path)
            object.add("replaced", outcome.replacedPath)
            object.add("repair_due", comparison.partitionsWithoutKeys > 0)
        }
        return object.text
    }
}
