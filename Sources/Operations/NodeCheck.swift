// What the web nodes say of themselves, held against Redis and the shards.
//
// A node is asked after Redis, so it has frozen at least what Redis knew of it; it is asked before the shards, so they
// hold at least what it was told to be stored.

import TallyCore

enum NodeCheck {
    /// Event loops that serve another epoch.
    static func epochs(of node: NodeLedger, _ topology: Topology) -> [Finding] {
        node.producers.filter { $0.epoch != topology.epoch }.map { producer in
            .note(
                nil, node.address,
                producer.epoch == 0
                    ? "its event loop \(producer.loop) has not read a topology yet"
                    : "its event loop \(producer.loop) serves epoch \(producer.epoch), the cluster file says "
                        + "\(topology.epoch): what it holds is not part of this audit")
        }
    }

    /// For each producer with missing batches, whether a node still has it.
    static func holders(of balances: [StreamBalance], in partition: PartitionID, _ nodes: [NodeLedger]) -> [Finding] {
        balances.filter { !$0.missing.isEmpty }.map { balance in
            guard let (address, stream) = find(balance.producer, partition, nodes) else {
                return .note(
                    partition.number, "producer \(balance.producer)",
                    nodes.isEmpty
                        ? "--node asks whether a web node still holds its missing batches"
                        : "none of the nodes that were asked has this producer, so nobody holds its missing batches")
            }
            let isHeld = balance.missing.allSatisfy { $0.lowerBound > stream.stored && $0.upperBound <= stream.frozen }
            return .note(
                partition.number, "producer \(balance.producer)",
                isHeld
                    ? "the node at \(address) still holds its missing batches"
                    : "the node at \(address) has this producer and does not hold its missing batches")
        }
    }

    private static func find(
        _ producer: ProducerID, _ partition: PartitionID, _ nodes: [NodeLedger]
    ) -> (address: String, stream: ProducerLedger.Partition)? {
        for node in nodes {
            for ledger in node.producers where ledger.producer == producer && ledger.epoch == partition.epoch {
                if let stream = ledger.partitions.first(where: { $0.number == partition.number }) {
                    return (node.address, stream)
                }
            }
        }
        return nil
    }

    /// What a node was told, and is not so.
    static func contradictions(_ node: NodeLedger, _ partitions: [Audit.Partition], _ topology: Topology) -> [Finding] {
        node.producers.filter { $0.epoch == topology.epoch }.flatMap { ledger in
            ledger.partitions.compactMap { stream in
                contradiction(node, ledger.producer, stream, partitions.first { $0.number == stream.number })
            }
        }
    }

    private static func contradiction(
        _ node: NodeLedger, _ producer: ProducerID, _ stream: ProducerLedger.Partition, _ partition: Audit.Partition?
    ) -> Finding? {
        // Without a shard or keys there is nothing to compare with, and that is told elsewhere.
        guard let partition, partition.isCompared else { return nil }
        let balance = partition.streams.first { $0.producer == producer }
        let watermark = balance?.record.watermark ?? 0
        if stream.stored > watermark {
            return Finding(
                partition.number, node.address,
                "producer \(producer): the node was told that its batches through \(stream.stored) are stored, the "
                    + "shard holds them through \(watermark)",
                "The shard is an older copy, or its watermark was altered: put back the newest copy.")
        }
        if let balance, balance.pushedThrough > stream.frozen {
            return Finding(
                partition.number, node.address,
                "producer \(producer): Redis knows batches through \(balance.pushedThrough), the node made "
                    + "\(stream.frozen)",
                "Somebody altered the keys of the partition in Redis.")
        }
        return nil
    }
}

extension Audit {
    /// A producer's share in a partition, as its node says and as Redis and the shard do.
    private struct Held {
        let stream: ProducerLedger.Partition
        let balance: StreamBalance?
    }

    private func held(by node: NodeLedger) -> [Held] {
        node.producers.filter { $0.epoch == topology.epoch }.flatMap { ledger in
            ledger.partitions.map { stream in
                let partition = partitions.first { $0.number == stream.number }
                return Held(
                    stream: stream, balance: partition?.streams.first { $0.producer == ledger.producer })
            }
        }
    }

    /// What a node has taken in and Redis did not know of: not part of the residual, because it is not pushed yet.
    func unpushed(by node: NodeLedger) -> Amount {
        held(by: node).reduce(.zero) { sum, held in
            // Later batches of the stream are in the shard already: whatever the node held then is pushed now.
            if let balance = held.balance, max(balance.record.watermark, balance.pushedThrough) > held.stream.frozen {
                return sum
            }
            // How much was lost nobody knows yet: the node's own word is the best that there is.
            if let balance = held.balance, balance.unknownLostBatches > 0 { return sum + held.stream.unpushed }
            let pushed = held.balance.map { $0.pushed ?? $0.stored + $0.lost } ?? .zero
            return sum + (held.stream.admitted - pushed)
        }
    }
}
