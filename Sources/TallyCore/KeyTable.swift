// Sums by key: the gear that turns thousands of increments into one entry each.
//
// An open-addressing hash table whose keys lie in one arena and whose entries lie in one array, in order of first
// appearance. Adding to a known key touches a slot, an entry and the key's bytes, and allocates nothing. A sum that
// would leave Int64 starts a second entry for the key, so that nothing wraps and nothing is refused; from then on
// the key's slot points to the newest entry.
//
// Slots are chosen by the published hash, so a client can compute keys that all want the same one. Steps beyond the
// first few of a search are counted; when they are more than keys that nobody chose would need, the slots are chosen
// anew by `KeyedHash`, until the table is emptied. So a key costs a bounded number of steps, whoever sends it.

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
    /// Whether slots are chosen by `KeyedHash`.
    private(set) var isKeyed = false
    /// Steps of searches that took more than `nearSteps`.
    private(set) var farSteps = 0

    private static let smallestSlots = 64
    /// In a table that is half full, one search in some thousands takes more steps with keys that nobody chose.
    private static let nearSteps = 32
    /// How many far steps are put up with: some at once, and some more for each entry.
    private static let farStepsMin = 4_096
    private static let farStepsPerEntry = 16

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

    /// Whether the key was added.
    mutating func contains(_ key: UnsafeRawBufferPointer, hash: UInt64) -> Bool { slots[find(key, hash: hash)] > 0 }

    /// The slot that points to the key's newest entry, or the free one where it belongs.
    private mutating func find(_ key: UnsafeRawBufferPointer, hash: UInt64) -> Int {
        let mask = slots.count - 1
        var slot = Int(truncatingIfNeeded: isKeyed ? KeyedHash.hash(key) : hash) & mask
        var steps = 0
        while true {
            let index = Int(slots[slot]) - 1
            if index < 0 || isKey(key, hash, of: entries[index]) { return slot }
            slot = (slot + 1) & mask
            steps += 1
            if steps > Self.nearSteps { return findFar(key, hash: hash, from: slot) }
        }
    }

    /// Goes on with a search from `slot`; there may have been too many like it.
    @inline(never)
    private mutating func findFar(_ key: UnsafeRawBufferPointer, hash: UInt64, from start: Int) -> Int {
        let mask = slots.count - 1
        var slot = start
        var steps = Self.nearSteps
        while true {
            let index = Int(slots[slot]) - 1
            if index < 0 || isKey(key, hash, of: entries[index]) { break }
            slot = (slot + 1) & mask
            steps += 1
        }
        farSteps += steps
        if isKeyed || farSteps <= Self.farStepsMin + Self.farStepsPerEntry * entries.count { return slot }
        isKeyed = true
        fill(count: slots.count)
        return find(key, hash: hash)
    }

    @inline(__always)
    private func isKey(_ key: UnsafeRawBufferPointer, _ hash: UInt64, of entry: Entry) -> Bool {
        entry.hash == hash && entry.length == key.count && withKey(of: entry) { Bytes.compare($0, key) == 0 }
    }

    private mutating func insert(
        _ key: UnsafeRawBufferPointer, hash: UInt64, delta: Int64, increments: UInt64, slot: Int
    ) {
        entries.append(
            Entry(hash: hash, offset: arena.count, length: key.count, increments: increments, sum: delta))
        arena.append(contentsOf: key)
        encodedBytes += key.count + BatchFormat.entryOverheadMax
        slots[slot] = UInt32(entries.count)
        if entries.count * 2 > slots.count { fill(count: slots.count * 4) }
    }

    /// Makes `count` slots and finds each entry's.
    private mutating func fill(count: Int) {
        slots = Array(repeating: 0, count: count)
        let mask = count - 1
        for (index, entry) in entries.enumerated() {
            var slot = Int(truncatingIfNeeded: isKeyed ? withKey(of: entry, KeyedHash.hash) : entry.hash) & mask
            // A later entry of the same key takes over its slot; different keys move on.
            while slots[slot] != 0, !isSameKey(entries[Int(slots[slot]) - 1], entry) { slot = (slot + 1) & mask }
            slots[slot] = UInt32(index + 1)
        }
    }

    private func isSameKey(_ left: Entry, _ right: Entry) -> Bool {
        withKey(of: left) { isKey($0, left.hash, of: right) }
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
        isKeyed = false
        farSteps = 0
        slots.withUnsafeMutableBufferPointer { $0.update(repeating: 0) }
    }
}
