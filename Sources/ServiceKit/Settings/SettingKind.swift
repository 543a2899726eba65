// What a value may look like. One strict spelling for each kind: no spaces, signs, leading zeros, fractions or
// synonyms, so that a value means the same to everyone who reads it. `parse` and `permitted` stand side by side:
// what the one refuses, the other explains.

/// A value after parsing.
public enum SettingValue: Hashable, Sendable {
    case integer(Int)
    /// Bytes.
    case bytes(Int)
    /// Milliseconds.
    case duration(Int)
    /// Text, a choice, a path or a URL.
    case text(String)
    case flag(Bool)
    case endpoint(Endpoint)
}

/// The type of a setting and its permitted range.
public enum SettingKind: Hashable, Sendable {
    case integer(ClosedRange<Int>)
    /// A whole number of bytes, plain or with the suffix KiB, MiB or GiB.
    case bytes(ClosedRange<Int>)
    /// A whole number with the unit ms, s, m, h or d. The range is in milliseconds.
    case duration(ClosedRange<Int>)
    /// A name: letters, digits, '.', '_' and '-'.
    case name(maximumBytes: Int)
    case choice([String])
    case flag
    case path
    /// A host's name, or an address, IPv6 without brackets.
    case host
    /// Some of these, with commas between.
    case hosts
    /// HOST:PORT or [IPv6]:PORT.
    case endpoint
    /// SCHEME://REST, with one of the schemes.
    case url(schemes: [String])

    /// The longest value of any kind: the kernel's longest path.
    static let valueBytesMax = 4095

    /// The value that a text stands for, nil if it is not permitted.
    public func parse(_ text: String) -> SettingValue? {
        guard Self.isPlain(text) else { return nil }
        switch self {
        case .integer(let range):
            return Self.wholeNumber(text).flatMap { range.contains($0) ? .integer($0) : nil }
        case .bytes(let range):
            return Self.scaled(text, units: Self.byteUnits).flatMap { range.contains($0) ? .bytes($0) : nil }
        case .duration(let range):
            return Self.scaled(text, units: Self.durationUnits).flatMap { range.contains($0) ? .duration($0) : nil }
        case .name(let maximum):
            return text.utf8.count <= maximum && text.utf8.allSatisfy(Self.isNameByte) ? .text(text) : nil
        case .choice(let choices):
            return choices.contains(text) ? .text(text) : nil
        case .flag:
            return text == "true" ? .flag(true) : text == "false" ? .flag(false) : nil
        case .path:
            return .text(text)
        case .host:
            return Self.host(text).map { .text($0) }
        case .hosts:
            let parts = text.split(separator: ",", omittingEmptySubsequences: false)
            let hosts = parts.compactMap { Self.host(String($0)) }
            return hosts.count == parts.count ? .text(hosts.joined(separator: ",")) : nil
        case .endpoint:
            return Endpoint(text).map { .endpoint($0) }
        case .url(let schemes):
            return schemes.contains { text.hasPrefix("\($0)://") && text.utf8.count > $0.utf8.count + 3 }
                && !text.contains(" ") ? .text(text) : nil
        }
    }

    /// What is permitted, to follow "must be".
    public var permitted: String {
        switch self {
        case .integer(let range):
            "a whole number from \(range.lowerBound) to \(range.upperBound)"
        case .bytes(let range):
            "a number of bytes from \(Self.bytesText(range.lowerBound)) to \(Self.bytesText(range.upperBound)), "
                + "plain or with KiB, MiB or GiB"
        case .duration(let range):
            "a time from \(Self.durationText(range.lowerBound)) to \(Self.durationText(range.upperBound)), "
                + "with ms, s, m, h or d"
        case .name(let maximum): "1 to \(maximum) letters, digits, '.', '_' or '-'"
        case .choice(let choices): "one of \(choices.joined(separator: ", "))"
        case .flag: "true or false"
        case .path: "a path of 1 to \(Self.valueBytesMax) bytes without control characters"
        case .host: "a host's name or address, such as 127.0.0.1 or ::1"
        case .hosts: "names or addresses of hosts with commas between, such as tally.example.org,10.0.0.7"
        case .endpoint: "HOST:PORT with a port from 0 to 65535, such as 127.0.0.1:3333 or [::1]:3333"
        case .url(let schemes): "a URL that begins with " + schemes.map { "\($0)://" }.joined(separator: " or ")
        }
    }

    /// What stands for the value in `--help`.
    public var placeholder: String {
        switch self {
        case .integer: "N"
        case .bytes: "BYTES"
        case .duration: "TIME"
        case .name: "NAME"
        case .choice(let choices): choices.joined(separator: "|")
        case .flag: "true|false"
        case .path: "PATH"
        case .host: "HOST"
        case .hosts: "HOST,..."
        case .endpoint: "HOST:PORT"
        case .url: "URL"
        }
    }
}

extension SettingKind {
    // Largest first: `bytesText` and `durationText` take the first that divides evenly.
    private static let byteUnits = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("", 1)]
    private static let durationUnits = [
        ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("ms", 1), ("s", 1_000),
    ]

    /// A number of bytes in the largest unit that is exact: 1MiB, 1500.
    static func bytesText(_ bytes: Int) -> String {
        exactText(bytes, units: byteUnits)
    }

    /// Milliseconds in the largest unit that is exact: 7d, 1500ms.
    static func durationText(_ milliseconds: Int) -> String {
        exactText(milliseconds, units: durationUnits.sorted { $0.1 > $1.1 })
    }

    private static func exactText(_ value: Int, units: [(suffix: String, factor: Int)]) -> String {
        guard let unit = units.first(where: { value >= $0.factor && value % $0.factor == 0 }) else { return "\(value)" }
        return "\(value / unit.factor)\(unit.suffix)"
    }

    private static func scaled(_ text: String, units: [(suffix: String, factor: Int)]) -> Int? {
        guard let unit = units.first(where: { text.hasSuffix($0.suffix) }),
            let number = wholeNumber(String(text.dropLast(unit.suffix.count)))
        else { return nil }
        let (product, overflow) = number.multipliedReportingOverflow(by: unit.factor)
        return overflow ? nil : product
    }

    private static func host(_ text: String) -> String? {
        let isAddress = text.count { $0 == ":" } > 1
        return Endpoint(isAddress ? "[\(text)]:0" : "\(text):0")?.host
    }

    /// Decimal digits without sign or leading zeros.
    static func wholeNumber(_ text: String) -> Int? {
        guard !text.isEmpty, text.utf8.allSatisfy({ (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }),
            text == "0" || !text.hasPrefix("0")
        else { return nil }
        return Int(text)
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"): true
        case UInt8(ascii: "0")...UInt8(ascii: "9"): true
        case UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"): true
        default: false
        }
    }

    /// Whether a text is neither empty nor too long, and free of control characters and outer spaces.
    private static func isPlain(_ text: String) -> Bool {
        !text.isEmpty && text.utf8.count <= valueBytesMax && !text.hasPrefix(" ") && !text.hasSuffix(" ")
            && text.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F }
    }
}
