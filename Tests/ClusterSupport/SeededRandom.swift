// Random choices that a seed repeats. The processes under test have their own timing, so a seed repeats what was asked
// and killed, not what happened.

import TallyCore

/// A seeded generator.
public struct SeededRandom: RandomNumberGenerator, Sendable {
    private var generator: SplitMix64

    public init(seed: UInt64) { generator = SplitMix64(seed: seed) }

    /// A generator of its own for each part of a run.
    public init(seed: UInt64, part: Int) {
        self.init(seed: seed &+ UInt64(bitPattern: Int64(part)) &* 0xA076_1D64_78BD_642F)
    }

    public mutating func next() -> UInt64 { generator.next() }

    /// True once in `n` times, on average.
    public mutating func once(in n: Int) -> Bool { Int.random(in: 0..<n, using: &self) == 0 }
}
