// Sums by key: the gear that turns thousands of increments into one entry each.
//
// An open-addressing hash table whose keys lie in one arena and whose entries lie in one array, in order of first
// appearance. Adding to a known key touches a slot, an entry and the key's bytes, and allocates nothing. A sum that
// would leave Int64 starts a second entry for the key, so that nothing wraps and nothing is refused; from then on
// the key's slot points to the newest entry.

/// Sums and increment counts by key.
public struct KeyTable {
    /// The increments of one key.
    public struct Entry {
        let hash: UInt64
        let offset: Int
        let length: Int
        /// How many increments went into `sum`; wraps, like the ledger that it comes from or goes to.
        public fileprivate(set) var increments: UInt64
        public fileprivate(set) var sum: Int64
    }

    public private(set) var entries: [Entry] = []
    /// An upper bound of what the entries occupy in a batch.
    public private(set) var encodedBytes = 0
    /// Whether some key needed a second entry.
    public private(set) var hasOverflow = false
    private var arena: [UInt8] = []
    /// Index + 1 into `entries`; 0 is free. The count is a power of two, at least half of it free.
    private var slots: [UInt32]

    private static let smallestSlots = 64

    public init() {
        slots = Array(repeating: 0, count: Self.smallestSlots)
    }

    public var isEmpty: Bool { entries.isEmpty }
    public var count: Int { entries.count }

    /// Adds `delta`, the sum of `increments` increments, to the key whose bytes hash to `hash` (XXH64, seed 0).
    public mutating func add(_ key: UnsafeRawBufferPointer, hash: UInt64, delta: Int64, increments: UInt64 = 1) {
        let slot = find(key, hash: hash)
        let index = Int(slots[slot]) - 1
        if index >= 0 {
            let (sum, overflow) = entries[index].sum.addingReportingOverflow(delta)
            if !overflow {
                entries[index].sum = sum
                entries[index].increments &+= increments
                return
            }
            hasOverflow = true
        }
        insert(key, hash: hash, delta: delta, increments: increments, slot: slot)
    }

    /// The slot that points to the key's newest entry, or the free one where it belongs.
    private func find(_ key: UnsafeRawBufferPointer, hash: UInt64) -> Int {
        let mask = slots.count - 1
        var slot = Int(truncatingIfNeeded: hash) & mask
        while true {
            let index = Int(slots[slot]) - 1
            if index < 0 { return slot }
            let entry = entries[index]
            if entry.hash == hash, entry.length == key.count, matches(entry, key) { return slot }
            slot = (slot + 1) & mask
        }
    }

    private func matches(_ entry: Entry, _ key: UnsafeRawBufferPointer) -> Bool {
        withKey(of: entry) { $0.elementsEqual(key) }
    }

    private mutating func insert(
        _ key: UnsafeRawBufferPointer, hash: UInt64, delta: Int64, increments: UInt64, slot: Int
    ) {
        entries.append(
            Entry(hash: hash, offset: arena.count, length: key.count, increments: increments, sum: delta))
        arena.append(contentsOf: key)
        encodedBytes += key.count + BatchFormat.entryOverheadMax
        slots[slot] = UInt32(entries.count)
        if entries.count * 2 > slots.count { grow() }
    }

    private mutating func grow() {
        slots = Array(repeating: 0, count: slots.count * 4)
        let mask = slots.count - 1
        for (index, entry) in entries.enumerated() {
            var slot = Int(truncatingIfNeeded: entry.hash) & mask
            // A later entry of the same key takes over its slot; different keys move on.
            while slots[slot] != 0, !isSameKey(entries[Int(slots[slot]) - 1], entry) { slot = (slot + 1) & mask }
            slots[slot] = UInt32(index + 1)
        }
    }

    private func isSameKey(_ left: Entry, _ right: Entry) -> Bool {
        left.hash == right.hash && left.length == right.length && withKey(of: left) { matches(right, $0) }
    }

    /// Calls `body` with the key bytes of an entry of this table.
    public func withKey<Result>(of entry: Entry, _ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        arena.withUnsafeBytes { body(UnsafeRawBufferPointer(rebasing: $0[entry.offset..<entry.offset + entry.length])) }
    }

    /// Empties the table and keeps its storage for the next batch.
    public mutating func removeAll() {
        entries.removeAll(keepingCapacity: true)
        arena.removeAll(keepingCapacity: true)
        encodedBytes = 0
        hasOverflow = false
        slots.withUnsafeMutableBufferPointer { $0.update(repeating: 0) }
    }
}
