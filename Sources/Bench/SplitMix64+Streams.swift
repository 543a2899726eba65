// The choices of one thread: the same run sends the same increments on every machine.

import TallyCore

extension SplitMix64 {
    /// - Parameter stream: threads of one run differ in it.
    init(seed: UInt64, stream: Int) {
        var seeder = SplitMix64(seed: seed)
        for _ in 0..<stream { _ = seeder.next() }  // those are the earlier streams
        self.init(seed: seeder.next())
    }

    /// 0..<bound, each alike but for less than one in 2^32.
    mutating func below(_ bound: UInt32) -> UInt32 {
        UInt32(truncatingIfNeeded: ((next() >> 32) &* UInt64(bound)) >> 32)
    }
}
