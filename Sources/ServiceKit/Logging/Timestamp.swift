// RFC 3339 times in UTC with milliseconds, such as 2026-11-21T09:16:58.123Z, without Foundation.
//
// The date comes from the days since 1970 by Howard Hinnant's `civil_from_days` (chrono-Compatible Low-Level Date
// Algorithms): years begin in March, so that the leap day is the last one, and repeat after 400 years.

/// Formats points in time.
public enum Timestamp {
    /// The bounds of four-digit years: 0000-01-01T00:00:00.000Z to 9999-12-31T23:59:59.999Z.
    public static let millisecondsRange: ClosedRange<Int64> = -62_167_219_200_000...253_402_300_799_999

    /// The time as text, always 24 characters.
    ///
    /// - Parameter milliseconds: since 1970-01-01T00:00:00Z; what lies outside `millisecondsRange` is clamped.
    public static func rfc3339(milliseconds: Int64) -> String {
        let bounded = min(max(milliseconds, millisecondsRange.lowerBound), millisecondsRange.upperBound)
        let (days, ofDay) = flooredDivision(bounded, 86_400_000)
        let date = civil(fromDays: days)
        var text = ""
        text.reserveCapacity(24)
        append(date.year, digits: 4, then: "-", to: &text)
        append(date.month, digits: 2, then: "-", to: &text)
        append(date.day, digits: 2, then: "T", to: &text)
        append(ofDay / 3_600_000, digits: 2, then: ":", to: &text)
        append(ofDay / 60_000 % 60, digits: 2, then: ":", to: &text)
        append(ofDay / 1_000 % 60, digits: 2, then: ".", to: &text)
        append(ofDay % 1_000, digits: 3, then: "Z", to: &text)
        return text
    }

    /// The calendar date of a day counted from 1970-01-01.
    static func civil(fromDays days: Int64) -> (year: Int64, month: Int64, day: Int64) {
        // 719,468 days lie between 0000-03-01 and 1970-01-01; an era is 400 years, 146,097 days.
        let (era, dayOfEra) = flooredDivision(days + 719_468, 146_097)
        let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
        let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let monthFromMarch = (5 * dayOfYear + 2) / 153
        let day = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
        let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
        return (yearOfEra + era * 400 + (month <= 2 ? 1 : 0), month, day)
    }

    private static func flooredDivision(_ value: Int64, _ divisor: Int64) -> (quotient: Int64, remainder: Int64) {
        let (quotient, remainder) = value.quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
    }

    private static func append(_ number: Int64, digits: Int, then separator: String, to text: inout String) {
        let plain = String(number)
        text += String(repeating: "0", count: max(0, digits - plain.count)) + plain + separator
    }
}
