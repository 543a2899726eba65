// Text from others on a terminal. Keys, names of files and of hosts are what somebody sent; a terminal obeys control
// characters in them, and shows what follows some marks of writing direction in another order than it stands.

/// What a terminal may be given.
public enum TerminalText {
    /// `text` with everything that a terminal would obey as `\u` and four digits: the control characters (below U+0020,
    /// U+007F to U+009F), the separators of lines and paragraphs (U+2028, U+2029), and what embeds, overrides and
    /// isolates a direction (U+202A to U+202E, U+2066 to U+2069).
    ///
    /// - Parameter keepsLines: whether line ends and TAB stay.
    public static func shown(_ text: String, keepsLines: Bool = false) -> String {
        // Most text is plain; characters that are not begin with bytes of these values.
        let isPlain = text.utf8.allSatisfy { byte in
            (byte >= 0x20 || keepsLines && isLayout(byte)) && byte != 0x7F && byte != 0xC2 && byte != 0xE2
        }
        if isPlain { return text }
        var shown = ""
        for scalar in text.unicodeScalars {
            if isObeyed(scalar.value), !(keepsLines && scalar.isASCII && isLayout(UInt8(scalar.value))) {
                let digits = String(scalar.value, radix: 16)
                shown += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
            } else {
                shown.unicodeScalars.append(scalar)
            }
        }
        return shown
    }

    /// Whole characters and lines, with their ends; what is no UTF-8 is repaired.
    public static func shown(_ bytes: some Collection<UInt8>) -> [UInt8] {
        Array(shown(String(decoding: bytes, as: UTF8.self), keepsLines: true).utf8)
    }

    private static func isLayout(_ byte: UInt8) -> Bool { byte == 0x09 || byte == 0x0A || byte == 0x0D }

    private static func isObeyed(_ code: UInt32) -> Bool {
        switch code {
        case 0..<0x20, 0x7F..<0xA0, 0x2028...0x202E, 0x2066...0x2069: true
        default: false
        }
    }
}
