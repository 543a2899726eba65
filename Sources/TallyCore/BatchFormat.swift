// The bytes of a batch, version 1. Integers are little-endian.
//
//   offset size
//        0    3  "TMB"
//        3    1  format version
//        4   16  producer                                  } at fixed offsets in every version:
//       20    8  sequence                                  } the trim function compares these 24 bytes
//       28    4  epoch
//       32    4  partition
//       36    4  length of the whole batch in bytes
//       40    8  when its first increment was admitted, ms since 1970 by Redis' clock
//       48    8  cumulative increments                     } of this producer for this partition,
//       56   16  cumulative sum, 128 bits, wrapping        } up to and including this batch
//       72    4  entries
//       76    4  groups
//       80   16  origin: producer                          } the identity under which these increments were
//       96    8  origin: sequence, 0 if there is none      } frozen first; all zero if that is this batch
//      104    4  origin: epoch                             } itself
//      108    4  origin: partition                         }
//      112    8  XXH64 of bytes 0..<112
//      120       entries, then groups
//    n - 8    8  XXH64 of bytes 0..<n - 8
//
//   entry   varint key length, key, varint increments, zigzag varint sum
//   group   1 byte length of the idempotency key, the key, 4 bytes number of entries, entries
//
// Two checksums, because the two halves fail differently: without a readable producer and sequence a consumer has to
// stop; with them, a damaged rest can be set aside as a dead letter and the watermark goes on.

/// Offsets and sizes of format version 1.
public enum BatchFormat {
    public static let version: UInt8 = 1
    static let magic: [UInt8] = Array("TMB".utf8)
    /// Where producer and sequence lie, in every version: what `trim` compares.
    public static let identityRange = 4..<28
    static let lengthOffset = 36
    static let headerChecksumOffset = 112
    static let headerBytes = 120
    static let checksumBytes = 8
    /// Most bytes of an entry beside its key: 2 of length, 10 of increments, 10 of sum.
    static let entryOverheadMax = 22
    /// Least bytes of an entry: a length, a key of one byte, increments and a sum.
    static let entryBytesMin = 4
    /// Most bytes of a group beside its entries.
    static let groupOverheadMax = 1 + Limits.idempotencyKeyBytesMax + 4
    /// Bytes of a batch without entries.
    public static let emptyBatchBytes = headerBytes + checksumBytes
}

/// What the first 120 bytes of a batch say.
public struct BatchHeader: Hashable, Sendable {
    public let id: BatchID
    /// When the first increment of the batch was admitted, in milliseconds since 1970 by Redis' clock. It stays when
    /// the batch is re-routed.
    public let frozenAt: UInt64
    /// What the producer put into this partition, up to and including this batch.
    public let cumulative: Amount
    public let entries: UInt32
    public let groups: UInt32
    public let origin: BatchID?

    public init(
        id: BatchID, frozenAt: UInt64, cumulative: Amount, entries: UInt32, groups: UInt32, origin: BatchID?
    ) {
        self.id = id
        self.frozenAt = frozenAt
        self.cumulative = cumulative
        self.entries = entries
        self.groups = groups
        self.origin = origin
    }

    /// Appends the header of a batch of `length` bytes, checksum included.
    func append(to bytes: inout [UInt8], length: Int) {
        let start = bytes.count
        bytes.append(contentsOf: BatchFormat.magic)
        bytes.append(BatchFormat.version)
        bytes.append(contentsOf: id.identityBytes)
        bytes.append(littleEndian: id.stream.partition.epoch)
        bytes.append(littleEndian: id.stream.partition.number)
        bytes.append(littleEndian: UInt32(length))
        bytes.append(littleEndian: frozenAt)
        bytes.append(littleEndian: cumulative.increments)
        bytes.append(littleEndian: cumulative.sum)
        bytes.append(littleEndian: entries)
        bytes.append(littleEndian: groups)
        bytes.append(contentsOf: origin?.stream.producer.bytes.array ?? Array(repeating: 0, count: Bytes16.count))
        bytes.append(littleEndian: origin?.sequence ?? 0)
        bytes.append(littleEndian: origin?.stream.partition.epoch ?? 0)
        bytes.append(littleEndian: origin?.stream.partition.number ?? 0)
        let checksum = bytes.withUnsafeBytes { XXH64.hash(UnsafeRawBufferPointer(rebasing: $0[start...])) }
        bytes.append(littleEndian: checksum)
        assert(bytes.count - start == BatchFormat.headerBytes)
    }
}

extension BatchID {
    /// The 24 bytes that a batch carries at `BatchFormat.identityRange`.
    public var identityBytes: [UInt8] {
        var bytes = stream.producer.bytes.array
        bytes.append(littleEndian: sequence)
        return bytes
    }
}

/// A frozen batch: its identity and its bytes, which never change.
public struct Batch: Hashable, Sendable {
    public let id: BatchID
    public let bytes: [UInt8]
    /// Where it stands in the history of its stream.
    public let chain: BatchChain
}
