// What the shards of one epoch say was lost, made one. Losses of earlier epochs are written into one shard after the
// other, so a kill in between, or a shard that was not here, leaves shards that say different things. What any of them
// says is true: it was accepted, and accepted is final. How much a loss was is known where some shard knows it.

import TallyCore

/// The rows of the table `lost` of several shards, by stream. There are few of them.
public struct LossUnion {
    /// The first columns of a row.
    private struct Stream: Hashable {
        let columns: [CarriedRow.Value]
    }

    private struct Loss {
        let sequences: ClosedRange<Int64>
        /// Increments and sum, as they are in the row; null if nobody knows.
        let amount: [CarriedRow.Value]
        let time: Int64

        var isKnown: Bool { amount[0] != .null }
    }

    private var streams: [Stream] = []
    private var losses: [Stream: [Loss]] = [:]
    private let path: String

    /// - Parameter path: the file that they go to, for messages.
    public init(for path: String) {
        self.path = path
    }

    /// - Throws: `corrupt` for a row that is no loss, or tells another amount for batches that another row tells of.
    public mutating func add(_ row: CarriedRow) throws(StoreError) {
        precondition(row.table == .losses, "a row of another table")
        guard case .integer(let first) = row.values[3], case .integer(let last) = row.values[4],
            case .integer(let time) = row.values[7], first <= last
        else {
            throw StoreError(.corrupt, path, "an old shard has a loss that is none", StoreError.Remedy.corrupt)
        }
        let stream = Stream(columns: Array(row.values[..<3]))
        let loss = Loss(sequences: first...last, amount: Array(row.values[5..<7]), time: time)
        let others = losses[stream] ?? []
        if others.isEmpty { streams.append(stream) }
        let contradicts =
            loss.isKnown
            && others.contains { other in
                other.isKnown && other.sequences.overlaps(loss.sequences)
                    && (other.sequences != loss.sequences || other.amount != loss.amount)
            }
        if contradicts {
            throw StoreError(
                .corrupt, path, "two shards of an earlier epoch disagree about how much was lost",
                "check them: one of them is damaged or was replaced")
        }
        losses[stream] = others + [loss]
    }

    /// Each batch once: rows that do not overlap, those of a stream in their order.
    public var rows: [CarriedRow] {
        streams.flatMap { stream in
            Self.united(losses[stream] ?? []).map { loss in
                let ends: [CarriedRow.Value] = [
                    .integer(loss.sequences.lowerBound), .integer(loss.sequences.upperBound),
                ]
                return CarriedRow(.losses, stream.columns + ends + loss.amount + [.integer(loss.time)])
            }
        }
    }

    /// What is known stays as it is, and what is not known lies around it. Of the same batches the earlier time counts.
    private static func united(_ losses: [Loss]) -> [Loss] {
        var united: [Loss] = []
        for loss in losses.sorted(by: precedes) {
            for part in loss.sequences.outside(united.map(\.sequences)) {
                united.append(Loss(sequences: part, amount: loss.amount, time: loss.time))
            }
        }
        return united.sorted { $0.sequences.lowerBound < $1.sequences.lowerBound }
    }

    private static func precedes(_ one: Loss, _ other: Loss) -> Bool {
        one.isKnown == other.isKnown ? one.time < other.time : one.isKnown
    }
}
