// Reading the configuration again, when SIGHUP asks for it: what can change while a role runs is changed, what cannot
// is named, and a configuration that is wrong changes nothing.

import Logging
import ServiceKit

/// The configuration of a running role.
struct Reload {
    private let command: CommandName
    private let flags: Flags
    private let log: LogOutput
    private let logger: Logger
    /// What the settings that cannot change were at the start.
    private let started: Settings
    /// What is in force of those that can.
    private var current: Settings

    init(_ command: CommandName, _ flags: Flags, _ session: Session, logger: Logger) {
        self.command = command
        self.flags = flags
        self.logger = logger
        log = session.log
        started = session.settings
        current = session.settings
    }

    /// Reads everything again and hands the new settings to `apply`, which may refuse them with a failure. The level of
    /// the log is set here.
    mutating func run(_ apply: (Settings) throws(Failure) -> Void) {
        do throws(Failure) {
            let newer: Settings
            do throws(SettingsError) {
                newer = try Settings.load(command: command, flags: flags.values, environment: Environment.current)
            } catch {
                throw Failure(error)
            }
            try apply(newer)
            let changed = current.changes(in: newer, of: command).filter(\.isReloadable)
            let pending = started.changes(in: newer, of: command).filter { !$0.isReloadable }
            current = newer
            logger.info("the configuration was read again", metadata: ["changed": Self.list(changed)])
            if !pending.isEmpty {
                logger.warning("some changes wait for a restart", metadata: ["settings": Self.list(pending)])
            }
            // Last: a higher one would hide what was just said.
            log.level = LogOutput.level(newer)
        } catch {
            logger.error("the configuration is as before", metadata: error.metadata)
        }
    }

    private static func list(_ settings: [Setting]) -> Logger.MetadataValue {
        settings.isEmpty ? "nothing" : "\(settings.map(\.variable).joined(separator: " "))"
    }
}
