// Counters on their way into a file: rows in one piece of memory, as SQLiteRowTable reads them. It knows the last key
// that went in, also after it was emptied, because a b-tree that is only appended to is only as sound as the order.

import TallyCore

/// Rows of counters in ascending order of their keys.
final class CounterBuffer {
    /// Beyond this it is full.
    static let capacityBytes = 1 << 20
    private static let rowBytesMax = RowWindow.headBytes + Limits.keyBytesMax

    private let memory = UnsafeMutableRawPointer.allocate(
        byteCount: CounterBuffer.capacityBytes + CounterBuffer.rowBytesMax, alignment: 8)
    private var end = 0
    /// Where the last row begins; the row at 0 after the buffer was emptied.
    private var last = 0
    /// Rows in it.
    private(set) var count = 0
    private var isFirst = true

    deinit { memory.deallocate() }

    var isFull: Bool { end >= Self.capacityBytes }

    /// What the table is to show: all rows.
    var window: RowWindow { RowWindow(row: UnsafeRawPointer(memory), end: UnsafeRawPointer(memory + end)) }

    /// Appends a row, which must not be full; false, and nothing appended, if its key does not follow the last one.
    func append(_ key: UnsafeRawBufferPointer, value: Int64, updatedMilliseconds: UInt64) -> Bool {
        precondition(!isFull && (1...Limits.keyBytesMax).contains(key.count), "no room, or no key")
        if !isFirst, Bytes.compare(lastKey, key) >= 0 { return false }
        let row = memory + end
        row.storeBytes(of: UInt16(key.count), as: UInt16.self)
        row.storeBytes(of: value, toByteOffset: 2, as: Int64.self)
        row.storeBytes(of: Int64(clamping: updatedMilliseconds), toByteOffset: 10, as: Int64.self)
        UnsafeMutableRawBufferPointer(start: row + RowWindow.headBytes, count: key.count).copyMemory(from: key)
        last = end
        end += RowWindow.headBytes + key.count
        count += 1
        isFirst = false
        return true
    }

    private var lastKey: UnsafeRawBufferPointer {
        let bytes = Int((memory + last).loadUnaligned(as: UInt16.self))
        return UnsafeRawBufferPointer(start: memory + last + RowWindow.headBytes, count: bytes)
    }

    /// Forgets the rows, but not the last key.
    func removeAll() {
        if isFirst { return }
        // It moves to the front: `append` compares the next key with it before it overwrites it.
        memory.copyMemory(from: memory + last, byteCount: RowWindow.headBytes + lastKey.count)
        last = 0
        end = 0
        count = 0
    }
}
