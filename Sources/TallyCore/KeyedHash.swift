// A hash of keys that nobody outside of this process can compute, for tables whose keys were chosen to meet.
//
// XXH64 decides the partition, so it is published, and whoever sends keys can compute ten thousand that share all 64
// bits of it. A secret seed would not help: some pairs of keys collide under every seed (flip the one bit of a word
// that ends up as the highest of a product, which no multiplication carries on, and it can be flipped back with the
// next word). SipHash has a secret of 128 bits and no such pairs; Swift's `Hasher` is SipHash-1-3 with a key that each
// process draws anew. It costs a few times more, so tables begin with XXH64, which is at hand, and take this one where
// finding a key takes longer than with keys that nobody chose.

/// The hash that a table takes when the published one is used against it.
enum KeyedHash {
    /// The same within this process, another in the next one.
    @inline(never)
    static func hash(_ key: UnsafeRawBufferPointer) -> UInt64 {
        var hasher = Hasher()
        hasher.combine(bytes: key)
        return UInt64(bitPattern: Int64(hasher.finalize()))
    }
}
