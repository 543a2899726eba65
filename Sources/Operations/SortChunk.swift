// As many lines of an import as fit into memory, and their order.
//
// Keys lie one behind the other in one area of bytes; for each line there is an entry of 24 bytes that names its key
// and holds eight bytes of it. Sorting moves entries only: a radix sort, most significant byte first, over the eight
// bytes in the entry, which skips bytes that all entries of a group share and, where all eight are the same, goes on
// with the next eight. Keys contain no zero byte, so filling up with zeros orders a key before its continuations.

import Glibc
import TallyCore

/// One line: its partition, its value and where its key is.
struct SortEntry {
    /// Eight bytes of the key, the first in the highest bits; zeros behind its end.
    var prefix: UInt64
    var value: Int64
    var offset: UInt32
    var length: UInt16
    var partition: UInt16
}

/// A bounded number of lines. It is filled by one thread and sorted by another, which get it from each other through
/// mailboxes: never by both at once. That is why it may be sent although nothing in it is protected.
final class SortChunk: @unchecked Sendable {
    let entryCapacity: Int
    let byteCapacity: Int
    private(set) var entries: UnsafeMutablePointer<SortEntry>
    private let keys: UnsafeMutableRawPointer
    private(set) var count = 0
    private var keyBytes = 0
    var digest = ImportDigest()

    /// Loads of eight bytes may begin at the last byte of the last key.
    private static let padding = 8
    /// Fewer entries than this are put in order by insertion.
    private static let insertionCount = 24

    /// - Parameter bytes: of memory, for entries and keys together.
    init(bytes: Int) {
        // Lines of 24 bytes of key on average fill both areas at once.
        entryCapacity = max(2, bytes / (MemoryLayout<SortEntry>.stride + 24))
        byteCapacity = max(16 * Limits.keyBytesMax, min(entryCapacity * 24, Int(UInt32.max)))
        entries = .allocate(capacity: entryCapacity)
        keys = .allocate(byteCount: byteCapacity + Self.padding, alignment: 8)
    }

    deinit {
        entries.deallocate()
        keys.deallocate()
    }

    func removeAll() {
        count = 0
        keyBytes = 0
        digest = ImportDigest()
    }

    /// Adds a line; false if there is no room for it.
    @inline(__always)
    func append(_ key: UnsafeRawBufferPointer, _ value: Int64, hash: UInt64, partition: Int) -> Bool {
        guard count < entryCapacity, keyBytes + key.count <= byteCapacity, let source = key.baseAddress else {
            precondition(!key.isEmpty, "an empty key")
            return false
        }
        let target = keys + keyBytes
        memcpy(target, source, key.count)
        // The prefix carries the hash until the chunk is sorted, which needs it for the digest.
        (entries + count).initialize(
            to: SortEntry(
                prefix: hash, value: value, offset: UInt32(truncatingIfNeeded: keyBytes),
                length: UInt16(truncatingIfNeeded: key.count), partition: UInt16(truncatingIfNeeded: partition)))
        count += 1
        keyBytes += key.count
        return true
    }

    @inline(__always)
    func key(_ entry: SortEntry) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(start: keys + Int(entry.offset), count: Int(entry.length))
    }

    /// Whether two entries that follow one another in order have the same key. The prefixes of equal keys are of the
    /// same depth; where they differ, the keys need not be looked at, which are not in the processor's cache.
    @inline(__always)
    func isSameKey(_ left: SortEntry, _ right: SortEntry) -> Bool {
        left.prefix == right.prefix && left.length == right.length
            && memcmp(keys + Int(left.offset), keys + Int(right.offset), Int(left.length)) == 0
    }

    /// Orders all entries by partition and key, and takes their digest.
    ///
    /// - Parameter scratch: room for as many entries; it becomes the chunk's, and the chunk's becomes the scratch.
    /// - Returns: where each partition's entries begin, and the end.
    func sort(partitions: Int, scratch: inout UnsafeMutablePointer<SortEntry>) -> [Int] {
        var starts = [Int](repeating: 0, count: partitions + 1)
        for index in 0..<count { starts[Int(entries[index].partition) + 1] += 1 }
        for partition in 0..<partitions { starts[partition + 1] += starts[partition] }
        var ends = starts
        ends.withUnsafeMutableBufferPointer { ends in
            for index in 0..<count {
                var entry = entries[index]
                digest.add(
                    hash: entry.prefix, second: XXH64.hash(key(entry), seed: ImportDigest.secondSeed),
                    value: entry.value)
                entry.prefix = prefix(entry, at: 0)
                let place = ends[Int(entry.partition)]
                ends[Int(entry.partition)] = place + 1
                (scratch + place).initialize(to: entry)
            }
        }
        swap(&entries, &scratch)
        for partition in 0..<partitions {
            sort(starts[partition], starts[partition + 1], depth: 0, scratch)
        }
        return starts
    }

    /// The eight bytes of an entry's key from `depth` on.
    @inline(__always)
    private func prefix(_ entry: SortEntry, at depth: Int) -> UInt64 {
        let left = Int(entry.length) - depth
        if left <= 0 { return 0 }
        let word = UInt64(
            bigEndian: keys.loadUnaligned(fromByteOffset: Int(entry.offset) + depth, as: UInt64.self))
        return left >= 8 ? word : word & ~(UInt64.max >> UInt64(8 * left))
    }

    /// Orders entries whose keys agree in their first `depth` bytes, and whose prefixes begin there.
    private func sort(_ first: Int, _ end: Int, depth: Int, _ scratch: UnsafeMutablePointer<SortEntry>) {
        if end - first < Self.insertionCount { return insertionSort(first, end, depth: depth) }
        let shared = entries[first].prefix
        var difference: UInt64 = 0
        for index in first..<end { difference |= entries[index].prefix ^ shared }
        if difference == 0 {
            // A zero byte is behind the end of all these keys: they are the same.
            if shared & 0xFF == 0 { return }
            for index in first..<end { entries[index].prefix = prefix(entries[index], at: depth + 8) }
            return sort(first, end, depth: depth + 8, scratch)
        }
        let shift = UInt64((63 - difference.leadingZeroBitCount) & ~7)
        withUnsafeTemporaryAllocation(of: Int.self, capacity: 257) { starts in
            starts.initialize(repeating: 0)
            for index in first..<end { starts[Int(entries[index].prefix >> shift & 0xFF) + 1] += 1 }
            for byte in 0..<256 { starts[byte + 1] += starts[byte] }
            for index in first..<end {
                let entry = entries[index]
                let byte = Int(entry.prefix >> shift & 0xFF)
                (scratch + first + starts[byte]).initialize(to: entry)
                starts[byte] += 1
            }
            (entries + first).update(from: scratch + first, count: end - first)
            // Now each start is the end of its group.
            var start = 0
            for byte in 0..<256 {
                if starts[byte] - start > 1 { sort(first + start, first + starts[byte], depth: depth, scratch) }
                start = starts[byte]
            }
        }
    }

    private func insertionSort(_ first: Int, _ end: Int, depth: Int) {
        var next = first + 1
        while next < end {
            let entry = entries[next]
            var place = next
            while place > first, precedes(entry, entries[place - 1], depth: depth) {
                entries[place] = entries[place - 1]
                place -= 1
            }
            entries[place] = entry
            next += 1
        }
    }

    @inline(__always)
    private func precedes(_ left: SortEntry, _ right: SortEntry, depth: Int) -> Bool {
        if left.prefix != right.prefix { return left.prefix < right.prefix }
        if left.prefix & 0xFF == 0 { return false }
        return Bytes.compare(rest(left, depth + 8), rest(right, depth + 8)) < 0
    }

    private func rest(_ entry: SortEntry, _ depth: Int) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: key(entry).dropFirst(depth))
    }
}
