import ArgumentParser
import Operations
import ServiceKit
import TallyCore

/// `tallymill config`: which settings apply, and whether they are right.
struct ConfigCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config", abstract: "Shows and checks the settings.",
        discussion: """
            EXAMPLES
              tallymill config show --config /etc/tallymill/tallymill.conf
              tallymill config check --config /etc/tallymill/tallymill.conf
              TALLYMILL_OUTBOX_BYTES=1GiB tallymill config show --format json

            A flag takes precedence over the environment, that over the file of --config, and that over the default. \
            Every source is checked as a whole, also where another one takes precedence.
            """,
        subcommands: [Show.self, Check.self])

    /// `tallymill config show`.
    struct Show: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "show", abstract: "Shows every setting, its value, and where the value comes from.",
            discussion: """
                EXAMPLES
                  tallymill config show
                  tallymill config show --config /etc/tallymill/tallymill.conf --format json

                Passwords are not shown. RELOAD says whether a running role takes a new value when it gets SIGHUP \
                (`systemctl reload`), or only at its next start.
                """)

        @OptionGroup var common: CommonOptions
        @Option(help: ArgumentHelp("table or json", valueName: "format")) var format = Format.table

        func run() throws {
            try run { () throws(Failure) in
                let entries = try ConfigCommand.load(common).entries
                Output.write(Array((format == .json ? Self.json(entries) : Self.table(entries)).utf8), to: 1)
                return .ok
            }
        }

        private static func table(_ entries: [Settings.Entry]) -> String {
            var table = TextTable([.left("SETTING"), .left("VALUE"), .left("FROM"), .left("RELOAD")])
            for entry in entries {
                let absence = entry.setting.absence.map { "(\($0))" } ?? ""
                table.add([
                    entry.setting.variable, entry.shownText ?? absence, entry.origin.description,
                    entry.setting.isReloadable ? "yes" : "restart",
                ])
            }
            return table.text
        }

        private static func json(_ entries: [Settings.Entry]) -> String {
            let rows = entries.map { entry in
                let value = entry.shownText.map { JSONText.quote($0) } ?? "null"
                return #"{"setting":\#(JSONText.quote(entry.setting.variable)),"value":\#(value),"#
                    + #""from":\#(JSONText.quote(entry.origin.description)),"reloads":\#(entry.setting.isReloadable)}"#
            }
            return "[\(rows.joined(separator: ","))]\n"
        }
    }

    /// `tallymill config check`.
    struct Check: ParsableCommand {
        static let configuration = CommandConfiguration(
            commandName: "check", abstract: "Checks flags, environment and file; exit 78 if something is wrong.",
            discussion: """
                EXAMPLES
                  tallymill config check --config /etc/tallymill/tallymill.conf
                  tallymill config check --format json
                  tallymill config check && systemctl reload 'tallymill-*'

                Every mistake is printed, with the number of its line and what is permitted there. Where the bounds of \
                memory come to more than this machine has, there is a warning.
                """)

        @OptionGroup var common: CommonOptions
        @Option(help: ArgumentHelp("table or json", valueName: "format")) var format = Format.table

        func run() throws {
            try run { () throws(Failure) in
                if format == .json { return checkForPrograms() }
                let settings = try ConfigCommand.load(common)
                let given = settings.entries.count { $0.origin != .builtIn }
                let place = settings.optionalText(.config).map { " \($0):" } ?? ""
                Output.line(
                    "ok:\(place) \(given) of \(settings.entries.count) settings are set, the others have defaults")
                for warning in ConfigCommand.warnings(settings) { Output.line("warning: \(warning)") }
                return .ok
            }
        }

        /// Each mistake as an object of its own.
        private func checkForPrograms() -> ServiceKit.ExitCode {
            var object = JSONObject()
            do throws(SettingsError) {
                let settings = try ConfigCommand.read(common)
                object.add("clean", true)
                object.add("set", settings.entries.count { $0.origin != .builtIn })
                object.add("settings", settings.entries.count)
                object.add("findings", [JSONObject]())
                object.add("warnings", ConfigCommand.warnings(settings))
                Output.line(object.text)
                return .ok
            } catch {
                object.add("clean", false)
                object.add("findings", error.problems.map(\.finding))
                object.add("warnings", [String]())
                Output.line(object.text)
                return error.code
            }
        }
    }

    private static func warnings(_ settings: Settings) -> [String] {
        MemoryNeed.machineBytes().map { MemoryNeed(settings).warnings(machineBytes: $0) } ?? []
    }

    private static func read(_ common: CommonOptions) throws(SettingsError) -> Settings {
        try Settings.load(command: .config, flags: common.flags.values, environment: Environment.current)
    }

    private static func load(_ common: CommonOptions) throws(Failure) -> Settings {
        do throws(SettingsError) {
            return try read(common)
        } catch {
            throw Failure(error)
        }
    }
}
