// XXH64 of bytes that come in pieces, such as those of a file: the same as `XXH64.hash` of all of them together.

/// A running XXH64, seed 0.
public struct XXH64Stream {
    private var lanes = XXH64.Lanes(seed: 0)
    /// Fewer than 32 bytes that do not fill a stripe yet.
    private var pending: [UInt8] = []
    private var count: UInt64 = 0

    public init() {
        pending.reserveCapacity(2 * XXH64.stripeBytes)
    }

    public mutating func add(_ bytes: UnsafeRawBufferPointer) {
        count &+= UInt64(bytes.count)
        var rest = bytes[...]
        if !pending.isEmpty {
            let missing = rest.prefix(XXH64.stripeBytes - pending.count)
            pending.append(contentsOf: missing)
            rest = rest.dropFirst(missing.count)
            if pending.count < XXH64.stripeBytes { return }
            pending.withUnsafeBytes { lanes.add($0) }
            pending.removeAll(keepingCapacity: true)
        }
        let whole = rest.count & ~(XXH64.stripeBytes - 1)
        lanes.add(UnsafeRawBufferPointer(rebasing: rest.prefix(whole)))
        pending.append(contentsOf: rest.dropFirst(whole))
    }

    /// The hash of all bytes so far.
    public var hash: UInt64 {
        pending.withUnsafeBytes { tail in
            let start = count >= UInt64(XXH64.stripeBytes) ? lanes.merged : XXH64.shortStart(seed: 0)
            return XXH64.finish(tail, start &+ count)
        }
    }
}
