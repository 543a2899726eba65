// RFC 3339 times: fixed points, the edges of years and of the range, and the C library's calendar as reference.

import Glibc
import Testing

@testable import ServiceKit

@Suite struct TimestampTests {
    @Test(arguments: [
        (Int64(0), "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (951_782_399_999, "2000-02-28T23:59:59.999Z"),
        (951_782_400_000, "2000-02-29T00:00:00.000Z"),
        (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        (1_795_252_618_123, "2026-11-21T09:16:58.123Z"),
        (-62_167_219_200_000, "0000-01-01T00:00:00.000Z"),
        (253_402_300_799_999, "9999-12-31T23:59:59.999Z"),
    ])
    func fixedPoints(milliseconds: Int64, text: String) {
        #expect(Timestamp.rfc3339(milliseconds: milliseconds) == text)
    }

    @Test func outsideTheRangeIsClamped() {
        let range = Timestamp.millisecondsRange
        #expect(Timestamp.rfc3339(milliseconds: range.lowerBound - 1) == "0000-01-01T00:00:00.000Z")
        #expect(Timestamp.rfc3339(milliseconds: range.upperBound + 1) == "9999-12-31T23:59:59.999Z")
        #expect(Timestamp.rfc3339(milliseconds: .min) == "0000-01-01T00:00:00.000Z")
        #expect(Timestamp.rfc3339(milliseconds: .max) == "9999-12-31T23:59:59.999Z")
    }

    @Test func everyThirdDayAgreesWithTheCLibrary() {
        for day in stride(from: Int64(-719_528), through: 2_932_896, by: 3) {
            var seconds = Int(day * 86_400)
            var parts = tm()
            gmtime_r(&seconds, &parts)
            let date = Timestamp.civil(fromDays: day)
            guard date.year == Int64(parts.tm_year) + 1900, date.month == Int64(parts.tm_mon) + 1,
                date.day == Int64(parts.tm_mday)
            else {
                Issue.record("day \(day) is \(date)")
                return
            }
        }
    }
}

@Suite struct ClockTests {
    @Test func monotonicTimeNeverGoesBack() {
        var last = MonotonicClock.nanoseconds()
        for _ in 0..<10_000 {
            let now = MonotonicClock.nanoseconds()
            #expect(now >= last)
            last = now
        }
        #expect(MonotonicClock.milliseconds() >= last / 1_000_000)
    }

    @Test func wallTimeIsTheCalendars() {
        let before = Int64(time(nil)) * 1_000
        #expect((before...before + 60_000).contains(WallClock.milliseconds()))
    }
}
