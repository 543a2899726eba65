import ArgumentParser
import Operations
import RedisQueue
import ServiceKit

/// `tallymill doctor`: what is wrong here, and what mends it.
struct DoctorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor", abstract: "Checks what goes wrong in practice, and names the commands that mend it.",
        discussion: """
            EXAMPLES
              tallymill doctor
              tallymill doctor --config /etc/tallymill/tallymill.conf
              tallymill doctor --format json

            Redis: reachable, version, role, persistence, failed writes, eviction, memory, functions, the kernel and \
            the disk below it, its clock. The cluster: cluster file, interrupted rebalance, topology, shards, dead \
            letters, consumers, old batches and full lists. This host: permissions, secrets, disk and file system, \
            open files, consumer units of systemd.

            Lines with $ are commands for a shell. It changes nothing and reads no counters: tallymill verify and \
            tallymill audit do. Run it as the user of the consumers, or as root, on each host.

            EXIT CODES
              0 no findings, 3 findings, 64 usage, 78 configuration
            """)

    @OptionGroup var common: CommonOptions
    @Option(help: ArgumentHelp("table or json", valueName: "format")) var format = Format.table

    func run() throws {
        try run { () throws(Failure) in
            let session = try Session(.doctor, common.flags)
            var subject = Doctor.Subject(
                folder: session.folder,
                access: Result { () throws(Failure) in try session.redis(clientName: "tallymill-doctor") },
                instances: Result { () throws(Failure) in
                    try ConsumerInstance.all(try Systemctl(environment: Environment.current))
                })
            subject.queueBytes = session.settings.bytes(.queueBytes)
            subject.connectionsMax = session.settings.integer(.maxConnections)
            subject.secrets = session.settings.secretFiles
            subject.given = session.given
            let doctor = Doctor(subject)
            Output.write(Array((format == .json ? doctor.json + "\n" : doctor.text).utf8), to: 1)
            return doctor.exitCode
        }
    }
}

extension Settings {
    /// The files from which a password came, or comes.
    fileprivate var secretFiles: [SecretFile] {
        var files =
            optionalText(.redisPasswordFile).map { [SecretFile(path: $0, content: "the password of Redis")] } ?? []
        if case .file(let path, _) = origin(of: .redis), let text = optionalText(.redis),
            (try? RedisURL(text))?.password != nil  // one that does not parse is told as such elsewhere
        {
            files.append(SecretFile(path: path, content: "a URL with the password of Redis"))
        }
        return files
    }
}
