// Entries that no consumer can take, and what an operator says to have one taken away: the partition, and what its
// bytes are. So nothing else goes, whatever has become of the list meanwhile.

import RedisQueue
public import ServiceKit
import TallyCore

/// One --bury.
public struct BuryChoice: Hashable, Sendable {
    let partition: PartitionID
    /// XXH64 of the bytes.
    let digest: UInt64

    init(_ partition: PartitionID, _ digest: UInt64) {
        self.partition = partition
        self.digest = digest
    }

    /// Reads `e1.p3:0123456789abcdef`.
    ///
    /// - Throws: 64.
    public init(_ text: String) throws(Failure) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let partition = PartitionID(parts[0]), parts[1].utf8.count == 16,
            let bytes = Hex.bytes(parts[1])
        else {
            throw Failure(
                .usage, "'\(text)' names no entry", at: "--bury",
                advice: "It is PARTITION:DIGEST, as `tallymill repair` prints it.")
        }
        self.init(partition, bytes.reduce(0) { $0 << 8 | UInt64($1) })
    }

    public var text: String { "\(partition):\(Hex.text(digest))" }

    /// Where its bytes are kept.
    var fileName: String { "buried-" + text.replacing(":", with: "-") }
}

/// The oldest entry of a list, if no consumer can take it.
struct StuckEntry: Hashable, Sendable, CustomStringConvertible {
    let choice: BuryChoice
    let bytes: [UInt8]
    /// Why, as a clause.
    let fault: String

    /// nil if a consumer takes it, or only a newer release can tell.
    init?(_ bytes: [UInt8], at partition: PartitionID) {
        let header = bytes.withUnsafeBytes { bytes in
            Result { () throws(BatchError) in try BatchHeader(reading: bytes) }
        }
        switch header {
        case .success(let header) where header.id.stream.partition == partition: return nil
        case .success(let header): fault = "it is batch \(header.id) of another partition"
        case .failure(.unreadable(let reason)): fault = reason
        case .failure(.newerVersion), .failure(.damaged): return nil
        }
        self.bytes = bytes
        choice = BuryChoice(partition, bytes.withUnsafeBytes { XXH64.hash($0) })
    }

    /// Of all these lists.
    static func find(_ partitions: [PartitionID], _ keys: ClusterKeys) throws(RedisError) -> [StuckEntry] {
        var found: [StuckEntry] = []
        for partition in partitions {
            if let head = try keys.head(of: partition), let stuck = StuckEntry(head, at: partition) {
                found.append(stuck)
            }
        }
        return found
    }

    var description: String {
        "epoch \(choice.partition.epoch), partition \(choice.partition.number): no consumer can take the oldest entry"
            + " of its list, of \(Humanized.count(bytes.count, "byte")): \(fault)"
    }
}
