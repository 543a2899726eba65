// What one setting is. Its name fixes all its spellings: `outbox-bytes` is `--outbox-bytes` on a command line and
// TALLYMILL_OUTBOX_BYTES both in the environment and in a file, so that one file serves `--config` and systemd's
// EnvironmentFile alike. The table of all of them is in Setting+Table.swift.

/// The commands that read settings.
public enum CommandName: String, CaseIterable, Sendable {
    case initialize = "init"
    case deadLetters = "dead-letters"
    case importing = "import"
    case config, up, web, consume, report, status, rebalance, repair, verify, audit, backup, restore, export, bench
    case scale, doctor, top
}

/// One row of the table of settings.
public struct Setting: Sendable {
    /// Lower-case words joined by hyphens, such as `outbox-bytes`.
    public let name: String
    public let kind: SettingKind
    /// The default as an operator would write it; nil when there is none, or when it depends on the machine.
    public let defaultText: String?
    /// What happens without a value, where `defaultText` is nil.
    public let absence: String?
    /// One line for `--help`, without a full stop.
    public let help: String
    /// Whether the value may never be shown.
    public let isSecret: Bool
    /// Whether a file may set it; only the setting that names the file may not.
    public let isAllowedInFile: Bool
    /// Whether a running role takes a new value when it is told to read its configuration again (SIGHUP).
    public let isReloadable: Bool
    /// A variable of another program that serves as default: systemd's STATE_DIRECTORY.
    public let fallbackVariable: String?
    /// A credential of systemd (LoadCredential=) whose file serves as default, if the service has one of that name.
    public let fallbackCredential: String?
    /// The commands that have it as a flag. Elsewhere its flag is refused, its variable and its line in a file are
    /// checked and not used, so that one file serves all commands.
    public let commands: Set<CommandName>

    init(
        _ name: String, _ kind: SettingKind, default defaultText: String? = nil, absence: String? = nil,
        isSecret: Bool = false, isAllowedInFile: Bool = true, isReloadable: Bool = false,
        fallbackVariable: String? = nil, fallbackCredential: String? = nil,
        commands: Set<CommandName> = Set(CommandName.allCases), help: String
    ) {
        self.name = name
        self.kind = kind
        self.defaultText = defaultText
        self.absence = absence
        self.isSecret = isSecret
        self.isAllowedInFile = isAllowedInFile
        self.isReloadable = isReloadable
        self.fallbackVariable = fallbackVariable
        self.fallbackCredential = fallbackCredential
        self.commands = commands
        self.help = help
    }

    /// The spelling on a command line: `--outbox-bytes`.
    public var flag: String { "--\(name)" }

    /// The spelling in the environment and in a file: `TALLYMILL_OUTBOX_BYTES`.
    public var variable: String {
        let tail = name.utf8.map { byte -> UInt8 in
            switch byte {
            case UInt8(ascii: "-"): UInt8(ascii: "_")
            case UInt8(ascii: "a")...UInt8(ascii: "z"): byte - 32
            default: byte
            }
        }
        return Self.variablePrefix + String(decoding: tail, as: UTF8.self)
    }

    /// What every variable and every key in a file begins with.
    public static let variablePrefix = "TALLYMILL_"

    /// A value of this setting as it may be printed: secrets hidden, the password of a URL masked.
    public func redacted(_ text: String) -> String {
        if isSecret { return "(hidden)" }
        guard case .url = kind else { return text }
        return Self.maskingPassword(in: text)
    }

    /// Whether a URL holds a password, or something before '@' that may be one.
    static func hasPassword(_ url: String) -> Bool {
        guard let at = url.lastIndex(of: "@") else { return false }
        guard let scheme = url.firstRange(of: "://"), scheme.upperBound <= at else { return true }
        return url[scheme.upperBound..<at].contains(":")
    }

    /// "redis://user:secret@host" becomes "redis://user:***@host". A URL that has no such form loses all that
    /// stands before its last '@'.
    static func maskingPassword(in url: String) -> String {
        guard let at = url.lastIndex(of: "@") else { return url }
        guard let scheme = url.firstRange(of: "://"), scheme.upperBound <= at,
            let colon = url[scheme.upperBound..<at].firstIndex(of: ":")
        else { return "***\(url[at...])" }
        return "\(url[...colon])***\(url[at...])"
    }
}

extension Setting: Hashable {
    public static func == (left: Setting, right: Setting) -> Bool { left.name == right.name }

    public func hash(into hasher: inout Hasher) { hasher.combine(name) }
}
