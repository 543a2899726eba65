// The increments of one request, parsed but not yet admitted.
//
// A request counts as a whole or not at all, so its increments are staged here until the last byte has been
// accepted. One buffer lives per event loop and is reused: after the first requests it allocates nothing. Keys lie
// in one arena; each is hashed once, here, and the hash serves the partition, the aggregator and nothing else.

/// A reusable list of (key, delta).
public struct IncrementBuffer {
    /// One increment; the key's bytes are found with `withKey`.
    public struct Item {
        let offset: Int
        let length: Int
        public let hash: UInt64
        public let delta: Int64
    }

    public private(set) var items: [Item] = []
    private var arena: [UInt8] = []

    public init() {}

    public var count: Int { items.count }
    public var isEmpty: Bool { items.isEmpty }
    /// Bytes of all keys.
    public var keyBytes: Int { arena.count }

    /// Appends one increment, or says why the key is none; then nothing has changed.
    public mutating func append(key: UnsafeRawBufferPointer, delta: Int64) -> KeyError? {
        if let error = Key.validate(key) { return error }
        items.append(Item(offset: arena.count, length: key.count, hash: XXH64.hash(key), delta: delta))
        arena.append(contentsOf: key)
        return nil
    }

    /// Empties the buffer and keeps its storage, unless one huge request has made it larger than `keepBytes`.
    public mutating func removeAll(keepBytes: Int = 1 << 16) {
        items.removeAll(keepingCapacity: items.capacity * MemoryLayout<Item>.stride <= keepBytes)
        arena.removeAll(keepingCapacity: arena.capacity <= keepBytes)
    }

    /// Calls `body` with the key bytes of `item`, which must come from this buffer.
    public func withKey<Result>(of item: Item, _ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        arena.withUnsafeBytes { body(UnsafeRawBufferPointer(rebasing: $0[item.offset..<item.offset + item.length])) }
    }

    /// The key bytes of `item`, copied: for messages and tests.
    public func key(of item: Item) -> [UInt8] {
        withKey(of: item) { Array($0) }
    }
}
