import ArgumentParser
import Operations
import ServiceKit
import TallyCore

/// `tallymill restore`: a backup becomes the shards of a cluster.
struct RestoreCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore", abstract: "Puts a backup in place, unless counts would be missing.",
        discussion: """
            EXAMPLES
              tallymill restore /backups/monday --data-dir /srv/tally
              tallymill restore /backups/monday --data-dir /srv/tally --replace
              tallymill restore /backups/monday --data-dir ./copy --no-redis

            First the backup is compared with its manifest and with the queues in Redis. Batches that were committed
            after the backup are in no queue any more: they would be missing, so they are listed, nothing is changed and
            it ends with 3. A newer copy of the shards has them.

            Files that are in the data folder stay, or with --replace go to a folder beside them; nothing is deleted.
            Consumers must be stopped for that.
            """)

    @OptionGroup var common: CommonOptions
    @Argument(help: "the folder of the backup") var backup: String
    @Flag(help: "there is no Redis to compare with: its data is lost, or this is a copy to look at") var noRedis = false
    @Flag(help: "put the files that are there aside") var replace = false

    func run() throws {
        try run { () throws(Failure) in
            let session = try Session(.restore, common.flags)
            let source = try BackupFolder(backup)
            let restore = Restore(source, into: session.folder)
            let mustReplace = try restore.replacesFiles()
            guard replace || !mustReplace else {
                throw Failure(
                    .configuration, "there are shards of this cluster already", at: session.folder.path,
                    advice: "--replace puts them aside, into a folder beside them.")
            }
            let comparison = noRedis ? nil : try compare(source, session)
            if let comparison, try refuses(comparison, source) { return .partial }
            let progress = ProgressLine("copying bytes", total: source.manifest.bytes)
            let outcome = try progress.during { () throws(Failure) in
                try restore.run(replaces: replace) { progress.update(done: $0) }
            }
            tell(outcome, source, comparison, session)
            return .ok
        }
    }

    private func compare(_ source: BackupFolder, _ session: Session) throws(Failure) -> RestoreComparison {
        do throws(Failure) {
            return try RestoreComparison(source, try session.redis(clientName: "tallymill-restore"))
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
        if !comparison.missing.isEmpty {
            for missing in comparison.missing { Output.line("would be missing: \(missing)") }
            let batches = comparison.missing.reduce(0) { $0 + $1.batches }
            Output.error(
                """
                tallymill: \(source.path): \(Humanized.count(batches)) batches were committed after this backup, \
                and no queue holds them any more
                  Nothing was changed. Restore a newer backup, or put back the newest copies of the shards.
                """)
            return true
        }
        guard let holder = comparison.holders.first else { return false }
        throw Failure(
            .locked, "\(holder) consumes", at: "Redis",
            advice: "Stop the consumers first; the lease of one that was killed ends within a minute.")
    }

    private func tell(
        _ outcome: Restore.Outcome, _ source: BackupFolder, _ comparison: RestoreComparison?, _ session: Session
    ) {
        let manifest = source.manifest
        Output.line(
            "restored epoch \(outcome.topology.epoch): \(manifest.shards.count) shards, "
                + "\(Humanized.count(manifest.keys)) keys, total \(manifest.total) in \(session.folder.path)")
        if let path = outcome.replacedPath { Output.line("what was there is in \(path)") }
        if let comparison, comparison.partitionsWithoutKeys == 0 {
            Output.line("next: start the consumers again, `tallymill up` or `tallymill consume`")
        } else {
            Output.line(
                "next: `tallymill up --data-dir \(session.folder.path)`, or with your own Redis `tallymill repair`, "
                    + "then start the consumers")
        }
    }
}
