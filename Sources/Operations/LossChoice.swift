// What an operator accepts to be lost, as --accept-loss says it.

public import ServiceKit
public import TallyCore

/// One --accept-loss.
public enum LossChoice: Hashable, Sendable {
    /// Whatever is missing.
    case all
    /// These batches of a producer in a partition; without one, in the only partition where they are missing.
    case batches(PartitionID?, ProducerID, ClosedRange<UInt64>)

    /// Reads `all`, `PARTITION/PRODUCER:FIRST-LAST` or `PARTITION/PRODUCER:SEQUENCE`; as earlier releases printed it,
    /// the partition may be left out.
    ///
    /// - Throws: 64.
    public init(_ text: String) throws(Failure) {
        if text == "all" {
            self = .all
            return
        }
        let halves = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        let partition = halves.count == 2 ? PartitionID(halves[0]) : nil
        let parts = (halves.last ?? "").split(separator: ":", omittingEmptySubsequences: false)
        let ends = parts.last?.split(separator: "-", omittingEmptySubsequences: false).map { UInt64($0) } ?? []
        guard partition != nil || halves.count == 1, parts.count == 2, let producer = Bytes16(parts[0]),
            (1...2).contains(ends.count), let first = ends[0], let last = ends[ends.count - 1], first >= 1,
            first <= last, last <= Limits.sequenceMax
        else {
            throw Failure(
                .usage, "'\(text)' names no batches", at: "--accept-loss",
                advice: "It is PARTITION/PRODUCER:FIRST-LAST, as `tallymill verify` prints it, or all.")
        }
        self = .batches(partition, ProducerID(producer), first...last)
    }

    func names(_ missing: MissingBatches) -> Bool {
        switch self {
        case .all: true
        case .batches(_, _, let sequences): isAbout(missing.stream) && missing.sequences == sequences
        }
    }

    /// Whether a loss that was accepted before, together with others perhaps, holds what is named.
    func names(_ loss: StreamLoss) -> Bool {
        switch self {
        case .all: true
        case .batches(_, _, let sequences): isAbout(loss.stream) && loss.covers(sequences)
        }
    }

    private func isAbout(_ stream: StreamID) -> Bool {
        switch self {
        case .all: true
        case .batches(let partition, let producer, _):
            stream.producer == producer && (partition ?? stream.partition) == stream.partition
        }
    }

    var text: String {
        switch self {
        case .all: "all"
        case .batches(let partition?, let producer, let sequences):
            StreamID(partition: partition, producer: producer).name(of: sequences)
        case .batches(nil, let producer, let sequences):
            "\(producer):\(sequences.lowerBound)-\(sequences.upperBound)"
        }
    }
}
