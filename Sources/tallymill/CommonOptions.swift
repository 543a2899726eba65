// The options that every command has, and the way from flags to settings.
//
// Help texts, ranges and defaults come from the table of settings; a flag that is absent here falls back to the
// environment, the file of --config, and the default.

import ArgumentParser
import Glibc
import Logging
import Operations
import RedisQueue
import ServiceKit
import Supervision

/// Options of all commands.
struct CommonOptions: ParsableArguments {
    @Option(help: .setting(.redis)) var redis: String?
    @Option(help: .setting(.redisPasswordFile)) var redisPasswordFile: String?
    @Option(help: .setting(.namespace)) var namespace: String?
    @Option(help: .setting(.dataDir)) var dataDir: String?
    @Option(help: .setting(.config)) var config: String?
    @Option(help: .setting(.logLevel)) var logLevel: String?
    @Option(help: .setting(.logFormat)) var logFormat: String?
    @Flag(help: .setting(.allowVolatileRedis)) var allowVolatileRedis = false

    var flags: Flags {
        var flags = Flags()
        flags.set(.redis, redis)
        flags.set(.redisPasswordFile, redisPasswordFile)
        flags.set(.namespace, namespace)
        flags.set(.dataDir, dataDir)
        flags.set(.config, config)
        flags.set(.logLevel, logLevel)
        flags.set(.logFormat, logFormat)
        flags.set(.allowVolatileRedis, allowVolatileRedis)
        return flags
    }
}

/// Options of every role: its admin listener, and the tokens that it and the listener of clients demand.
struct AdminOptions: ParsableArguments {
    @Option(help: .setting(.tokensFile)) var tokensFile: String?
    @Option(help: .setting(.adminHost)) var adminHost: String?
    @Option(help: .setting(.adminPort)) var adminPort: String?

    func add(to flags: inout Flags) {
        flags.set(.tokensFile, tokensFile)
        flags.set(.adminHost, adminHost)
        flags.set(.adminPort, adminPort)
    }
}

/// Options of what runs a web node.
struct WebOptions: ParsableArguments {
    @Option(help: .setting(.listen)) var listen: String?
    @Option(help: .setting(.eventLoops)) var eventLoops: String?
    @Option(help: .setting(.outboxBytes)) var outboxBytes: String?
    @Option(help: .setting(.queueBytes)) var queueBytes: String?
    @Option(help: .setting(.batchBytes)) var batchBytes: String?
    @Option(help: .setting(.requestBodyBytes)) var requestBodyBytes: String?
    @Option(help: .setting(.requestIncrements)) var requestIncrements: String?
    @Option(help: .setting(.unansweredRequests)) var unansweredRequests: String?
    @Option(help: .setting(.maxConnections)) var maxConnections: String?

    func add(to flags: inout Flags) {
        flags.set(.listen, listen)
        flags.set(.eventLoops, eventLoops)
        flags.set(.outboxBytes, outboxBytes)
        flags.set(.queueBytes, queueBytes)
        flags.set(.batchBytes, batchBytes)
        flags.set(.requestBodyBytes, requestBodyBytes)
        flags.set(.requestIncrements, requestIncrements)
        flags.set(.unansweredRequests, unansweredRequests)
        flags.set(.maxConnections, maxConnections)
    }
}

/// The forms in which most commands show something: for people, or for programs.
enum Format: String, ExpressibleByArgument, CaseIterable {
    case table, json
}

/// Flags as the settings read them.
struct Flags {
    private(set) var values: [String: String] = [:]

    mutating func set(_ setting: Setting, _ text: String?) {
        if let text { values[setting.name] = text }
    }

    mutating func set(_ setting: Setting, _ isOn: Bool) {
        if isOn { values[setting.name] = "true" }
    }
}

extension ArgumentHelp {
    /// One line, and what applies without the flag.
    static func setting(_ setting: Setting) -> ArgumentHelp {
        let fallback =
            setting.defaultText.map { " (default: \($0))" } ?? setting.absence.map { " (default: \($0))" } ?? ""
        return ArgumentHelp("\(setting.help)\(fallback)", valueName: setting.kind.placeholder)
    }
}

extension ParsableCommand {
    /// Runs `body`; a failure is printed once and becomes the exit code.
    func run(_ body: () throws(Failure) -> ServiceKit.ExitCode) throws {
        let code: ServiceKit.ExitCode
        do throws(Failure) {
            code = try body()
        } catch {
            Output.failure(error)
            code = error.code
        }
        if code != .ok { throw ArgumentParser.ExitCode(code.rawValue) }
    }
}

/// The settings of a run, and what they mean for Redis and the data folder.
struct Session {
    let settings: Settings
    let folder: DataFolder
    let log: LogOutput

    init(_ command: CommandName, _ flags: Flags) throws(Failure) {
        let environment = Environment.current
        do throws(SettingsError) {
            settings = try Settings.load(command: command, flags: flags.values, environment: environment)
        } catch {
            throw Failure(error)
        }
        folder = DataFolder(settings.text(.dataDir))
        log = LogOutput(settings, environment: environment)
        log.bootstrap()
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
}
