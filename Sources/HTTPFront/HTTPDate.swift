// The `Date` of an answer (RFC 9110, section 5.6.7), which servers with a clock must send.

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

enum HTTPDate {
    private static let days = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"]
    private static let months = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]

    /// Now, for instance `Sun, 06 Nov 1994 08:49:37 GMT`.
    static func now() -> String { text(secondsSince1970: time(nil)) }

    static func text(secondsSince1970 seconds: Int) -> String {
        var instant = seconds
        var parts = tm()
        gmtime_r(&instant, &parts)
        let year = Int(parts.tm_year) + 1900
        let date = "\(days[Int(parts.tm_wday)]), \(two(parts.tm_mday)) \(months[Int(parts.tm_mon)]) \(year)"
        return "\(date) \(two(parts.tm_hour)):\(two(parts.tm_min)):\(two(parts.tm_sec)) GMT"
    }

    private static func two(_ number: Int32) -> String { number < 10 ? "0\(number)" : "\(number)" }
}
