// Runs: rows that change their shard, sorted because they were read in order, one run for each pair of old and new
// shard. They are written in blocks, of all destinations in turn, into one scratch file.
//
// A counter in a block (native byte order: whoever writes it reads it):
//
//     offset  size
//          0     2  bytes of the key
//          2     8  value
//         10     8  updated_ms
//         18     -  key
//
// A row of another table: its table (1 byte), then for each column a tag (1) and an integer (8) or a length (8) and so
// many bytes. No row lies in two blocks; a large row makes a large block.

import ServiceKit
import ShardStore
import TallyCore

/// Where the rows of one old shard for one destination lie, in their order.
typealias Run = [ScratchFile.Block]

/// Writes the rows of one old shard to the destinations 0..<count. One thread owns it.
final class RunWriter {
    private let scratch: ScratchFile
    private let blockBytes: Int
    private var buffers: [ByteBuffer]
    private var runs: [Run]

    init(_ scratch: ScratchFile, destinations: Int, blockBytes: Int) {
        self.scratch = scratch
        self.blockBytes = blockBytes
        buffers = (0..<destinations).map { _ in ByteBuffer() }
        runs = Array(repeating: [], count: destinations)
    }

    func append(
        _ key: UnsafeRawBufferPointer, value: Int64, updatedMilliseconds: UInt64, to destination: Int
    ) throws(Failure) {
        let buffer = buffers[destination]
        buffer.append(UInt16(key.count))
        buffer.append(value)
        buffer.append(updatedMilliseconds)
        buffer.append(key)
        if buffer.count >= blockBytes { try write(destination) }
    }

    func append(_ row: CarriedRow, to destination: Int) throws(Failure) {
        let buffer = buffers[destination]
        buffer.append(row.table.rawValue)
        for value in row.values {
            switch value {
            case .null: buffer.append(UInt8(0))
            case .integer(let number):
                buffer.append(UInt8(1))
                buffer.append(number)
            case .text(let bytes): buffer.append(tag: 2, bytes)
            case .blob(let bytes): buffer.append(tag: 3, bytes)
            }
        }
        if buffer.count >= blockBytes { try write(destination) }
    }

    /// Writes what is left; no row may follow.
    func finish() throws(Failure) -> [Run] {
        for destination in buffers.indices where buffers[destination].count > 0 { try write(destination) }
        buffers = []
        return runs
    }

    private func write(_ destination: Int) throws(Failure) {
        let buffer = buffers[destination]
        runs[destination].append(try scratch.append(buffer.bytes))
        buffer.removeAll()
    }
}

/// Reads the blocks of one run. One thread owns it.
final class RunBlocks {
    private let scratch: ScratchFile
    private var blocks: Run.Iterator
    private let buffer = ByteBuffer()
    private var offset = 0

    init(_ run: Run, _ scratch: ScratchFile) {
        self.scratch = scratch
        blocks = run.makeIterator()
    }

    /// Makes the next row readable; false after the last.
    func hasRow() throws(Failure) -> Bool {
        if offset < buffer.count { return true }
        guard let block = blocks.next() else { return false }
        try scratch.read(block, into: buffer.room(for: block.count))
        offset = 0
        return true
    }

    func integer<Integer: FixedWidthInteger & BitwiseCopyable>(_ type: Integer.Type = Integer.self) -> Integer {
        let value = buffer.bytes.loadUnaligned(fromByteOffset: offset, as: type)
        offset += MemoryLayout<Integer>.size
        return value
    }

    /// Valid until the next row is asked for.
    func take(_ count: Int) -> UnsafeRawBufferPointer {
        defer { offset += count }
        return UnsafeRawBufferPointer(rebasing: buffer.bytes[offset..<offset + count])
    }
}

/// The rows of other tables in a run.
struct CarriedRun {
    private let blocks: RunBlocks

    init(_ run: Run, _ scratch: ScratchFile) {
        blocks = RunBlocks(run, scratch)
    }

    func next() throws(Failure) -> CarriedRow? {
        guard try blocks.hasRow() else { return nil }
        guard let table = CarriedTable(rawValue: blocks.integer()) else { preconditionFailure("not a run of rows") }
        let values = (0..<table.columnCount).map { _ -> CarriedRow.Value in
            switch blocks.integer(UInt8.self) {
            case 0: .null
            case 1: .integer(blocks.integer())
            case 2: .text(Array(blocks.take(blocks.integer())))
            case 3: .blob(Array(blocks.take(blocks.integer())))
            default: preconditionFailure("not a run of rows")
            }
        }
        return CarriedRow(table, values)
    }
}

/// Bytes that grow to the largest block and stay there.
final class ByteBuffer {
    private var memory = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    private(set) var count = 0

    deinit { memory.deallocate() }

    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(memory)[..<count]) }

    func append<Integer: FixedWidthInteger & BitwiseCopyable>(_ value: Integer) {
        let place = extend(by: MemoryLayout<Integer>.size)
        memory.storeBytes(of: value, toByteOffset: place, as: Integer.self)
    }

    func append(_ bytes: UnsafeRawBufferPointer) {
        let place = extend(by: bytes.count)
        UnsafeMutableRawBufferPointer(rebasing: memory[place...]).copyMemory(from: bytes)
    }

    func append(tag: UInt8, _ bytes: [UInt8]) {
        append(tag)
        append(bytes.count)
        bytes.withUnsafeBytes { append($0) }
    }

    func removeAll() { count = 0 }

    /// Where `count` bytes are about to be stored, instead of what it holds.
    func room(for count: Int) -> UnsafeMutableRawPointer {
        self.count = 0
        _ = extend(by: count)  // the place is 0
        guard let start = memory.baseAddress else { preconditionFailure("an empty block") }
        return start
    }

    private func extend(by bytes: Int) -> Int {
        let place = count
        count += bytes
        if count > memory.count {
            let larger = UnsafeMutableRawBufferPointer.allocate(
                byteCount: max(2 * memory.count, count, 4096), alignment: 8)
            larger.copyMemory(from: UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(memory)[..<place]))
            memory.deallocate()
            memory = larger
        }
        return place
    }
}
