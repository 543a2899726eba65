// Commands that are printed to be pasted.
//
// A library knows no command line: its messages name commands plainly, `tallymill repair` between backquotes or on a
// line of their own. Whoever prints one completes it here with the options that this process was given and that the
// command needs, too, so that it works as it stands, in this folder. A command that has an option already keeps it.
//
// The password of a URL is never printed: the command then takes the URL from its variable, or from the file of
// `--config` that it came from.

/// What a command that is printed has to be given. None for a program that was given nothing.
public struct GivenOptions: Hashable, Sendable {
    private struct Option: Hashable, Sendable {
        let setting: Setting
        /// As a shell reads it, with the flag.
        let words: String
    }

    /// How the program is called.
    private var program = "tallymill"
    private var options: [Option] = []

    public static let none = GivenOptions()

    /// What says where a cluster is, and what kind of Redis will do.
    private static let settings: [Setting] = [
        .config, .redis, .redisPasswordFile, .namespace, .allowVolatileRedis, .dataDir,
    ]

    private init() {}

    /// Everything that was given by flags or by the environment. What a file says, `--config` repeats.
    public init(_ settings: Settings) {
        for setting in Self.settings {
            switch settings.origin(of: setting) {
            case .builtIn, .file: continue
            case .flag, .environment, .variable, .credential: break
            }
            if case .flag = setting.kind {
                if settings.isOn(setting) { options.append(Option(setting: setting, words: setting.flag)) }
            } else if let text = settings.optionalText(setting) {
                options.append(Option(setting: setting, words: "\(setting.flag) \(Self.word(text, of: setting))"))
            }
        }
    }

    private static func word(_ text: String, of setting: Setting) -> String {
        if case .url = setting.kind, Setting.hasPassword(text) { return "\"$\(setting.variable)\"" }
        return ShellWord.quoted(text)
    }

    /// The same for commands that are pasted in another folder, or where the program is not along PATH.
    ///
    /// - Parameters:
    ///   - program: how it is called, as one word of a shell.
    ///   - dataFolder: from the root.
    public func fromAnywhere(calling program: String, dataFolder: String) -> GivenOptions {
        var given = self
        given.program = program
        given.options.removeAll { $0.setting == .dataDir }
        given.options.append(
            Option(setting: .dataDir, words: "\(Setting.dataDir.flag) \(ShellWord.quoted(dataFolder))"))
        return given
    }

    // MARK: Completing

    /// A command that begins with "tallymill " and a command's name, with what is missing; any other as it is.
    public func command(_ plain: String) -> String {
        let words = plain.split(separator: " ")
        guard words.count > 1, words[0] == Self.name, let name = CommandName(rawValue: String(words[1])),
            !words.contains("--help")
        else { return plain }
        let missing = options.filter { option in
            option.setting.commands.contains(name) && !words.contains { $0 == option.setting.flag }
        }
        let called = program == Self.name ? plain : program + plain.dropFirst(Self.name.count)
        return ([called] + missing.map(\.words)).joined(separator: " ")
    }

    /// A text with every command in it completed: those between backquotes, and lines that are one, behind "$ " or not.
    public func completing(_ text: String) -> String {
        guard self != .none, text.contains(Self.name + " ") else { return text }
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        return lines.map { completing(line: $0) }.joined(separator: "\n")
    }

    private static let name = "tallymill"

    private func completing(line: Substring) -> String {
        let indent = line.prefix { $0 == " " }
        var rest = line.dropFirst(indent.count)
        var mark = ""
        if rest.hasPrefix("$ ") {
            mark = "$ "
            rest = rest.dropFirst(mark.count)
        }
        if rest.hasPrefix(Self.name + " ") { return indent + mark + command(String(rest)) }
        let pieces = line.split(separator: "`", omittingEmptySubsequences: false)
        // Every second piece lies between backquotes; one that is not closed is none.
        return pieces.enumerated().map { index, piece in
            index % 2 == 1 && index + 1 < pieces.count ? command(String(piece)) : String(piece)
        }.joined(separator: "`")
    }
}
