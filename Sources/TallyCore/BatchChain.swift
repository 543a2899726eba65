// The history of a stream as one number, so that a sequence number belongs to its bytes.
//
// A producer's id lives in one process. But a process can be resumed from a snapshot of its memory, or cloned with its
// machine: then two of them use one id, and freeze different batches under one sequence number. Redis keeps the chain
// through the last sequence that it has; who sends the next one names the chain through that, and who is told that a
// batch is there already compares the chain at the last sequence with its own.
//
//   chain(0) = 0        chain(n) = XXH64 of chain(n - 1) and of the checksum of batch n, 8 bytes each, little-endian

/// Where a batch stands in the history of its stream.
public struct BatchChain: Hashable, Sendable {
    /// Through the batch before.
    public let before: UInt64
    /// Through this batch.
    public let through: UInt64

    public init(before: UInt64, through: UInt64) {
        self.before = before
        self.through = through
    }

    /// Continues a history by a batch with this checksum, its last 8 bytes.
    public init(after before: UInt64, checksum: UInt64) {
        let words = (before.littleEndian, checksum.littleEndian)
        self.init(before: before, through: withUnsafeBytes(of: words) { XXH64.hash($0) })
    }
}
