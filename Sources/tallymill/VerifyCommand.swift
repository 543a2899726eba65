import ArgumentParser
import Operations
import ServiceKit

/// `tallymill verify`: is everything what it should be?
struct VerifyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify", abstract: "Checks every shard, and the shards against Redis.",
        discussion: """
            EXAMPLES
              tallymill verify
              tallymill verify --format json
              tallymill verify --offline                    the files alone

            Of each shard: whether SQLite finds it sound, whose it is, every key, the sums, the ledger, \
            the watermarks. Against Redis: topology, keys, every batch of every list. What was changed, moved, deleted \
            or doubled is named, with what to do.

            It changes nothing, and consumers and web nodes may run: each partition is read in an order that makes \
            false findings impossible. Only a consumer that starts meanwhile waits until its shard has been read.

            EXIT CODES
              0 no findings, 3 findings, 65 a shard that SQLite cannot open,
              69 Redis unreachable, 75 the cluster was rebalanced meanwhile,
              78 configuration
            """)

    @OptionGroup var common: CommonOptions
    @Flag(help: "do not look at Redis") var offline = false
    @Option(help: ArgumentHelp("table or json", valueName: "format")) var format = Format.table

    func run() throws {
        try run { () throws(Failure) in
            let session = try Session(.verify, common.flags)
            let access = offline ? nil : try session.redis(clientName: "tallymill-verify")
            let line = ShownProgress("verifying counters")
            let verification = try line.whileShown { show throws(Failure) in
                try Verification(session.folder, access, progress: show)
            }
            let told = verification.completed(by: session.given)
            Output.write(Array((format == .json ? told.json + "\n" : told.text).utf8), to: 1)
            return verification.exitCode
        }
    }
}
