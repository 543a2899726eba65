// What an operator accepts to be lost, as --accept-loss says it.

public import ServiceKit
public import TallyCore

/// One --accept-loss.
public enum LossChoice: Hashable, Sendable {
    /// Whatever is missing.
    case all
    /// These batches of a producer, in whichever partition they are missing.
    case batches(ProducerID, ClosedRange<UInt64>)

    /// Reads `all`, `PRODUCER:FIRST-LAST` or `PRODUCER:SEQUENCE`.
    ///
    /// - Throws: 64.
    public init(_ text: String) throws(Failure) {
        if text == "all" {
            self = .all
            return
        }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        let ends = parts.last?.split(separator: "-", omittingEmptySubsequences: false).map { UInt64($0) } ?? []
        guard parts.count == 2, let producer = Bytes16(parts[0]), (1...2).contains(ends.count),
            let first = ends[0], let last = ends[ends.count - 1], first >= 1, first <= last,
            last <= Limits.sequenceMax
        else {
            throw Failure(
                .usage, "'\(text)' names no batches", at: "--accept-loss",
                advice: "It is PRODUCER:FIRST-LAST, as `tallymill verify` prints it, or all.")
        }
        self = .batches(ProducerID(producer), first...last)
    }

    func names(_ missing: MissingBatches) -> Bool {
        switch self {
        case .all: true
        case .batches(let producer, let sequences):
            missing.stream.producer == producer && missing.sequences == sequences
        }
    }

    /// Whether a loss that was accepted before, together with others perhaps, holds what is named.
    func names(_ loss: StreamLoss) -> Bool {
        switch self {
        case .all: true
        case .batches(let producer, let sequences): loss.stream.producer == producer && loss.covers(sequences)
        }
    }

    var text: String {
        switch self {
        case .all: "all"
        case .batches(let producer, let sequences): "\(producer):\(sequences.lowerBound)-\(sequences.upperBound)"
        }
    }
}
