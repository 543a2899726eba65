// How long something took, as Prometheus wants to hear it: a count for each bound, and the sum. The bounds are fixed,
// so that histograms of several loops, nodes and days can be added.

/// Counts of durations. Owned by one thread; copies are added elsewhere.
public struct LatencyHistogram: Hashable, Sendable {
    /// The upper bound of each bucket but the last, which has none, in microseconds.
    public static let boundsMicroseconds: [UInt64] = [
        250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
        5_000_000, 10_000_000, 30_000_000,
    ]

    /// How many durations lie in each bucket; one more than there are bounds.
    public private(set) var counts = [UInt64](repeating: 0, count: boundsMicroseconds.count + 1)
    public private(set) var sumNanoseconds: UInt64 = 0

    public init() {}

    public var count: UInt64 { counts.reduce(0, +) }

    /// Counts one duration. A bound belongs to the bucket below it.
    public mutating func record(nanoseconds: UInt64) {
        var index = 0
        while index < Self.boundsMicroseconds.count, nanoseconds > Self.boundsMicroseconds[index] * 1_000 { index += 1 }
        counts[index] += 1
        sumNanoseconds &+= nanoseconds
    }

    public static func += (left: inout LatencyHistogram, right: LatencyHistogram) {
        for index in left.counts.indices { left.counts[index] += right.counts[index] }
        left.sumNanoseconds &+= right.sumNanoseconds
    }
}
