// Writing to whoever reads on: a pipe, a terminal, a plain file. A reader who takes nothing any more, such as a pager
// that somebody has left open, is waited for, but not for ever: what is being written from, a snapshot of a shard, is
// not let go meanwhile, and costs disk at every commit.

import Glibc

/// Writes all bytes, or says why not.
public enum PatientWrite {
    public enum Ending: Hashable, Sendable {
        case done
        /// With the errno.
        case failed(Int32)
        /// Nothing was taken for as long as was allowed.
        case stalled
    }

    /// How long nobody may take anything of what is written from a snapshot, unless said otherwise.
    public static let snapshotSeconds = 60

    /// What a pipe takes without blocking once it can be written to at all (pipe(7)).
    private static let pieceBytes = 4_096

    /// - Parameter stallSeconds: how long nobody may take anything; nil for ever. While some is taken now and then, all
    ///   of it may take any time.
    public static func all(
        _ bytes: UnsafeRawBufferPointer, to descriptor: Int32, stallSeconds: Int?
    ) -> Ending {
        let isPlain = isPlain(descriptor)
        var offset = 0
        while offset < bytes.count {
            if !isPlain {
                switch SystemCall.waitWritable(descriptor, timeoutMilliseconds: stallSeconds.map { $0 * 1_000 }) {
                case .done(true): break
                case .done(false): return .stalled
                case .failed(let number): return .failed(number)
                }
            }
            let rest = UnsafeRawBufferPointer(rebasing: bytes[offset...].prefix(isPlain ? bytes.count : pieceBytes))
            switch SystemCall.retrying({ Glibc.write(descriptor, rest.baseAddress, rest.count) }) {
            case .done(let count): offset += count
            // Somebody else has made it non-blocking.
            case .failed(EAGAIN): continue
            case .failed(let number): return .failed(number)
            }
        }
        return .done
    }

    private static func isPlain(_ descriptor: Int32) -> Bool {
        var status = stat()
        return fstat(descriptor, &status) == 0 && status.st_mode & S_IFMT == S_IFREG
    }

    /// What to say of an output that was given up.
    public static func sentence(stallSeconds: Int) -> String {
        "nobody took anything of it for \(stallSeconds) s, so it was given up: shards' logs grow while they are read"
    }

    public static let advice = "Write to a file and read that, or wait for longer with --patience SECONDS."
}
