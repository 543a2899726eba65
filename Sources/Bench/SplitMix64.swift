// Chance that a seed decides: the same run sends the same increments on every machine.
//
// Source: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators" (2014).

/// A generator for the choices of one thread.
struct SplitMix64: Sendable {
    private var state: UInt64

    /// - Parameter stream: threads of one run differ in it.
    init(seed: UInt64, stream: Int) {
        var seeder = SplitMix64(state: seed)
        for _ in 0..<stream { _ = seeder.next() }  // those are the earlier streams
        state = seeder.next()
    }

    private init(state: UInt64) {
        self.state = state
    }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    /// 0..<bound, each alike but for less than one in 2^32.
    mutating func below(_ bound: UInt32) -> UInt32 {
        UInt32(truncatingIfNeeded: ((next() >> 32) &* UInt64(bound)) >> 32)
    }
}
