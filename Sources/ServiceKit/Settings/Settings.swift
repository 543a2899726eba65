// The settings of one run: read once, checked before anything else happens, then a value that is passed on.
//
// Precedence: flags, then the environment, then the file, then what systemd gives a service (STATE_DIRECTORY, a
// credential), then the default. Every value of every source is checked, also one that another source overrides, so
// that a mistake is found when it is made. An unknown line of the file is an error. An unknown TALLYMILL_ variable is a
// warning: it may be a slip, but orchestrators also set variables of that form for a service of this name.

import Glibc

/// All settings with their values.
public struct Settings: Sendable {
    /// A setting's value, ready to be shown.
    public struct Entry: Hashable, Sendable {
        public let setting: Setting
        /// The value as it was written, secrets hidden; nil without value and default.
        public let shownText: String?
        public let origin: SettingOrigin
    }

    private struct Resolved: Sendable {
        let text: String
        let value: SettingValue
        let origin: SettingOrigin
    }

    /// Variables with the prefix that are no settings: `up` tells its children its process number.
    public static let otherVariables: Set<String> = [ParentDeath.variable]

    private let resolved: [String: Resolved]
    /// What is probably a mistake, and stops nothing: variables that are no settings.
    public let warnings: [Failure]

    /// Combines the sources.
    ///
    /// - Parameters:
    ///   - command: whose flags are permitted.
    ///   - flags: by the setting's name without hyphens in front, such as "outbox-bytes"; a flag without value
    ///     is "true".
    ///   - environment: the whole environment; other programs' variables are ignored.
    ///   - file: what `--config` names, if anything.
    ///   - other: what else is wrong.
    /// - Throws: everything that is wrong; 64 for flags, else 78.
    public static func resolve(
        command: CommandName, flags: [String: String], environment: [String: String], file: SettingsFile?,
        besides other: [Failure] = []
    ) throws(SettingsError) -> Settings {
        var problems = other + (file?.problems ?? [])
        var warnings: [Failure] = []
        let sources = [
            flagLayer(flags, of: command, problems: &problems),
            environmentLayer(environment, warnings: &warnings),
            fileLayer(file),
            fallbackLayer(environment),
            defaultLayer,
        ]
        for source in sources {
            for setting in Setting.table {
                guard let entry = source.entries[setting.name], setting.kind.parse(entry.text) == nil else { continue }
                problems.append(.badValue(entry.text, of: setting, from: entry.origin))
            }
        }
        guard problems.isEmpty else {
            throw SettingsError(problems.filter { $0.code == .usage } + problems.filter { $0.code != .usage })
        }
        let found = SettingsLayers(layers: sources).resolve(Setting.table)
        var resolved: [String: Resolved] = [:]
        for setting in Setting.table {
            guard let entry = found[setting.name], let value = setting.kind.parse(entry.text) else { continue }
            resolved[setting.name] = Resolved(text: entry.text, value: value, origin: entry.origin)
        }
        return Settings(resolved: resolved, warnings: warnings)
    }

    /// Combines the sources with the file that `--config` or TALLYMILL_CONFIG names.
    ///
    /// - Throws: as `resolve`, and 78 if the file cannot be read.
    public static func load(
        command: CommandName, flags: [String: String], environment: [String: String]
    ) throws(SettingsError) -> Settings {
        // The file is read whatever else is wrong, so that all mistakes are told at once.
        let path = flags[Setting.config.name] ?? environment[Setting.config.variable]
        guard let path, Setting.config.kind.parse(path) != nil else {
            return try resolve(command: command, flags: flags, environment: environment, file: nil)
        }
        var file: SettingsFile?
        var problems: [Failure] = []
        do throws(SettingsError) { file = try SettingsFile.read(path) } catch { problems = error.problems }
        return try resolve(
            command: command, flags: flags, environment: environment, file: file, besides: problems)
    }
}

// Reading. A setting of another kind, or one without value where one is demanded, is a mistake in the caller.
extension Settings {
    /// An integer setting that has a default.
    public func integer(_ setting: Setting) -> Int { required(optionalInteger(setting), setting) }

    /// An integer setting; nil without value.
    public func optionalInteger(_ setting: Setting) -> Int? {
        guard let value = resolved[setting.name]?.value else { return nil }
        guard case .integer(let number) = value else { preconditionFailure("\(setting.name) is no integer") }
        return number
    }

    /// A number of bytes.
    public func bytes(_ setting: Setting) -> Int {
        guard case .bytes(let count)? = resolved[setting.name]?.value else {
            preconditionFailure("\(setting.name) is no number of bytes")
        }
        return count
    }

    /// A duration in milliseconds.
    public func milliseconds(_ setting: Setting) -> Int {
        guard case .duration(let count)? = resolved[setting.name]?.value else {
            preconditionFailure("\(setting.name) is no duration")
        }
        return count
    }

    /// A name, choice, path or URL that has a default.
    public func text(_ setting: Setting) -> String { required(optionalText(setting), setting) }

    /// A name, choice, path or URL; nil without value.
    public func optionalText(_ setting: Setting) -> String? {
        guard let value = resolved[setting.name]?.value else { return nil }
        guard case .text(let text) = value else { preconditionFailure("\(setting.name) is no text") }
        return text
    }

    /// A list with commas between its elements; empty without a value.
    public func list(_ setting: Setting) -> [String] {
        optionalText(setting)?.split(separator: ",").map { String($0) } ?? []
    }

    /// A setting that is true or false.
    public func isOn(_ setting: Setting) -> Bool {
        guard case .flag(let isOn)? = resolved[setting.name]?.value else {
            preconditionFailure("\(setting.name) is neither true nor false")
        }
        return isOn
    }

    /// An address.
    public func endpoint(_ setting: Setting) -> Endpoint {
        guard case .endpoint(let endpoint)? = resolved[setting.name]?.value else {
            preconditionFailure("\(setting.name) is no address")
        }
        return endpoint
    }

    /// Where the value came from; `.builtIn` also for a setting without value.
    public func origin(of setting: Setting) -> SettingOrigin {
        resolved[setting.name]?.origin ?? .builtIn
    }

    /// All settings, ready to be shown, in the table's order.
    public var entries: [Entry] {
        Setting.table.map { setting in
            Entry(
                setting: setting, shownText: resolved[setting.name].map { setting.redacted($0.text) },
                origin: origin(of: setting))
        }
    }

    /// The settings of a command whose value is another one in `newer`, in the table's order.
    public func changes(in newer: Settings, of command: CommandName) -> [Setting] {
        Setting.all(of: command).filter { resolved[$0.name]?.text != newer.resolved[$0.name]?.text }
    }

    /// The variables that give a child, running `command`, every value that is not the default here. The
    /// environment and not the command line, which every user of the machine can read.
    public func variables(for command: CommandName) -> [String: String] {
        var variables: [String: String] = [:]
        for setting in Setting.all(of: command) where setting != .config {
            guard let found = resolved[setting.name], found.origin != .builtIn else { continue }
            variables[setting.variable] = found.text
        }
        return variables
    }

    private func required<Value>(_ value: Value?, _ setting: Setting) -> Value {
        guard let value else { preconditionFailure("\(setting.name) may have no value: use the optional accessor") }
        return value
    }
}

// The sources, each as a layer.
extension Settings {
    private static func flagLayer(
        _ flags: [String: String], of command: CommandName, problems: inout [Failure]
    ) -> SettingsLayer {
        var layer = SettingsLayer(providerName: "flags")
        for (name, text) in flags.sorted(by: { $0.key < $1.key }) {
            if let setting = Setting.named(name), setting.commands.contains(command) {
                layer.entries[name] = .init(text: text, origin: .flag)
            } else {
                problems.append(unknownFlag(name, of: command))
            }
        }
        return layer
    }

    private static func unknownFlag(_ name: String, of command: CommandName) -> Failure {
        let nearest = NearestName.of(name, among: Setting.all(of: command).map(\.name))
        return Failure(
            .usage, "`tallymill \(command.rawValue)` has no flag --\(name)",
            advice: nearest.map { "Did you mean --\($0)?" } ?? "`tallymill \(command.rawValue) --help` lists them.")
    }

    private static func environmentLayer(
        _ environment: [String: String], warnings: inout [Failure]
    ) -> SettingsLayer {
        var layer = SettingsLayer(providerName: "environment")
        for (variable, text) in environment.sorted(by: { $0.key < $1.key })
        where variable.hasPrefix(Setting.variablePrefix) && !otherVariables.contains(variable) {
            if let setting = Setting.ofVariable(variable) {
                layer.entries[setting.name] = .init(text: text, origin: .environment)
            } else {
                warnings.append(.unknownVariable(variable, at: "environment"))
            }
        }
        return layer
    }

    private static func fileLayer(_ file: SettingsFile?) -> SettingsLayer {
        var layer = SettingsLayer(providerName: "file")
        guard let file else { return layer }
        for line in file.lines {
            layer.entries[line.setting.name] = .init(
                text: line.text, origin: .file(path: file.path, line: line.number))
        }
        return layer
    }

    private static func fallbackLayer(_ environment: [String: String]) -> SettingsLayer {
        var layer = SettingsLayer(providerName: "fallback")
        for setting in Setting.table {
            guard let variable = setting.fallbackVariable, let text = environment[variable] else { continue }
            // systemd joins several state directories with colons; ours is the first.
            let first = text.split(separator: ":").first.map(String.init) ?? text
            layer.entries[setting.name] = .init(text: first, origin: .variable(variable))
        }
        guard let folder = environment["CREDENTIALS_DIRECTORY"] else { return layer }
        for setting in Setting.table {
            guard let name = setting.fallbackCredential else { continue }
            let path = "\(folder)/\(name)"
            // Only that it is there: one that cannot be read is for its reader to report.
            if access(path, F_OK) == 0 { layer.entries[setting.name] = .init(text: path, origin: .credential(name)) }
        }
        return layer
    }

    private static var defaultLayer: SettingsLayer {
        var layer = SettingsLayer(providerName: "default")
        for setting in Setting.table {
            layer.entries[setting.name] = setting.defaultText.map { .init(text: $0, origin: .builtIn) }
        }
        return layer
    }
}
