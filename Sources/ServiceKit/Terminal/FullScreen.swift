// A terminal that a program has for itself for a while: the alternate screen, no cursor, keys one by one and without an
// echo. Everything is put back at the end, whichever way that is reached, because a terminal left in raw mode is
// useless to the person in front of it.
//
// In raw mode Ctrl-C is a key like any other. Escape sequences: `CSI ? 1049 h` and `l` (alternate screen), `CSI ? 25 l`
// and `h` (cursor), as xterm has them and every terminal since.

import Glibc

/// A key that was pressed.
public enum PressedKey: Hashable, Sendable {
    case character(Character)
    /// Ctrl-C.
    case interrupt
    case up, down, pageUp, pageDown, home, end
    /// The other side of the terminal is gone.
    case closed
}

/// The whole of a terminal. Owned by one thread.
public final class FullScreen {
    /// Columns and rows.
    public struct Size: Hashable, Sendable {
        public let width: Int
        public let height: Int
    }

    /// Readable when a key was pressed, for `poll`.
    public let input: Int32
    private let output: Int32
    private var before = termios()
    private var isEntered = false

    /// Takes the terminal over.
    ///
    /// - Throws: 74 if one of the two is no terminal.
    public init(input: Int32, output: Int32) throws(Failure) {
        self.input = input
        self.output = output
        guard tcgetattr(input, &before) == 0 else { throw Failure(cannot: "read the terminal's mode", errno: errno) }
        var raw = before
        cfmakeraw(&raw)
        guard tcsetattr(input, TCSAFLUSH, &raw) == 0 else {
            throw Failure(cannot: "set the terminal's mode", errno: errno)
        }
        isEntered = true
        write("\u{1B}[?1049h\u{1B}[?25l")
    }

    deinit { leave() }

    /// Puts everything back; once is enough.
    public func leave() {
        guard isEntered else { return }
        isEntered = false
        write("\u{1B}[0m\u{1B}[?25h\u{1B}[?1049l")
        tcsetattr(input, TCSAFLUSH, &before)  // fails only where the terminal is gone, and then nobody misses it
    }

    /// As large as it is now; 80 by 24 if it does not say.
    public var size: Size {
        var size = winsize()
        guard ioctl(output, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0 else {
            return Size(width: 80, height: 24)
        }
        return Size(width: Int(size.ws_col), height: Int(size.ws_row))
    }

    /// Shows lines from the top, over what was there; all at once, so that nothing flickers.
    ///
    /// - Parameter lines: not more, and none longer, than the screen has room for.
    public func show(_ lines: [String]) {
        write("\u{1B}[H" + lines.map { "\($0)\u{1B}[K" }.joined(separator: "\r\n") + "\u{1B}[J")
    }

    /// The keys that wait to be read; call it when `input` is readable.
    public func keys() -> [PressedKey] {
        var bytes = [UInt8](repeating: 0, count: 256)
        switch SystemCall.retrying({ read(input, &bytes, bytes.count) }) {
        case .done(0): return [.closed]
        case .done(let count): return PressedKey.parse(bytes[..<count])
        case .failed(EAGAIN): return []
        case .failed: return [.closed]
        }
    }

    private func write(_ text: String) {
        _ = SystemCall.writeAll(Array(text.utf8), to: output)  // a terminal that is gone shows in `keys`
    }
}

extension PressedKey {
    private static let sequences: [(bytes: [UInt8], key: PressedKey)] = [
        (Array("[A".utf8), .up), (Array("[B".utf8), .down), (Array("OA".utf8), .up), (Array("OB".utf8), .down),
        (Array("[5~".utf8), .pageUp), (Array("[6~".utf8), .pageDown), (Array("[H".utf8), .home),
        (Array("[F".utf8), .end), (Array("OH".utf8), .home), (Array("OF".utf8), .end), (Array("[1~".utf8), .home),
        (Array("[4~".utf8), .end),
    ]

    /// Keys of what a terminal sent; sequences that are not known are left out.
    static func parse(_ bytes: ArraySlice<UInt8>) -> [PressedKey] {
        var keys: [PressedKey] = []
        var rest = bytes
        while let byte = rest.popFirst() {
            switch byte {
            case 0x03: keys.append(.interrupt)
            case 0x1B:
                if let (known, key) = sequences.first(where: { rest.starts(with: $0.bytes) }) {
                    rest = rest.dropFirst(known.count)
                    keys.append(key)
                } else if rest.first == UInt8(ascii: "[") {
                    // CSI: everything up to the letter or mark that ends it.
                    rest = rest.dropFirst().drop { !(0x40...0x7E).contains($0) }.dropFirst()
                }
            case 0x20..<0x7F: keys.append(.character(Character(UnicodeScalar(byte))))
            default: break
            }
        }
        return keys
    }
}
