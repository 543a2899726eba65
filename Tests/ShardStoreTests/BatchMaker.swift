// Batches as a producer would freeze them, one call each.

import ShardStore

@testable import TallyCore

/// A key's name, increments and sum.
struct TestEntry {
    let key: [UInt8]
    var increments: UInt64 = 1
    let sum: Int64

    init(_ key: String, _ sum: Int64, increments: UInt64 = 1) {
        self.key = Array(key.utf8)
        self.sum = sum
        self.increments = increments
    }
}

/// One stream's batches, in sequence.
struct BatchMaker {
    let stream: StreamID
    private(set) var sequence: UInt64 = 0
    private(set) var cumulative = Amount.zero
    /// When the increments of the next batches were sent.
    var frozenAt: UInt64 = 7

    init(_ producer: UInt64, partition: PartitionID = ShardIdentity.sample.partition) {
        stream = StreamID(partition: partition, producer: Self.producer(producer))
    }

    static func producer(_ number: UInt64) -> ProducerID {
        ProducerID(Bytes16(high: 0xF00D, low: number))
    }

    /// The identity of the batch that was made last.
    var id: BatchID { BatchID(stream: stream, sequence: sequence) }

    mutating func make(
        _ entries: [TestEntry], groups: [(id: String, entries: [TestEntry])] = [], origin: BatchID? = nil
    ) -> [UInt8] {
        var writer = BatchWriter(
            stream: stream, nextSequence: sequence + 1, cumulative: cumulative, frozenAt: frozenAt, origin: origin,
            limitBytes: .max, sizeHint: 1 << 10)
        for entry in entries { append(entry, to: &writer) }
        for group in groups {
            writer.beginGroup(Array(group.id.utf8))
            for entry in group.entries { append(entry, to: &writer) }
        }
        let batches = writer.finish()
        precondition(batches.count == 1)
        sequence += 1
        cumulative = writer.cumulative
        return batches[0].bytes
    }

    private func append(_ entry: TestEntry, to writer: inout BatchWriter) {
        entry.key.withUnsafeBytes { writer.append(key: $0, increments: entry.increments, sum: entry.sum) }
    }
}

extension ApplyOutcome {
    var applied: Applied? {
        if case .commit(let applied) = self { applied } else { nil }
    }
}

/// The first byte behind a batch's header: damage here leaves its identity readable.
let bodyOffset = BatchFormat.headerBytes

/// Batches as `shard-probe apply` reads them.
func framed(_ batches: [[UInt8]]) -> [UInt8] {
    batches.flatMap { batch in
        (0..<8).map { UInt8(truncatingIfNeeded: batch.count >> ($0 * 8)) } + batch
    }
}
