// What the operator has declared lost of one stream (`repair --accept-loss`, `restore --accept-loss`), as the ledger
// needs it. How much a loss was is told by the next batch of the stream, for all losses before it together.

import TallyCore

/// The accepted losses of one stream.
struct StreamLosses: Hashable, Sendable {
    static let none = StreamLosses()

    private(set) var ranges: [ClosedRange<UInt64>] = []
    private(set) var batches: UInt64 = 0
    /// As far as it is known.
    private(set) var amount = Amount.zero
    /// The last of them, of which no batch has told yet how much they held.
    private(set) var unknownBatches: UInt64 = 0

    /// In the order of their sequences.
    mutating func add(_ loss: StreamLoss) {
        ranges.append(loss.sequences)
        batches += loss.batches
        if let known = loss.amount {
            amount += known
            unknownBatches = 0
        } else {
            unknownBatches += loss.batches
        }
    }

    /// Whether one range explains all of these.
    func covers(_ sequences: ClosedRange<UInt64>) -> Bool {
        ranges.contains { $0.lowerBound <= sequences.lowerBound && $0.upperBound >= sequences.upperBound }
    }
}

extension StreamLoss {
    func covers(_ other: ClosedRange<UInt64>) -> Bool {
        sequences.lowerBound <= other.lowerBound && sequences.upperBound >= other.upperBound
    }
}

extension [StreamLoss] {
    /// By stream; the losses of each come in their order.
    var byStream: [StreamID: StreamLosses] {
        reduce(into: [:]) { $0[$1.stream, default: .none].add($1) }
    }

    /// Those of one partition.
    func byProducer(of partition: PartitionID) -> [ProducerID: StreamLosses] {
        reduce(into: [:]) { losses, loss in
            if loss.stream.partition == partition { losses[loss.stream.producer, default: .none].add(loss) }
        }
    }
}
