// The names of all keys. Those of one partition share a hash tag, so that one function call touches one slot.
//
//   <namespace>:topology           string, the JSON text of TallyCore's Topology
//   <namespace>:noted              hash, owner (cluster, a slash, number of partitions) -> the newest epoch with so
//                                  many that a node has seen, decimal, if it had to tell: another one is published
//   <namespace>:{e3.p5}:queue      list, encoded batches, oldest first
//   <namespace>:{e3.p5}:seqs       hash, producer (16 raw bytes, as in a batch) -> last sequence, decimal, a
//                                  blank, and 8 bytes of chain through it (BatchChain.swift)
//   <namespace>:{e3.p5}:applied    hash, producer (16 raw bytes) -> watermark, decimal; streams of earlier epochs that
//                                  somebody has asked for: producer, epoch, partition (24 raw bytes, little-endian)
//   <namespace>:{e3.p5}:meta       hash, see FunctionLibrary.swift

public import TallyCore

/// A prefix that keeps several clusters apart in one Redis: 1...64 of `A-Z a-z 0-9 . _ -`.
public struct KeyNames: Hashable, Sendable {
    public static let namespaceBytesMax = 64
    public let namespace: String

    /// The error is a sentence for the operator.
    public init(namespace: String) throws(NamespaceError) {
        let isAllowed: (UInt8) -> Bool = { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
                true
            default: false
            }
        }
        guard (1...Self.namespaceBytesMax).contains(namespace.utf8.count), namespace.utf8.allSatisfy(isAllowed) else {
            throw NamespaceError(namespace: namespace)
        }
        self.namespace = namespace
    }

    public var topology: String { "\(namespace):topology" }
    public var noted: String { "\(namespace):noted" }

    public func group(of partition: PartitionID) -> KeyGroup {
        let prefix = "\(namespace):{\(partition)}:"
        return KeyGroup(
            queue: prefix + "queue", seqs: prefix + "seqs", applied: prefix + "applied", meta: prefix + "meta")
    }
}

/// The four keys of one partition.
public struct KeyGroup: Hashable, Sendable {
    public let queue: String
    public let seqs: String
    public let applied: String
    public let meta: String

    /// In the order in which the functions expect them.
    public var all: [String] { [queue, seqs, applied, meta] }
}

/// A namespace that cannot be used.
public struct NamespaceError: Error, Hashable, Sendable, CustomStringConvertible {
    public let namespace: String

    public var description: String {
        "the namespace \"\(namespace)\" is not 1 to \(KeyNames.namespaceBytesMax) characters of A-Z a-z 0-9 . _ -"
    }
}
