// The options that every command has, and the way from flags to settings (Session.swift has what they mean).
//
// Help texts, ranges and defaults come from the table of settings; a flag that is absent here falls back to the
// environment, the file of --config, and the default.

import ArgumentParser
import ServiceKit

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
    @Option(help: .setting(.allowedHosts)) var allowedHosts: String?
    @Option(help: .setting(.adminHost)) var adminHost: String?
    @Option(help: .setting(.adminPort)) var adminPort: String?

    func add(to flags: inout Flags) {
        flags.set(.tokensFile, tokensFile)
        flags.set(.allowedHosts, allowedHosts)
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
    @Option(help: .setting(.requestMemoryBytes)) var requestMemoryBytes: String?
    @Option(help: .setting(.unansweredRequests)) var unansweredRequests: String?
    @Option(help: .setting(.maxConnections)) var maxConnections: String?
    @Option(help: .setting(.connectionsPerAddress)) var connectionsPerAddress: String?

    func add(to flags: inout Flags) {
        flags.set(.listen, listen)
        flags.set(.eventLoops, eventLoops)
        flags.set(.outboxBytes, outboxBytes)
        flags.set(.queueBytes, queueBytes)
        flags.set(.batchBytes, batchBytes)
        flags.set(.requestBodyBytes, requestBodyBytes)
        flags.set(.requestIncrements, requestIncrements)
        flags.set(.requestMemoryBytes, requestMemoryBytes)
        flags.set(.unansweredRequests, unansweredRequests)
        flags.set(.maxConnections, maxConnections)
        flags.set(.connectionsPerAddress, connectionsPerAddress)
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
            Output.failure(Session.current?.explaining(error) ?? error)
            code = error.code
        }
        if code != .ok { throw ArgumentParser.ExitCode(code.rawValue) }
    }
}
