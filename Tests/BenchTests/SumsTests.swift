import Testing

@testable import Bench

@Suite struct SumsTests {
    private static func increment(_ key: UInt32, _ delta: Int32) -> PendingIncrement {
        PendingIncrement(key: key, delta: delta)
    }

    @Test func fatesDecide() {
        var sums = Sums(keys: 3)
        sums.add([Self.increment(0, 5), Self.increment(1, -7), Self.increment(0, -1)], .acknowledged)
        sums.add([Self.increment(2, 100)], .refused)
        #expect(sums.bounds(0) == 4...4 && sums.bounds(1) == (-7)...(-7) && sums.bounds(2) == 0...0)
        sums.add([Self.increment(0, 10), Self.increment(0, -3), Self.increment(2, -2)], .unknown)
        #expect(sums.bounds(0) == 1...14 && sums.bounds(1) == (-7)...(-7) && sums.bounds(2) == (-2)...0)
    }

    @Test func threadsAddUp() {
        var sums = Sums(keys: 2)
        var other = Sums(keys: 2)
        sums.add([Self.increment(0, 1)], .acknowledged)
        other.add([Self.increment(0, 2), Self.increment(1, -4)], .acknowledged)
        other.add([Self.increment(1, -1)], .unknown)
        var swapped = other
        sums.add(other)
        swapped.add(sums)
        #expect(sums.bounds(0) == 3...3 && sums.bounds(1) == (-5)...(-4))
        #expect(swapped.bounds(0) == 5...5 && swapped.bounds(1) == (-10)...(-8))
    }

    /// Lost, doubled, misplaced, or out of nothing: each is found, and exactness is not.
    @Test func differencesAreFound() {
        var sums = Sums(keys: 4)
        sums.add([Self.increment(0, 5), Self.increment(1, -7)], .acknowledged)
        sums.add([Self.increment(2, 3)], .unknown)
        let before: [Int64] = [100, -50, .max - 3, 0]
        #expect(sums.differences(before: before, after: [105, -57, .max - 3, 0]).isEmpty)
        #expect(sums.differences(before: before, after: [105, -57, .max, 0]).isEmpty)
        let wrong: [[Int64]] = [
            [100, -57, .max, 0], [110, -57, .max, 0], [105, -64, .max, 0], [105, -57, .max - 4, 0],
            [105, -57, .max, 1], [105, -57, .max, -1], [105, -57, .min, 0],
        ]
        for (after, key) in zip(wrong, [0, 0, 1, 2, 3, 3, 2]) {
            #expect(sums.differences(before: before, after: after).map(\.key) == [key], "\(after)")
        }
    }

    @Test func sentencesNameTheKey() {
        let exact = Difference(key: 17, grown: 40, bounds: 42...42)
        #expect(exact.sentence(keysPrefix: "bench:1f:") == "bench:1f:17: the total grew by 40, 42 was acknowledged")
        let open = Difference(key: 0, grown: -1, bounds: 0...9)
        #expect(
            open.sentence(keysPrefix: "k") == "k0: the total grew by -1, 0 to 9 was acknowledged or is unknown")
    }

    /// Only the run's own keys are taken: those whose rest is one of its numbers, as it is written.
    @Test func totalsAreTheRunsOwn() {
        var totals = KeyTotals(keys: 11, keysPrefix: "b:")
        for (key, value) in [
            ("b:0", 1), ("b:10", 2), ("b:11", 3), ("b:01", 4), ("b:", 5), ("b:-1", 6), ("b:1x", 7), ("b:-0", 8),
            ("b:99999999999999999999", 9),
        ] as [(String, Int64)] {
            totals.take(Array(key.utf8), value)
        }
        #expect(totals.values == [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2])
    }
}
