// What was declared lost of earlier epochs has to be in every shard, for any of them may meet what comes again of it.
// It is written into one after the other: killed in between, or with a shard that is not here, some lack it. What one
// of them knows is final, so the next repair writes it into the others without asking, and a change of epoch unites
// what they say (LossUnion).

import ServiceKit
import ShardConsumer
import ShardStore
import TallyCore

/// Which shards of the current epoch lack what others know to be lost.
struct LossSpread {
    struct Shard {
        let location: ShardLocation
        let lacking: [StreamLoss]

        var partition: PartitionID { location.partition }
        var batches: UInt64 { lacking.reduce(0) { $0 + $1.batches } }
    }

    /// Those that lack something.
    let shards: [Shard]
    /// Partitions whose shard is not here, or cannot be read.
    let absent: [UInt32]

    /// - Parameter accepted: losses of earlier epochs that perhaps no shard knows yet.
    init(_ topology: Topology, in folder: DataFolder, accepting accepted: [StreamLoss] = []) {
        var absent: [UInt32] = []
        var found: [(location: ShardLocation, losses: [StreamLoss])] = []
        for partition in topology.partitionIDs {
            let location = folder.shard(partition.number, of: topology)
            // What is wrong with a shard that cannot be read `verify` says.
            if let losses = try? ShardReader(at: location.path, expecting: location.expected).losses() {
                found.append((location, losses.filter { $0.stream.partition.epoch < topology.epoch }))
            } else {
                absent.append(partition.number)
            }
        }
        let known = Self.united(accepted + found.flatMap(\.losses))
        shards = found.compactMap { shard in
            let lacking = Self.lacking(of: known, in: shard.losses)
            return lacking.isEmpty ? nil : Shard(location: shard.location, lacking: lacking)
        }
        self.absent = absent
    }

    /// Each batch once, if possible with what is known of it, in an order that does not depend on the shards.
    private static func united(_ losses: [StreamLoss]) -> [StreamLoss] {
        let sorted = losses.sorted { one, other in
            if (one.amount == nil) != (other.amount == nil) { return one.amount != nil }
            return one.sequences.lowerBound < other.sequences.lowerBound
        }
        return sorted.reduce(into: []) { united, loss in united += lacking(of: [loss], in: united) }
    }

    private static func lacking(of known: [StreamLoss], in losses: [StreamLoss]) -> [StreamLoss] {
        known.flatMap { loss in
            let own = losses.filter { $0.stream == loss.stream }.map(\.sequences)
            return loss.sequences.outside(own).map { part in
                StreamLoss(stream: loss.stream, sequences: part, amount: part == loss.sequences ? loss.amount : nil)
            }
        }
    }
}

extension LossSpread.Shard {
    /// What is wrong, as the end of a sentence.
    var sentence: String {
        "its shard does not know of \(Humanized.batches(batches)) of earlier epochs that were declared lost"
    }

    /// For `verify`.
    var finding: Finding {
        Finding(
            partition.number, location.path, sentence,
            "What comes again of them would be counted here: `tallymill repair` writes it into the shard.")
    }
}
