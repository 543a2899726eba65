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

    private static func isSet(_ variable: String) -> Bool { value(variable)?.isEmpty == false }

    private static func value(_ variable: String) -> String? {
        getenv(variable).map { String(cString: $0) }
    }
}
