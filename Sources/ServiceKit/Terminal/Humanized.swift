// Numbers for people. Machines get all digits elsewhere; here three significant ones are enough, except for counts,
// which are what this product is about and keep every digit.

/// Short texts of numbers.
public enum Humanized {
    /// All digits with a comma between thousands: 1,234,567.
    public static func count(_ number: some BinaryInteger) -> String {
        let digits = Array(String(number.magnitude))
        var text = number < 0 ? "-" : ""
        for (index, digit) in digits.enumerated() {
            if index > 0 && (digits.count - index) % 3 == 0 { text.append(",") }
            text.append(digit)
        }
        return text
    }

    /// So many things: "1 key", "1,234 keys".
    public static func count(_ number: some BinaryInteger, _ thing: String) -> String {
        number == 1 ? "1 \(thing)" : "\(count(number)) \(thing)s"
    }

    /// Bytes with one digit behind the point: 512 B, 1.2 MiB.
    public static func bytes(_ count: Int) -> String {
        guard abs(count) >= 1024 else { return "\(count) B" }
        return scaled(Double(count), base: 1024, units: ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"])
    }

    /// A number or rate of things: 999, 1.2 k, 3.4 M.
    public static func quantity(_ number: Double) -> String {
        guard abs(number) >= 999.5 else { return "\(Int(number.rounded()))" }
        return scaled(number, base: 1000, units: ["", "k", "M", "G", "T", "P"])
    }

    /// A duration: 12 ms, 3.4 s, 2 m 05 s, 3 h 07 m, 4 d 02 h.
    public static func duration(milliseconds: Int) -> String {
        switch abs(milliseconds) {
        case ..<1_000: return "\(milliseconds) ms"
        case ..<59_950: return "\(tenths(Double(milliseconds) / 1_000)) s"
        default: break
        }
        let seconds = (abs(milliseconds) + 500) / 1_000
        let sign = milliseconds < 0 ? "-" : ""
        switch seconds {
        case ..<3_600: return "\(sign)\(seconds / 60) m \(twoDigits(seconds % 60)) s"
        case ..<86_400: return "\(sign)\(seconds / 3_600) h \(twoDigits(seconds / 60 % 60)) m"
        default: return "\(sign)\(seconds / 86_400) d \(twoDigits(seconds / 3_600 % 24)) h"
        }
    }

    /// In the first unit after the plain one in which it is shorter than `base`.
    private static func scaled(_ number: Double, base: Double, units: [String]) -> String {
        var value = number
        var unit = 0
        repeat {
            value /= base
            unit += 1
            // What would be shown as 1024.0 or 1000.0 goes on to the next unit.
        } while abs(value) >= base - 0.05 && unit < units.count - 1
        return "\(tenths(value)) \(units[unit])"
    }

    private static func tenths(_ value: Double) -> String {
        let tenths = Int((abs(value) * 10).rounded())
        return "\(value < 0 ? "-" : "")\(tenths / 10).\(tenths % 10)"
    }

    private static func twoDigits(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
}
