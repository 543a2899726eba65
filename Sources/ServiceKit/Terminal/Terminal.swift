// What a descriptor can show: whether people look at it, how wide it is, and whether they want colour.

import Glibc

/// A descriptor seen as a terminal.
public struct Terminal: Sendable {
    public let descriptor: Int32

    public init(_ descriptor: Int32) { self.descriptor = descriptor }

    public static let standardOutput = Terminal(STDOUT_FILENO)
    public static let standardError = Terminal(STDERR_FILENO)

    public var isTerminal: Bool { isatty(descriptor) == 1 }

    /// Columns; nil if it is no terminal or does not say.
    public var width: Int? {
        var size = winsize()
        guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0 else { return nil }
        return Int(size.ws_col)
    }

    /// A terminal that is not "dumb", and no NO_COLOR (https://no-color.org: any value but the empty one).
    public var allowsColour: Bool {
        isTerminal && !Self.isSet("NO_COLOR") && Self.value("TERM") != "dumb"
    }

    /// Whether the locale's characters are UTF-8, so that more than ASCII can be shown.
    public static var isUTF8: Bool {
        let name = ["LC_ALL", "LC_CTYPE", "LANG"].lazy.compactMap { value($0) }.first { !$0.isEmpty } ?? ""
        let lower = name.lowercased()
        return lower.contains("utf-8") || lower.contains("utf8")
    }

    private static func isSet(_ variable: String) -> Bool { value(variable)?.isEmpty == false }

    private static func value(_ variable: String) -> String? {
        getenv(variable).map { String(cString: $0) }
    }
}
