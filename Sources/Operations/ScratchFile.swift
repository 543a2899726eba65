// Room on disk for what does not fit in memory while shards are built. The file has no name: it goes with the process,
// however that ends. Blocks are written once, by any thread, and read by any thread afterwards.

import Glibc
import ServiceKit
import Synchronization

/// An unnamed file of blocks.
final class ScratchFile: Sendable {
    /// Where a block lies.
    struct Block: Hashable, Sendable {
        let offset: Int
        let count: Int
    }

    private let folder: String
    private let descriptor: Int32
    private let end = Atomic<Int>(0)

    /// - Parameter folder: decides on which disk it is.
    /// - Throws: exit code 74.
    init(in folder: String) throws(Failure) {
        self.folder = folder
        let path = "\(folder)/scratch"
        descriptor = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
        if descriptor < 0 { throw Failure(cannot: "make a scratch file", errno: errno, at: folder) }
        // From here on only the descriptor knows it.
        if unlink(path) != 0 {
            let number = errno
            close(descriptor)
            throw Failure(cannot: "remove the name of a scratch file", errno: number, at: folder)
        }
    }

    deinit { close(descriptor) }

    /// Bytes written so far.
    var bytes: Int { end.load(ordering: .relaxed) }

    func append(_ bytes: UnsafeRawBufferPointer) throws(Failure) -> Block {
        let start = end.wrappingAdd(bytes.count, ordering: .relaxed).oldValue
        var done = 0
        while done < bytes.count {
            let rest = UnsafeRawBufferPointer(rebasing: bytes[done...])
            let count = pwrite(descriptor, rest.baseAddress, rest.count, start + done)
            if count > 0 {
                done += count
            } else if errno != EINTR {
                throw Failure(
                    cannot: "write a scratch file", errno: errno, at: folder,
                    advice: "Free space on its disk, then resume.")
            }
        }
        return Block(offset: start, count: bytes.count)
    }

    func read(_ block: Block, into target: UnsafeMutableRawPointer) throws(Failure) {
        var done = 0
        while done < block.count {
            let count = pread(descriptor, target + done, block.count - done, block.offset + done)
            if count > 0 {
                done += count
            } else if count == 0 {
                throw Failure(.ioError, "a scratch file ends before what was written to it", at: folder)
            } else if errno != EINTR {
                throw Failure(cannot: "read a scratch file", errno: errno, at: folder)
            }
        }
    }
}
