// How an audit reads: totals by partition, every stream that does not balance (all of them on request), findings, and
// one line for the whole. In JSON everything.

import ServiceKit
import ShardStore
import TallyCore

extension Audit {
    // MARK: For people

    /// - Parameter all: every stream, not only those that do not balance.
    public func text(all: Bool) -> String {
        let listed = findings.errors + findings.notes
        return partitionTable + streamTable(all: all) + listed.map(\.text).joined() + lossText + nodesText + movedText
            + summary
            + "\n"
    }

    private var partitionTable: String {
        var table = TextTable(
            [.right("PARTITION"), .right("STREAMS")] + Self.amountColumns + [.right("COUNTERS"), .right("TOTAL")])
        for partition in partitions {
            let totals = partition.totals.map { ["\($0.keys)", "\($0.sum)"] } ?? ["-", "-"]
            table.add(
                ["\(partition.number)", "\(partition.streams.count)"] + Self.cells(partition.sums) + totals)
        }
        return table.text
    }

    private static let amountColumns: [TextTable.Column] = [
        .right("PUSHED"), .right("APPLIED"), .right("REPEATED"), .right("DEAD"), .right("LOST"), .right("QUEUED"),
        .right("RESIDUAL"),
    ]

    /// Numbers of increments.
    private static func cells(_ sums: StreamSums) -> [String] {
        [sums.pushed, sums.applied, sums.repeated, sums.dead].map { "\($0.increments)" }
            + [
                lost(sums), "\(sums.queued.increments)",
                residual(sums.residual, sums.missingBatches, isKnown: sums.unknown == 0),
            ]
    }

    /// As far as it is known; batches of which it is not are added as such.
    private static func lost(_ sums: StreamSums) -> String {
        let increments = "\(sums.lost.increments)"
        if sums.unknownLostBatches == 0 { return increments }
        let unknown = batches(sums.unknownLostBatches)
        return sums.lost.increments == 0 ? unknown : "\(increments) + \(unknown)"
    }

    private var lossText: String {
        partitions.flatMap { partition in
            partition.streams.filter { $0.losses.batches > 0 }.map { stream in
                let known = stream.losses.batches - stream.unknownLostBatches
                let amount = known > 0 ? "\(stream.lost.text)" : ""
                let unknown =
                    stream.unknownLostBatches > 0
                    ? "how much \(known > 0 ? "the last \(Self.batches(stream.unknownLostBatches))" : "they") held is "
                        + "not known yet" : ""
                return "lost \(Self.batches(stream.losses.batches)), partition \(partition.number), producer "
                    + "\(stream.producer), \(StreamBalance.numbers(stream.losses.ranges)): "
                    + [amount, unknown].filter { !$0.isEmpty }.joined(separator: "; ") + "\n"
            }
        }.joined()
    }

    /// How much is missing, as far as that is known.
    private static func residual(_ amount: Amount, _ batches: UInt64, isKnown: Bool) -> String {
        if !isKnown { return Self.batches(batches) }
        let increments = Int64(bitPattern: amount.increments)
        return amount.increments == 0 && amount.sum != 0 ? "0 (sum \(amount.sum))" : "\(increments)"
    }

    private static func batches(_ count: UInt64) -> String { count == 1 ? "1 batch" : "\(count) batches" }

    private func streamTable(all: Bool) -> String {
        var table = TextTable(
            [.right("PARTITION"), .left("PRODUCER"), .right("SEQS"), .right("WATERMARK")] + Self.amountColumns)
        var rows = 0
        for partition in partitions {
            for stream in partition.streams where all || !stream.isBalanced {
                rows += 1
                table.add(
                    [
                        "\(partition.number)", "\(stream.producer)", "\(stream.pushedThrough)",
                        "\(stream.record.watermark)",
                    ] + Self.cells(StreamSums.of([stream])))
            }
        }
        return rows == 0 ? "" : "\n" + table.text + "\n"
    }

    private var nodesText: String {
        nodes.map { node in
            "node \(node.address): \(unpushed(by: node).text) are not pushed yet\n"
        }.joined()
    }

    private var movedText: String {
        if movedStreams == 0 { return "" }
        let streams = movedStreams == 1 ? "1 stream" : "\(movedStreams) streams"
        return "exact to the batches under way: the shards had more of \(streams) than Redis had shown before\n"
    }

    /// One line.
    public var summary: String {
        let sums = StreamSums.of(partitions.flatMap(\.streams))
        let start = partitions.reduce(Int128(0)) { sum, partition in
            sum + (partition.start.map { $0.carried.sum + $0.imported.sum } ?? 0)
        }
        let counters = partitions.reduce(Int128(0)) { $0 + ($1.totals?.sum ?? 0) }
        let pushed =
            "pushed \(count(sums.pushed)) = applied \(count(sums.applied)) + repeated \(count(sums.repeated))"
            + " + dead \(count(sums.dead)) + lost \(count(sums.lost)) + queued \(count(sums.queued))"
        let lost =
            sums.unknownLostBatches > 0 ? ", lost \(Self.batches(sums.unknownLostBatches)) of unknown size" : ""
        let missing = sums.missingBatches > 0 ? ", \(Self.batches(sums.missingBatches)) missing" : ""
        let errors = findings.errors.count
        let found = errors == 0 ? "" : errors == 1 ? ", 1 finding" : ", \(errors) findings"
        let residual = Self.residual(sums.residual, sums.missingBatches, isKnown: sums.unknown == 0)
        return "\(pushed), residual \(residual)\(missing)\(lost); total \(counters) = applied \(sums.applied.sum)"
            + " + carried over and imported \(start)\(found)"
    }

    private func count(_ amount: Amount) -> String { Humanized.count(amount.increments) }

    // MARK: For programs

    public var json: String {
        let rows = partitions.map { json($0) }.joined(separator: ",")
        let nodes = nodes.map { node in
            #"{"address":\#(JSONText.quote(node.address)),"unpushed":\#(Self.json(unpushed(by: node)))}"#
        }.joined(separator: ",")
        return #"{"cluster":"\#(topology.cluster)","epoch":\#(topology.epoch),"balanced":\#(isBalanced),"#
            + #""residual":\#(Self.json(residual)),"missing_batches":\#(missingBatches),"#
            + #""lost":\#(Self.json(lost)),"lost_batches":\#(lostBatches),"#
            + #""moved_streams":\#(movedStreams),"partitions":[\#(rows)],"nodes":[\#(nodes)],"#
            + #""findings":[\#(findings.map(\.json).joined(separator: ","))]}"#
    }

    private func json(_ partition: Partition) -> String {
        let start = partition.start.map {
            #","carried":\#(Self.json($0.carried)),"imported":\#(Self.json($0.imported))"#
        }
        let totals = partition.totals.map { #","keys":\#($0.keys),\#(JSONText.total($0.sum))"# }
        let streams = partition.streams.map { Self.json($0) }.joined(separator: ",")
        return #"{"partition":\#(partition.number)\#(start ?? "")\#(totals ?? ""),"streams":[\#(streams)]}"#
    }

    private static func json(_ stream: StreamBalance) -> String {
        let missing = ranges(stream.missing)
        return #"{"producer":"\#(stream.producer)","seqs":\#(stream.pushedThrough),"#
            + #""watermark":\#(stream.record.watermark),"pushed":\#(json(stream.pushed)),"#
            + #""applied":\#(json(stream.record.applied)),"repeated":\#(json(stream.record.repeated)),"#
            + #""dead":\#(json(stream.record.dead)),"lost":\#(json(stream.lost)),"#
            + #""lost_ranges":[\#(ranges(stream.losses.ranges))],"lost_batches":\#(stream.losses.batches),"#
            + #""lost_batches_unknown":\#(stream.unknownLostBatches),"queued":\#(json(stream.queued)),"#
            + #""queued_batches":\#(stream.queuedBatches),"missing":[\#(missing)],"#
            + #""residual":\#(json(stream.residual))}"#
    }

    private static func ranges(_ ranges: [ClosedRange<UInt64>]) -> String {
        ranges.map { "[\($0.lowerBound),\($0.upperBound)]" }.joined(separator: ",")
    }

    private static func json(_ amount: Amount?) -> String {
        guard let amount else { return "null" }
        return #"{"increments":\#(Int64(bitPattern: amount.increments)),"sum":\#(amount.sum)}"#
    }
}

extension Audit {
    /// Once each, though every shard has them.
    static func earlierLosses(
        _ partitions: [Partition], _ topology: Topology, _ folder: DataFolder
    ) -> [Finding] {
        var seen = Set<StreamLoss>()
        return partitions.flatMap(\.earlierLosses).filter { seen.insert($0).inserted }.map { loss in
            let place = loss.stream.partition
            return .note(
                nil, folder.epochPath(topology.epoch),
                "of epoch \(place.epoch), partition \(place.number), \(Humanized.batches(loss.batches)) of producer "
                    + "\(loss.stream.producer), \(StreamBalance.numbers([loss.sequences])), "
                    + (loss.batches == 1 ? "was" : "were") + " declared lost"
                    + (loss.amount.map { ": \($0.text)" } ?? ""))
        }
    }
}
