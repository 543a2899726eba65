// Which of K partitions a key belongs to: jump consistent hash over XXH64.
//
// Source: Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm" (2014). The whole map is the
// number K, and growing from K to K' moves only the fraction 1 - K/K' of the keys, all of them to new partitions.

/// Maps key hashes to partitions 0..<K.
public struct Partitioner: Hashable, Sendable {
    /// K, 1...`Limits.partitionsMax`.
    public let partitions: Int

    public init(partitions: Int) {
        precondition((1...Limits.partitionsMax).contains(partitions), "K outside 1...\(Limits.partitionsMax)")
        self.partitions = partitions
    }

    /// The partition of a key whose bytes hash to `hash` (XXH64, seed 0).
    public func partition(ofHash hash: UInt64) -> Int {
        if partitions == 1 { return 0 }
        var state = hash
        var bucket: Int64 = -1
        var candidate: Int64 = 0
        while candidate < Int64(partitions) {
            bucket = candidate
            state = state &* 2_862_933_555_777_941_757 &+ 1
            // A double holds 2^31 / (1...2^31) times bucket + 1 exactly enough: both stay below 2^53.
            let scale = Double(Int64(1) << 31) / Double((state >> 33) + 1)
            candidate = Int64(Double(bucket + 1) * scale)
        }
        return Int(bucket)
    }

    /// The partition of a key.
    public func partition(of key: Key) -> Int {
        partition(ofHash: key.hash64)
    }
}
