// Writing JSON: the few lines that answers, reports and files share.
//
// Everything in this product that writes JSON writes fixed shapes around numbers and strings; only strings need
// care. Bytes are kept as they are, so a name that was read comes back the same; quotes, backslashes and control
// characters (DEL and U+0080 to U+009F too, which terminals obey) are escaped.

/// Appends pieces of JSON to bytes.
public enum JSONText {
    /// Appends `bytes`, valid UTF-8, as a JSON string with its quotes.
    public static func append(quoted bytes: some Sequence<UInt8>, to output: inout [UInt8]) {
        output.append(UInt8(ascii: "\""))
        // 0xC2 came and is not written yet: it begins a character, which may be a control character.
        var isOwed = false
        for byte in bytes {
            if isOwed {
                isOwed = false
                if (0x80..<0xA0).contains(byte) {
                    append(escapeOf: byte, to: &output)
                    continue
                }
                output.append(0xC2)
            }
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): output.append(contentsOf: [UInt8(ascii: "\\"), byte])
            case 0x0A: output.append(contentsOf: "\\n".utf8)
            case 0x0D: output.append(contentsOf: "\\r".utf8)
            case 0x09: output.append(contentsOf: "\\t".utf8)
            case 0..<0x20, 0x7F:
                append(escapeOf: byte, to: &output)
            case 0xC2: isOwed = true
            default: output.append(byte)
            }
        }
        if isOwed { output.append(0xC2) }
        output.append(UInt8(ascii: "\""))
    }

    private static func append(escapeOf code: UInt8, to output: inout [UInt8]) {
        output.append(contentsOf: "\\u00".utf8)
        output.append(Hex.digit(code >> 4))
        output.append(Hex.digit(code & 15))
    }

    /// `bytes`, valid UTF-8, as a JSON string with its quotes.
    public static func quote(_ bytes: some Sequence<UInt8>) -> String {
        var output: [UInt8] = []
        append(quoted: bytes, to: &output)
        return String(decoding: output, as: UTF8.self)
    }

    /// `text` as a JSON string with its quotes.
    public static func quote(_ text: String) -> String { quote(text.utf8) }

    /// Whether `bytes` are valid UTF-8.
    public static func isUTF8(_ bytes: [UInt8]) -> Bool {
        (try? UTF8Span(validating: bytes.span)) != nil  // where it is invalid is told by the caller's offset
    }
}
