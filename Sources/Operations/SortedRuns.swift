// What an external sort leaves behind: the sorted chunks, and for each partition a merge of its sections in them.
//
// A merge holds one buffer for each chunk and a heap of the keys that they stand on. All entries of a key are gathered
// before it is handed out, in 128 bits, so what comes out depends on the lines alone and not on how they fell into
// chunks: one entry a key, unless the sum does not fit an Int64.

public import ServiceKit
public import TallyCore

/// The sorted lines of an import, by partition.
public final class SortedRuns: Sendable {
    /// How many lines each partition has, and the sum of their values.
    public let amounts: [Amount]
    public let digest: ImportDigest
    private let runs: [RunFile]

    /// All buffers of one merge have so many bytes together, as far as that leaves each a useful size.
    private static let mergeBytes = 8 << 20

    init(_ runs: [RunFile], amounts: [Amount], digest: ImportDigest) {
        self.runs = runs
        self.amounts = amounts
        self.digest = digest
    }

    /// The lines of one partition; may be asked for again and by several threads. Each source belongs to one.
    ///
    /// - Throws: 74.
    public func source(of partition: Int) throws(Failure) -> PartitionMerge {
        let filled = runs.filter { $0.sections[partition].bytes > 0 }
        let bytes = min(1 << 19, max(1 << 14, Self.mergeBytes / max(1, filled.count)))
        return try PartitionMerge(filled, partition: partition, bufferBytes: bytes)
    }
}

/// A merge of one partition's sections.
public final class PartitionMerge: SortedSource {
    /// A heap: no cursor's key precedes its parent's, at half its index. The cursors are values at fixed places:
    /// references to them would be counted up and down for every key.
    private let cursors: UnsafeMutablePointer<RunCursor>
    private let capacity: Int
    private var count = 0
    private let keyBytes = UnsafeMutableRawBufferPointer.allocate(byteCount: Limits.keyBytesMax, alignment: 8)
    private var keyCount = 0
    /// Of the present key, what has not been handed out.
    private var rest: Int128 = 0
    public private(set) var value: Int64 = 0

    init(_ runs: [RunFile], partition: Int, bufferBytes: Int) throws(Failure) {
        capacity = runs.count
        cursors = .allocate(capacity: capacity)
        for (index, run) in runs.enumerated() {
            (cursors + index).initialize(to: RunCursor(run, run.sections[partition], bufferBytes: bufferBytes))
        }
        // Those behind `count` are at their end.
        for index in 0..<capacity where try cursors[index].next() {
            swapAt(index, count)
            count += 1
            rise(from: count - 1)
        }
    }

    deinit {
        for index in 0..<capacity { cursors[index].deallocate() }
        cursors.deinitialize(count: capacity)
        cursors.deallocate()
        keyBytes.deallocate()
    }

    public var key: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: keyBytes[..<keyCount]) }

    public func next() throws(Failure) -> Bool {
        if rest == 0 {
            if count == 0 { return false }
            let first = cursors[0].key
            keyCount = first.count
            keyBytes.copyMemory(from: first)
            let prefix = cursors[0].prefix
            repeat {
                rest += Int128(cursors[0].value)
                try advance()
            } while count > 0 && cursors[0].prefix == prefix && Bytes.compare(cursors[0].key, key) == 0
        }
        value = Int64(clamping: rest)
        rest -= Int128(value)
        return true
    }

    private func advance() throws(Failure) {
        if try !cursors[0].next() {
            count -= 1
            swapAt(0, count)
        }
        sink()
    }

    @inline(__always)
    private func precedes(_ left: Int, _ right: Int) -> Bool {
        let (first, second) = (cursors[left].prefix, cursors[right].prefix)
        return first != second ? first < second : Bytes.compare(cursors[left].key, cursors[right].key) < 0
    }

    @inline(__always)
    private func swapAt(_ left: Int, _ right: Int) {
        if left == right { return }
        let cursor = (cursors + left).move()
        (cursors + left).moveInitialize(from: cursors + right, count: 1)
        (cursors + right).initialize(to: cursor)
    }

    private func rise(from start: Int) {
        var child = start
        while child > 0, precedes(child, (child - 1) / 2) {
            swapAt(child, (child - 1) / 2)
            child = (child - 1) / 2
        }
    }

    private func sink() {
        var parent = 0
        while 2 * parent + 1 < count {
            let left = 2 * parent + 1
            let child = left + 1 < count && precedes(left + 1, left) ? left + 1 : left
            guard precedes(child, parent) else { return }
            swapAt(child, parent)
            parent = child
        }
    }
}

/// A walk over one section. Its buffer is to be deallocated.
struct RunCursor {
    private let run: RunFile
    private let buffer: UnsafeMutableRawBufferPointer
    private var position = 0
    private var end = 0
    /// What of the section has not been read.
    private var unread: RunFile.Section
    private(set) var key = UnsafeRawBufferPointer(start: nil, count: 0)
    private(set) var value: Int64 = 0
    /// The first eight bytes of the key, zeros behind its end: most comparisons need no more.
    private(set) var prefix: UInt64 = 0

    private static let recordBytesMax = RunFile.headBytes + Limits.keyBytesMax
    /// Eight bytes may be loaded at the last byte of a key.
    private static let padding = 8

    init(_ run: RunFile, _ section: RunFile.Section, bufferBytes: Int) {
        self.run = run
        unread = section
        let size = max(bufferBytes, 2 * Self.recordBytesMax) + Self.padding
        buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 8)
    }

    func deallocate() { buffer.deallocate() }

    /// Goes to the next record, or the first; false after the last. The key lives until the next call.
    @inline(__always)
    mutating func next() throws(Failure) -> Bool {
        if end - position < Self.recordBytesMax, unread.bytes > 0 { try refill() }
        if position == end { return false }
        let head = UnsafeRawBufferPointer(rebasing: buffer[position...])
        let count = Int(UInt16(littleEndian: head.loadUnaligned(as: UInt16.self)))
        value = Int64(littleEndian: head.loadUnaligned(fromByteOffset: 2, as: Int64.self))
        key = UnsafeRawBufferPointer(rebasing: head[RunFile.headBytes..<RunFile.headBytes + count])
        let word = UInt64(bigEndian: head.loadUnaligned(fromByteOffset: RunFile.headBytes, as: UInt64.self))
        prefix = count >= 8 ? word : word & ~(UInt64.max >> UInt64(8 * count))
        position += RunFile.headBytes + count
        return true
    }

    private mutating func refill() throws(Failure) {
        let left = end - position
        UnsafeMutableRawBufferPointer(rebasing: buffer[..<left])
            .copyMemory(from: UnsafeRawBufferPointer(rebasing: buffer[position..<end]))
        let wanted = min(unread.bytes, buffer.count - Self.padding - left)
        let room = UnsafeMutableRawBufferPointer(rebasing: buffer[left..<left + wanted])
        let count = try run.read(into: room, at: unread.offset)
        guard count == wanted else {
            throw Failure(.ioError, "a file of sorted lines is shorter than what was written to it")
        }
        unread.offset += count
        unread.bytes -= count
        position = 0
        end = left + count
    }
}
