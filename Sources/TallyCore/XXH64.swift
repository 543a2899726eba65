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

    /// The hash of `bytes`. Any length, including none.
    public static func hash(_ bytes: UnsafeRawBufferPointer, seed: UInt64 = 0) -> UInt64 {
        guard let base = bytes.baseAddress else { return finish(nil, from: 0, to: 0, seed &+ prime5) }
        var offset = 0
        var hash: UInt64
        if bytes.count >= 32 {
            hash = stripes(base, count: bytes.count, seed: seed, offset: &offset)
        } else {
            hash = seed &+ prime5
        }
        hash &+= UInt64(bytes.count)
        return finish(base, from: offset, to: bytes.count, hash)
    }

    /// The hash of an array's bytes.
    public static func hash(_ bytes: [UInt8], seed: UInt64 = 0) -> UInt64 {
        bytes.withUnsafeBytes { hash($0, seed: seed) }
    }

    /// Four lanes over whole 32-byte stripes.
    private static func stripes(
        _ base: UnsafeRawPointer, count: Int, seed: UInt64, offset: inout Int
    ) -> UInt64 {
        var lane1 = seed &+ prime1 &+ prime2
        var lane2 = seed &+ prime2
        var lane3 = seed
        var lane4 = seed &- prime1
        let last = count - 32
        while offset <= last {
            lane1 = round(lane1, load64(base, offset))
            lane2 = round(lane2, load64(base, offset + 8))
            lane3 = round(lane3, load64(base, offset + 16))
            lane4 = round(lane4, load64(base, offset + 24))
            offset += 32
        }
        var hash = rotate(lane1, 1) &+ rotate(lane2, 7) &+ rotate(lane3, 12) &+ rotate(lane4, 18)
        hash = (hash ^ round(0, lane1)) &* prime1 &+ prime4
        hash = (hash ^ round(0, lane2)) &* prime1 &+ prime4
        hash = (hash ^ round(0, lane3)) &* prime1 &+ prime4
        return (hash ^ round(0, lane4)) &* prime1 &+ prime4
    }

    /// The tail of fewer than 32 bytes, then the avalanche.
    private static func finish(
        _ base: UnsafeRawPointer?, from start: Int, to end: Int, _ start64: UInt64
    ) -> UInt64 {
        var hash = start64
        var offset = start
        if let base {
            while offset + 8 <= end {
                hash = rotate(hash ^ round(0, load64(base, offset)), 27) &* prime1 &+ prime4
                offset += 8
            }
            if offset + 4 <= end {
                let word = UInt64(UInt32(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
                hash = rotate(hash ^ (word &* prime1), 23) &* prime2 &+ prime3
                offset += 4
            }
            while offset < end {
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
