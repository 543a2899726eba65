// One sorted chunk of an import on disk: for each partition a section of records in ascending order of their keys.
//
//   record   key length (2 bytes), value (8 bytes), both little-endian, then the key
//
// The file has no name: it is unlinked as soon as it is open, so that nothing of it is left however the process ends.
// That is also why it has no version: who wrote it reads it.

import Glibc
import ServiceKit
import TallyCore

/// A chunk's sections. Written by one thread, then read by any number of them.
final class RunFile: Sendable {
    /// Where a partition's records are.
    struct Section: Sendable {
        var offset = 0
        var bytes = 0
    }

    static let headBytes = 10
    private static let bufferBytes = 1 << 20

    let sections: [Section]
    private let descriptor: Int32

    /// Writes a sorted chunk.
    ///
    /// - Parameters:
    ///   - starts: where each partition's entries begin, and the end, as `SortChunk.sort` returns them.
    ///   - amounts: of each partition; the chunk's lines are added.
    /// - Throws: 74.
    init(
        _ chunk: SortChunk, starts: [Int], amounts: inout [Amount], folder: String, number: Int
    ) throws(Failure) {
        let path = "\(folder)/run-\(number)"
        descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw Failure(cannot: "create", errno: errno, at: path) }
        guard unlink(path) == 0 else {
            let number = errno
            close(descriptor)
            throw Failure(cannot: "remove", errno: number, at: path)
        }
        do throws(Failure) {
            sections = try Self.write(chunk, starts, &amounts, to: descriptor, path)
        } catch {
            close(descriptor)
            throw error
        }
    }

    deinit { close(descriptor) }

    /// Reads up to `buffer.count` bytes from `offset` on; how many came.
    func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) throws(Failure) -> Int {
        var count = 0
        while count < buffer.count {
            let more = pread(descriptor, buffer.baseAddress?.advanced(by: count), buffer.count - count, offset + count)
            if more == 0 { return count }
            if more > 0 { count += more } else if errno != EINTR { throw Self.failure("read") }
        }
        return count
    }

    private static func failure(_ action: String) -> Failure {
        Failure(
            cannot: "\(action) a file of sorted lines", errno: errno,
            advice: "Free space on the disk of the data folder and run the command again.")
    }

    private static func write(
        _ chunk: SortChunk, _ starts: [Int], _ amounts: inout [Amount], to descriptor: Int32, _ path: String
    ) throws(Failure) -> [Section] {
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: bufferBytes, alignment: 8)
        defer { buffer.deallocate() }
        var used = 0
        var written = 0
        var sections: [Section] = []
        for partition in 0..<starts.count - 1 {
            var section = Section(offset: written + used)
            var index = starts[partition]
            let end = starts[partition + 1]
            while index < end {
                let entry = chunk.entries[index]
                let key = chunk.key(entry)
                var value = entry.value
                amounts[partition] += Amount(increments: 1, sum: Int128(value))
                index += 1
                while index < end, chunk.isSameKey(chunk.entries[index], entry) {
                    let (sum, overflows) = value.addingReportingOverflow(chunk.entries[index].value)
                    if overflows { break }
                    value = sum
                    amounts[partition] += Amount(increments: 1, sum: Int128(chunk.entries[index].value))
                    index += 1
                }
                if used + headBytes + key.count > bufferBytes {
                    written += try flush(buffer, used, descriptor)
                    used = 0
                }
                used += put(key, value, UnsafeMutableRawBufferPointer(rebasing: buffer[used...]))
            }
            section.bytes = written + used - section.offset
            sections.append(section)
        }
        written += try flush(buffer, used, descriptor)
        return sections
    }

    @inline(__always)
    private static func put(_ key: UnsafeRawBufferPointer, _ value: Int64, _ target: UnsafeMutableRawBufferPointer)
        -> Int
    {
        target.storeBytes(of: UInt16(truncatingIfNeeded: key.count).littleEndian, as: UInt16.self)
        target.storeBytes(of: value.littleEndian, toByteOffset: 2, as: Int64.self)
        UnsafeMutableRawBufferPointer(rebasing: target[headBytes...]).copyMemory(from: key)
        return headBytes + key.count
    }

    private static func flush(
        _ buffer: UnsafeMutableRawBufferPointer, _ count: Int, _ descriptor: Int32
    ) throws(Failure) -> Int {
        var offset = 0
        while offset < count {
            let more = Glibc.write(descriptor, buffer.baseAddress?.advanced(by: offset), count - offset)
            if more >= 0 { offset += more } else if errno != EINTR { throw failure("write") }
        }
        return count
    }
}
