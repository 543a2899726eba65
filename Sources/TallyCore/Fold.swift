// The sums of one apply transaction, by key, handed out in key order.
//
// An open-addressing hash table over one array of entries and one arena of key bytes: it grows with the distinct keys,
// however many increments they had. A slot carries half of the hash beside the entry's index, so that a probe that ends
// at another key, or at none, touches the slots alone: with millions of keys each touch is a cache miss.
//
// The order is found by the eight bytes of each key that follow what all of them have in common, as one big-endian
// word; keys that agree there are ordered among themselves in the same way, eight bytes further on. So no comparison
// leaves the array that is sorted. Keys hold no zero byte: a key that ends sorts before those that go on.
//
// Slots are chosen by the published hash, so clients can compute keys that all want the same one. Steps of searches are
// counted against what was added; when there are more than keys that nobody chose would need, the slots are chosen anew
// by `KeyedHash`. So a key costs a bounded number of steps, whoever sends it.

/// Sums by key.
struct Fold {
    private struct Entry {
        var hash: UInt64
        var sum: Int64
        let offset: UInt32
        let length: UInt16
        /// Whether the sum left Int64 on the way: then it is of no use.
        var overflows = false

        var range: Range<Int> { Int(offset)..<Int(offset) + Int(length) }
    }

    private struct Slot {
        var tag: UInt32 = 0
        /// Index + 1 into `entries`; 0 is free.
        var entry: UInt32 = 0
    }

    /// An entry's place in the order, as far as it is known.
    private struct Place {
        var word: UInt64
        let entry: UInt32
    }

    private var entries: [Entry] = []
    private var arena: [UInt8] = []
    /// A power of two, at least a quarter of it free.
    private var slots = Array(repeating: Slot(), count: Self.smallestSlots)

    /// Whether slots are chosen by `KeyedHash`.
    private(set) var isKeyed = false
    /// Steps beyond the first of all searches.
    private(set) var steps = 0
    /// How many steps are put up with.
    private var stepsMax = Self.stepsMin

    private static let smallestSlots = 64
    /// How many steps are put up with at once, and for each addition: on average, keys that nobody chose need 8.5 in a
    /// table that is about to grow, and 3 over its whole life.
    private static let stepsMin = 4_096
    private static let stepsPerAddition = 16
    /// A key that has to be compared in vain is as far away as so many slots: keys that nobody chose differ in the half
    /// of the hash that their slots carry.
    private static let stepsPerKey = 8

    /// Distinct keys.
    var count: Int { entries.count }

    /// Makes room for what `payloadBytes` of batches can bring. It is address space until keys come; growing by
    /// doubling would hold everything twice, once in a while.
    mutating func reserve(payloadBytes: Int) {
        entries.reserveCapacity(min(payloadBytes / BatchFormat.entryBytesMin, Limits.transactionKeys * 2))
        arena.reserveCapacity(payloadBytes)
    }

    /// Adds all entries of a batch.
    mutating func add(_ batch: BatchReader) {
        stepsMax += Int(batch.header.entries) * Self.stepsPerAddition
        batch.forEach { entry in put(entry.key, entry.sum) }
    }

    /// Adds `delta` to the sum of a key.
    mutating func add(_ key: UnsafeRawBufferPointer, delta: Int64) {
        stepsMax += Self.stepsPerAddition
        put(key, delta)
    }

    private mutating func put(_ key: UnsafeRawBufferPointer, _ delta: Int64) {
        var hash = hash(key)
        var slot = find(key, hash)
        if steps > stepsMax, !isKeyed {
            takeSecret()
            hash = KeyedHash.hash(key)
            slot = find(key, hash)
        }
        let index = Int(slots[slot].entry) - 1
        if index < 0 { return insert(key, hash, delta, slot) }
        let (sum, overflow) = entries[index].sum.addingReportingOverflow(delta)
        if overflow { entries[index].overflows = true } else { entries[index].sum = sum }
    }

    @inline(__always)
    private func hash(_ key: UnsafeRawBufferPointer) -> UInt64 { isKeyed ? KeyedHash.hash(key) : XXH64.hash(key) }

    /// The key's slot, or the free one where it belongs.
    @inline(__always)
    private mutating func find(_ key: UnsafeRawBufferPointer, _ hash: UInt64) -> Int {
        let mask = slots.count - 1
        var slot = Int(truncatingIfNeeded: hash) & mask
        var taken = 0
        while slots[slot].entry > 0 {
            if slots[slot].tag == Self.tag(hash) {
                if isKey(key, of: entries[Int(slots[slot].entry) - 1]) { break }
                taken += Self.stepsPerKey
            }
            slot = (slot + 1) & mask
            taken += 1
        }
        if taken > 0 { steps += taken }
        return slot
    }

    @inline(never)
    private mutating func takeSecret() {
        isKeyed = true
        for index in entries.indices {
            entries[index].hash = arena.withUnsafeBytes { bytes in
                KeyedHash.hash(UnsafeRawBufferPointer(rebasing: bytes[entries[index].range]))
            }
        }
        fill(count: slots.count)
    }

    private func isKey(_ key: UnsafeRawBufferPointer, of entry: Entry) -> Bool {
        arena.withUnsafeBytes { Bytes.compare(UnsafeRawBufferPointer(rebasing: $0[entry.range]), key) == 0 }
    }

    /// The half of a hash that does not choose the slot.
    private static func tag(_ hash: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: hash >> 32) }

    private mutating func insert(_ key: UnsafeRawBufferPointer, _ hash: UInt64, _ delta: Int64, _ slot: Int) {
        entries.append(Entry(hash: hash, sum: delta, offset: UInt32(arena.count), length: UInt16(key.count)))
        arena.append(contentsOf: key)
        slots[slot] = Slot(tag: Self.tag(hash), entry: UInt32(entries.count))
        if entries.count * 4 > slots.count * 3 { fill(count: slots.count * 2) }
    }

    /// Makes `count` slots and finds each entry's.
    private mutating func fill(count: Int) {
        slots = Array(repeating: Slot(), count: count)
        let mask = count - 1
        for (index, entry) in entries.enumerated() {
            var slot = Int(truncatingIfNeeded: entry.hash) & mask
            while slots[slot].entry > 0 { slot = (slot + 1) & mask }
            slots[slot] = Slot(tag: Self.tag(entry.hash), entry: UInt32(index + 1))
        }
    }
}

// The order.
extension Fold {
    /// Calls `body` with each key and its sum, in byte order of the keys; nil in place of a sum that left Int64 on the
    /// way. The table can take no more afterwards: its slots are given up for the room to sort in.
    mutating func drainInKeyOrder<Failure: Error>(
        _ body: (UnsafeRawBufferPointer, Int64?) throws(Failure) -> Void
    ) throws(Failure) {
        slots = []
        let places = sorted()
        var failure: Failure?
        arena.withUnsafeBytes { bytes in
            do throws(Failure) {
                for place in places {
                    let entry = entries[Int(place.entry)]
                    let key = UnsafeRawBufferPointer(rebasing: bytes[entry.range])
                    try body(key, entry.overflows ? nil : entry.sum)
                }
            } catch { failure = error }
        }
        if let failure { throw failure }
    }

    private func sorted() -> [Place] {
        var places = entries.indices.map { Place(word: 0, entry: UInt32($0)) }
        arena.withUnsafeBytes { bytes in
            places.withUnsafeMutableBufferPointer { sort($0, bytes, from: commonBytes(bytes)) }
        }
        return places
    }

    /// How many first bytes all keys share.
    private func commonBytes(_ bytes: UnsafeRawBufferPointer) -> Int {
        guard let first = entries.first?.range else { return 0 }
        var common = first.count
        for entry in entries {
            common = min(common, Int(entry.length))
            var offset = 0
            while offset < common, bytes[first.lowerBound + offset] == bytes[Int(entry.offset) + offset] { offset += 1 }
            common = offset
        }
        return common
    }

    /// Sorts places whose keys agree in their first `depth` bytes.
    private func sort(_ slice: UnsafeMutableBufferPointer<Place>, _ bytes: UnsafeRawBufferPointer, from depth: Int) {
        var places = slice
        for index in places.indices {
            places[index].word = Self.word(of: bytes[entries[Int(places[index].entry)].range], at: depth)
        }
        places.sort { $0.word < $1.word }
        var start = 0
        while start < places.count {
            var end = start + 1
            while end < places.count, places[end].word == places[start].word { end += 1 }
            // A last byte of zero is no byte of a key: there the keys end, and equal ones are one.
            if end - start > 1, places[start].word & 0xFF != 0 {
                sort(UnsafeMutableBufferPointer(rebasing: places[start..<end]), bytes, from: depth + 8)
            }
            start = end
        }
    }

    /// Eight bytes from `offset`, the first most significant, zeros behind the end.
    private static func word(of key: Slice<UnsafeRawBufferPointer>, at offset: Int) -> UInt64 {
        let rest = UnsafeRawBufferPointer(rebasing: key.dropFirst(offset))
        if rest.count >= 8 { return UInt64(bigEndian: rest.loadUnaligned(as: UInt64.self)) }
        var word: UInt64 = 0
        for byte in rest { word = word << 8 | UInt64(byte) }
        return rest.isEmpty ? 0 : word << UInt64(8 * (8 - rest.count))
    }
}
