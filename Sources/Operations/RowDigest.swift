// A fingerprint of a set of counters, whatever their order: what went in is compared with what came out. Digests of
// disjoint sets add up.

import TallyCore

/// How many counters, their sum, and a checksum over all of their fields.
struct RowDigest: Hashable, Sendable {
    private(set) var keys = 0
    private(set) var sum: Int128 = 0
    private(set) var checksum: UInt64 = 0

    static let empty = RowDigest()

    /// - Parameter hash: XXH64 of the key's bytes, seed 0.
    mutating func add(hash: UInt64, value: Int64, updatedMilliseconds: UInt64) {
        keys += 1
        sum &+= Int128(value)
        checksum &+= Self.checksum(hash, value, updatedMilliseconds)
    }

    /// Takes a counter out that was added.
    mutating func remove(hash: UInt64, value: Int64, updatedMilliseconds: UInt64) {
        keys -= 1
        sum &-= Int128(value)
        checksum &-= Self.checksum(hash, value, updatedMilliseconds)
    }

    static func + (left: RowDigest, right: RowDigest) -> RowDigest {
        var total = left
        total.keys += right.keys
        total.sum &+= right.sum
        total.checksum &+= right.checksum
        return total
    }

    /// Every field through its own bijection, or a swap of two of them would not show.
    private static func checksum(_ hash: UInt64, _ value: Int64, _ time: UInt64) -> UInt64 {
        SplitMix64.mix(SplitMix64.mix(SplitMix64.mix(hash) &+ UInt64(bitPattern: value)) &+ time)
    }
}
