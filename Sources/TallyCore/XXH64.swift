// XXH64, the 64-bit xxHash of Yann Collet (specification: xxhash_spec.md, version 0.1.1, BSD-2).
//
// It decides which shard a key lives in and guards every batch, so its output is part of the on-disk and
// on-wire formats: the same in every process, on every machine, in every release. Swift's `Hasher` is seeded
// per process and would scatter keys anew at each start.

/// A one-shot XXH64 over contiguous bytes.
public enum XXH64 {
    private static let prime1: UInt64 = 0x9E37_79B1_85EB_CA87
    private static let prime2: UInt64 = 0xC2B2_AE3D_27D4_EB4F
    private static let prime3: UInt64 = 0x1656_67B1_9E37_79F9
    private static let prime4: UInt64 = 0x85EB_CA77_C2B2_AE63
    private static let prime5: UInt64 = 0x27D4_EB2F_1656_67C5

    /// Bytes that the four lanes take at a time.
    static let stripeBytes = 32

    /// The hash of `bytes`. Any length, including none.
    public static func hash(_ bytes: UnsafeRawBufferPointer, seed: UInt64 = 0) -> UInt64 {
        guard bytes.count >= stripeBytes else { return finish(bytes, shortStart(seed: seed) &+ UInt64(bytes.count)) }
        var lanes = Lanes(seed: seed)
        let whole = bytes.count & ~(stripeBytes - 1)
        lanes.add(UnsafeRawBufferPointer(rebasing: bytes[..<whole]))
        return finish(UnsafeRawBufferPointer(rebasing: bytes[whole...]), lanes.merged &+ UInt64(bytes.count))
    }

    /// The hash of an array's bytes.
    public static func hash(_ bytes: [UInt8], seed: UInt64 = 0) -> UInt64 {
        bytes.withUnsafeBytes { hash($0, seed: seed) }
    }

    /// What takes the place of the lanes where there is no whole stripe.
    static func shortStart(seed: UInt64) -> UInt64 { seed &+ prime5 }

    /// Four lanes over whole stripes.
    struct Lanes {
        private var lane1: UInt64
        private var lane2: UInt64
        private var lane3: UInt64
        private var lane4: UInt64

        @inline(__always)
        init(seed: UInt64) {
            lane1 = seed &+ prime1 &+ prime2
            lane2 = seed &+ prime2
            lane3 = seed
            lane4 = seed &- prime1
        }

        /// - Parameter bytes: a multiple of `stripeBytes`.
        @inline(__always)
        mutating func add(_ bytes: UnsafeRawBufferPointer) {
            guard let base = bytes.baseAddress else { return }
            var offset = 0
            while offset < bytes.count {
                lane1 = round(lane1, load64(base, offset))
                lane2 = round(lane2, load64(base, offset + 8))
                lane3 = round(lane3, load64(base, offset + 16))
                lane4 = round(lane4, load64(base, offset + 24))
                offset += stripeBytes
            }
        }

        @inline(__always)
        var merged: UInt64 {
            var hash = rotate(lane1, 1) &+ rotate(lane2, 7) &+ rotate(lane3, 12) &+ rotate(lane4, 18)
            hash = (hash ^ round(0, lane1)) &* prime1 &+ prime4
            hash = (hash ^ round(0, lane2)) &* prime1 &+ prime4
            hash = (hash ^ round(0, lane3)) &* prime1 &+ prime4
            return (hash ^ round(0, lane4)) &* prime1 &+ prime4
        }
    }

    /// The tail of fewer than 32 bytes, then the avalanche.
    static func finish(_ tail: UnsafeRawBufferPointer, _ start: UInt64) -> UInt64 {
        var hash = start
        var offset = 0
        if let base = tail.baseAddress {
            while offset + 8 <= tail.count {
                hash = rotate(hash ^ round(0, load64(base, offset)), 27) &* prime1 &+ prime4
                offset += 8
            }
            if offset + 4 <= tail.count {
                let word = UInt64(UInt32(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
                hash = rotate(hash ^ (word &* prime1), 23) &* prime2 &+ prime3
                offset += 4
            }
            while offset < tail.count {
                let byte = UInt64(base.load(fromByteOffset: offset, as: UInt8.self))
                hash = rotate(hash ^ (byte &* prime5), 11) &* prime1
                offset += 1
            }
        }
        hash = (hash ^ (hash >> 33)) &* prime2
        hash = (hash ^ (hash >> 29)) &* prime3
        return hash ^ (hash >> 32)
    }

    @inline(__always)
    private static func round(_ lane: UInt64, _ input: UInt64) -> UInt64 {
        rotate(lane &+ input &* prime2, 31) &* prime1
    }

    @inline(__always)
    private static func rotate(_ value: UInt64, _ bits: UInt64) -> UInt64 {
        (value << bits) | (value >> (64 - bits))
    }

    @inline(__always)
    private static func load64(_ base: UnsafeRawPointer, _ offset: Int) -> UInt64 {
        UInt64(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }
}
