// Random choices that a seed repeats: SplitMix64 (Steele, Lea, Flood 2014). The processes under test have their own
// timing, so a seed repeats what was asked and killed, not what happened.

/// A seeded generator.
public struct SeededRandom: RandomNumberGenerator, Sendable {
    private var state: UInt64

    public init(seed: UInt64) { state = seed }

    /// A generator of its own for each part of a run.
    public init(seed: UInt64, part: Int) {
        state = seed &+ UInt64(bitPattern: Int64(part)) &* 0xA076_1D64_78BD_642F
    }

    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    /// True once in `n` times, on average.
    public mutating func once(in n: Int) -> Bool { Int.random(in: 0..<n, using: &self) == 0 }
}
