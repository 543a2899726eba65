// Chance that a seed decides: the same numbers on every machine and in every process, for loads and tests that can be
// repeated. Not for secrets.
//
// Source: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators" (2014).

/// A small, fast generator, seeded by one number.
public struct SplitMix64: RandomNumberGenerator, Sendable {
    @usableFromInline var state: UInt64

    @inlinable
    public init(seed: UInt64) {
        state = seed
    }

    @inlinable
    public mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        return Self.mix(state)
    }

    /// Spreads the bits of `word`: a bijection, and each bit of the result depends on all of them.
    @inlinable
    public static func mix(_ word: UInt64) -> UInt64 {
        var mixed = (word ^ (word >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
