import ArgumentParser
import Operations
import ServiceKit
import TallyCore

/// `tallymill backup`: copies of all shards while consumers run.
struct BackupCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup", abstract: "Copies every shard while consumers run, or checks such a copy.",
        discussion: """
            EXAMPLES
              tallymill backup /backups/monday
              tallymill backup --verify /backups/monday
              tallymill backup /backups/monday --format json

            The folder must not be there or be empty. It has its name when the backup is complete: an interrupted \
            one is called <folder>.partial, and the next to the same folder begins anew. manifest.json, written \
            last, holds the size and the XXH64 of each file.

            Each shard is copied as it is at one moment, and the moments differ. Nothing has to agree between shards: \
            the watermarks in each say which batches it holds, and its queue delivers the others. What was committed \
            after the copy is in no queue any more, so a backup that is older than its queue is not put in place: \
            `tallymill restore` says what would be missing.
            """)

    @OptionGroup var common: CommonOptions
    @Argument(help: "the folder of the backup") var folder: String
    @Flag(help: "compare the files of a backup with its manifest") var verify = false
    @Option(help: ArgumentHelp("table or json", valueName: "format")) var format = Format.table

    func run() throws {
        try run { () throws(Failure) in
            let session = try Session(.backup, common.flags)
            return verify ? try check() : try make(session)
        }
    }

    private func make(_ session: Session) throws(Failure) -> ServiceKit.ExitCode {
        let backup = try Backup(session.folder, to: folder, release: Version.number)
        let progress = ProgressLine("copying bytes", total: backup.bytes)
        let manifest = try progress.during { () throws(Failure) in try backup.run { progress.update(done: $0) } }
        if format == .json {
            Output.line(manifest.summary(in: folder).text)
        } else {
            Output.line(
                "backup of epoch \(manifest.topology.epoch): \(text(manifest)), \(Humanized.bytes(manifest.bytes)) "
                    + "in \(folder)")
        }
        return .ok
    }

    private func text(_ manifest: BackupManifest) -> String {
        "\(Humanized.count(manifest.shards.count, "shard")), \(Humanized.count(manifest.keys, "key")), "
            + "total \(manifest.total)"
    }

    private func check() throws(Failure) -> ServiceKit.ExitCode {
        let backup = try BackupFolder(folder)
        let manifest = backup.manifest
        let progress = ProgressLine("checking bytes", total: manifest.bytes)
        let findings = try progress.during { () throws(Failure) in
            try backup.check { progress.update(done: $0) }
        }
        if format == .json {
            var summary = manifest.summary(in: folder)
            summary.add("clean", findings.isEmpty)
            summary.add("findings", findings)
            Output.line(summary.text)
            return findings.isEmpty ? .ok : .partial
        }
        for finding in findings { Output.line(finding) }
        if !findings.isEmpty {
            Output.error("tallymill: the backup is damaged\n  Use another one; the other files in it are as they were.")
            return .partial
        }
        Output.line(
            "the backup is complete: epoch \(manifest.topology.epoch), \(text(manifest)), made "
                + Timestamp.rfc3339(milliseconds: manifest.milliseconds))
        return .ok
    }
}
