// One event as one line of bytes, for people or for programs. It ends with LF, holds no other control character,
// and is at most PIPE_BUF (4096) bytes long: the system writes that much to a pipe in one piece, so that the lines
// of several processes on one pipe never mix. What does not fit is left out, visibly: `cut`.
//
//     text   2026-11-21T09:16:58.123Z info web: listening address=127.0.0.1:3333 note="two words"
//     json   {"time":"...","level":"info","label":"web","message":"listening","metadata":{"address":"..."}}

import Logging

enum LogLine {
    /// The longest line with its LF, in bytes.
    static let bytesMax = 4096
    /// The longest message and the longest single value inside it, in bytes.
    static let messageBytesMax = 2048
    static let valueBytesMax = 1024
    /// How deep dictionaries and arrays may nest before they are written as text.
    private static let depthMax = 4

    struct Event {
        let milliseconds: Int64
        let level: Logger.Level
        let label: String
        var message: String
        var metadata: Logger.Metadata
    }

    /// The line for people.
    static func text(_ event: Event, colour: Bool) -> [UInt8] {
        var line: [UInt8] = Array(Timestamp.rfc3339(milliseconds: event.milliseconds).utf8)
        line.append(UInt8(ascii: " "))
        if colour { line += colourStart(event.level).utf8 }
        line += event.level.rawValue.utf8
        if colour { line += "\u{1B}[0m".utf8 }
        line.append(UInt8(ascii: " "))
        appendEscaped(event.label, for: .plainText, bytesMax: valueBytesMax, to: &line)
        line += ": ".utf8
        appendEscaped(event.message, for: .plainText, bytesMax: messageBytesMax, to: &line)
        let ending = " cut=true\n"
        for (key, value) in event.metadata.sorted(by: { $0.key < $1.key }) {
            var field: [UInt8] = [UInt8(ascii: " ")]
            appendEscaped(key, for: .plainText, bytesMax: valueBytesMax, to: &field)
            field.append(UInt8(ascii: "="))
            appendTextValue(plainText(of: value), to: &field)
            guard line.count + field.count + ending.utf8.count <= bytesMax else { return line + ending.utf8 }
            line += field
        }
        line.append(UInt8(ascii: "\n"))
        return line
    }

    /// The line for programs: one JSON object.
    static func json(_ event: Event) -> [UInt8] {
        var line: [UInt8] = Array("{\"time\":\"\(Timestamp.rfc3339(milliseconds: event.milliseconds))\"".utf8)
        line += ",\"level\":\"\(event.level.rawValue)\",\"label\":".utf8
        appendJSONString(event.label, bytesMax: valueBytesMax, to: &line)
        line += ",\"message\":".utf8
        appendJSONString(event.message, bytesMax: messageBytesMax, to: &line)
        guard !event.metadata.isEmpty else { return line + "}\n".utf8 }
        line += ",\"metadata\":{".utf8
        let ending = "},\"cut\":true}\n"
        var separator = ""
        for (key, value) in event.metadata.sorted(by: { $0.key < $1.key }) {
            var field = Array(separator.utf8)
            appendJSONString(key, bytesMax: valueBytesMax, to: &field)
            field.append(UInt8(ascii: ":"))
            appendJSONValue(value, depth: 0, to: &field)
            guard line.count + field.count + ending.utf8.count <= bytesMax else { return line + ending.utf8 }
            line += field
            separator = ","
        }
        return line + "}}\n".utf8
    }

    private static func colourStart(_ level: Logger.Level) -> String {
        switch level {
        case .trace, .debug: "\u{1B}[2m"
        case .info: "\u{1B}[32m"
        case .notice: "\u{1B}[36m"
        case .warning: "\u{1B}[33m"
        case .error, .critical: "\u{1B}[1;31m"
        }
    }
}

// Values.
extension LogLine {
    static func plainText(of value: Logger.MetadataValue) -> String {
        switch value {
        case .string(let text): text
        case .stringConvertible(let convertible): convertible.description
        case .array, .dictionary: value.description
        }
    }

    private static func appendTextValue(_ value: String, to line: inout [UInt8]) {
        let needsQuotes = value.isEmpty || value.utf8.contains { $0 <= 0x20 || "\"=\\".utf8.contains($0) || $0 == 0x7F }
        if needsQuotes { line.append(UInt8(ascii: "\"")) }
        appendEscaped(value, for: needsQuotes ? .quotedText : .plainText, bytesMax: valueBytesMax, to: &line)
        if needsQuotes { line.append(UInt8(ascii: "\"")) }
    }

    private static func appendJSONString(_ text: String, bytesMax: Int, to line: inout [UInt8]) {
        line.append(UInt8(ascii: "\""))
        appendEscaped(text, for: .json, bytesMax: bytesMax, to: &line)
        line.append(UInt8(ascii: "\""))
    }

    private static func appendJSONValue(_ value: Logger.MetadataValue, depth: Int, to line: inout [UInt8]) {
        switch value {
        case .array(let elements) where depth < depthMax:
            line.append(UInt8(ascii: "["))
            for (index, element) in elements.enumerated() {
                if index > 0 { line.append(UInt8(ascii: ",")) }
                appendJSONValue(element, depth: depth + 1, to: &line)
            }
            line.append(UInt8(ascii: "]"))
        case .dictionary(let fields) where depth < depthMax:
            line.append(UInt8(ascii: "{"))
            for (index, field) in fields.sorted(by: { $0.key < $1.key }).enumerated() {
                if index > 0 { line.append(UInt8(ascii: ",")) }
                appendJSONString(field.key, bytesMax: valueBytesMax, to: &line)
                line.append(UInt8(ascii: ":"))
                appendJSONValue(field.value, depth: depth + 1, to: &line)
            }
            line.append(UInt8(ascii: "}"))
        default:
            appendJSONString(plainText(of: value), bytesMax: valueBytesMax, to: &line)
        }
    }
}

// Escaping.
extension LogLine {
    enum Place {
        /// Between spaces: control characters are escaped, quotes are not.
        case plainText
        /// Between quotes, for people.
        case quotedText
        case json
    }

    /// Appends a text so that it cannot end the line, the quotes or a terminal's patience. Of what is longer than
    /// `bytesMax` after escaping, the beginning and "…" are left, `bytesMax` bytes at most.
    static func appendEscaped(_ text: String, for place: Place, bytesMax: Int, to line: inout [UInt8]) {
        let start = line.count
        var cutAt = start
        for scalar in text.unicodeScalars {
            appendEscaped(scalar, for: place, to: &line)
            let length = line.count - start
            if length > bytesMax {
                line.removeSubrange(cutAt...)
                line += "…".utf8
                return
            }
            if length + "…".utf8.count <= bytesMax { cutAt = line.count }
        }
    }

    private static func appendEscaped(_ scalar: Unicode.Scalar, for place: Place, to line: inout [UInt8]) {
        switch scalar {
        case "\n": line += "\\n".utf8
        case "\r": line += "\\r".utf8
        case "\t": line += "\\t".utf8
        case "\\" where place != .plainText: line += "\\\\".utf8
        case "\"" where place != .plainText: line += "\\\"".utf8
        case "\0"..."\u{1F}", "\u{7F}"..."\u{9F}", "\u{2028}", "\u{2029}":
            let hex = String(scalar.value, radix: 16)
            line += "\\u\(String(repeating: "0", count: 4 - hex.count))\(hex)".utf8
        default: line += UTF8.encode(scalar).map(Array.init) ?? []
        }
    }
}
