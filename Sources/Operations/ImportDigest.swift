// What tells one import from another: 128 bits over all its lines, whatever their order, their format and the files
// that they came in. The same content gives the same digest, so an import that is repeated is recognised.
//
// Each line (key, value) is hashed twice and the hashes are added up, modulo 2^64 each. Sums do not depend on the
// order, and unlike an exclusive or they tell a line that comes twice from one that does not come at all.

public import TallyCore

/// The digest of a set of lines in which a line may come several times.
public struct ImportDigest: Hashable, Sendable, CustomStringConvertible {
    private var high: UInt64 = 0
    private var low: UInt64 = 0
    public private(set) var lines: UInt64 = 0

    /// XXH64 of a key under this seed is the second of its hashes; the first is the one that decides the partition.
    static let secondSeed: UInt64 = 0x5461_6C6C_794D_696C

    public init() {}

    /// - Parameters:
    ///   - hash: XXH64 of the key with seed 0.
    ///   - second: XXH64 of the key with `secondSeed`.
    @inline(__always)
    mutating func add(hash: UInt64, second: UInt64, value: Int64) {
        let bits = UInt64(bitPattern: value)
        high &+= SplitMix64.mix(hash ^ SplitMix64.mix(bits))
        low &+= SplitMix64.mix(second &+ SplitMix64.mix(~bits))
        lines &+= 1
    }

    mutating func add(_ other: ImportDigest) {
        high &+= other.high
        low &+= other.low
        lines &+= other.lines
    }

    /// The identity as an idempotency key has it: the number of lines is in it, too.
    public var bytes: Bytes16 {
        Bytes16(high: SplitMix64.mix(high &+ lines), low: SplitMix64.mix(low ^ lines))
    }

    public var description: String { bytes.description }
}
