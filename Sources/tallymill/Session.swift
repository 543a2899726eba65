// What a run was given: its settings, and what they mean for Redis and the data folder.

import Logging
import Operations
import RedisQueue
import ServiceKit
import Supervision
import Synchronization

/// The settings of a run, and what they mean for Redis and the data folder.
struct Session {
    let settings: Settings
    let folder: DataFolder
    let log: LogOutput
    /// What commands that are printed are completed with.
    let given: GivenOptions

    /// The session of this process, once there is one: what is printed on its way out needs it.
    private static let present = Mutex<Session?>(nil)
    static var current: Session? { present.withLock { $0 } }

    init(_ command: CommandName, _ flags: Flags) throws(Failure) {
        let environment = Environment.current
        do throws(SettingsError) {
            settings = try Settings.load(command: command, flags: flags.values, environment: environment)
        } catch {
            throw Failure(error)
        }
        folder = DataFolder(settings.text(.dataDir))
        given = GivenOptions(settings)
        log = LogOutput(settings, environment: environment)
        log.bootstrap()
        let session = self
        Self.present.withLock { $0 = session }
        for warning in settings.warnings {
            let advice: Logger.Metadata = warning.advice.map { ["advice": "\($0)"] } ?? [:]
            log.logger("settings").warning("\(warning.sentence)", metadata: advice)
        }
        _ = try ParentDeath.arm(environment: environment)  // false: nobody asked for it
    }

    /// K if it is demanded: by a flag. In the environment or a file it is the K of a new cluster, so that one file
    /// serves before and after a rebalance.
    var demandedPartitions: Int? {
        settings.origin(of: .partitions) == .flag ? settings.integer(.partitions) : nil
    }

    /// How to reach Redis. - Parameter clientName: what `CLIENT LIST` shows.
    func redis(clientName: String) throws(Failure) -> RedisAccess {
        let own = try UpFolder.socket(ofDataFolder: folder.path).map { "unix://\($0)" }
        let text = settings.optionalText(.redis) ?? own ?? "redis://127.0.0.1:6379"
        return try RedisAccess(
            url: text, passwordFile: settings.optionalText(.redisPasswordFile), namespace: settings.text(.namespace),
            clientName: clientName, allowVolatile: settings.isOn(.allowVolatileRedis))
    }

    /// A failure that may come from a mistyped place, with what is at the places that were given.
    func explaining(_ failure: Failure) -> Failure {
        guard failure.mayBeMisplaced else { return failure }
        let access = try? redis(clientName: "tallymill")  // what is wrong with it is told by who needs it
        return Surroundings(
            folder, access, isRedisNamed: settings.optionalText(.redis) != nil,
            isSilent: failure.code == .unavailable
        ).explaining(failure)
    }
}
