// What the tests of this room share: identities that can be told apart at a glance, and short
// ways to make increments and batches. Nothing here decides anything that a test is about.

import Testing

@testable import TallyCore

enum CoreFixture {
    static let cluster = ClusterID(Bytes16(high: 0xC1, low: 0xC1))

    static func producer(_ number: UInt64) -> ProducerID { ProducerID(Bytes16(high: 0xAA, low: number)) }

    static func partition(_ epoch: UInt32, _ number: UInt32) -> PartitionID {
        PartitionID(epoch: epoch, number: number)
    }

    static func stream(_ producer: UInt64 = 1, epoch: UInt32 = 1, partition: UInt32 = 0) -> StreamID {
        StreamID(partition: self.partition(epoch, partition), producer: self.producer(producer))
    }

    static func batchID(
        _ sequence: UInt64, producer: UInt64 = 1, epoch: UInt32 = 1, partition: UInt32 = 0
    ) -> BatchID {
        BatchID(stream: stream(producer, epoch: epoch, partition: partition), sequence: sequence)
    }

    /// One written entry.
    struct Entry: Hashable {
        var group: String?
        var key: String
        var increments: UInt64 = 1
        var sum: Int64
    }

    static func entry(_ key: String, _ sum: Int64, _ increments: UInt64 = 1, group: String? = nil) -> Entry {
        Entry(group: group, key: key, increments: increments, sum: sum)
    }

    /// Writes `entries` in order; a change of `group` begins a group.
    static func write(_ entries: [Entry], to writer: inout BatchWriter) {
        var group: String?
        for entry in entries {
            if let name = entry.group, name != group { writer.beginGroup(Array(name.utf8)) }
            group = entry.group
            Array(entry.key.utf8).withUnsafeBytes {
                writer.append(key: $0, increments: entry.increments, sum: entry.sum)
            }
        }
    }

    /// Batches of `id.stream` from `id.sequence` on.
    static func batches(
        _ entries: [Entry], id: BatchID = batchID(1), after cumulative: Amount = .zero, chain: UInt64 = 0,
        origin: BatchID? = nil, limitBytes: Int = .max, frozenAt: UInt64 = 0
    ) -> [Batch] {
        var writer = BatchWriter(
            stream: id.stream, nextSequence: id.sequence, cumulative: cumulative, chain: chain,
            frozenAt: frozenAt, origin: origin, limitBytes: limitBytes, sizeHint: 64)
        write(entries, to: &writer)
        return writer.finish()
    }

    /// The entries of an encoded batch, as text.
    static func entries(of bytes: [UInt8]) throws -> [Entry] {
        var entries: [Entry] = []
        try bytes.withUnsafeBytes { buffer in
            try BatchReader(buffer).forEach { entry in
                entries.append(
                    Entry(
                        group: entry.idempotencyKey.map { String(decoding: $0, as: UTF8.self) },
                        key: String(decoding: entry.key, as: UTF8.self), increments: entry.increments,
                        sum: entry.sum))
            }
        }
        return entries
    }

    static func header(of bytes: [UInt8]) throws -> BatchHeader {
        try bytes.withUnsafeBytes { try BatchHeader(reading: $0) }
    }

    /// What reading the whole batch fails with, nil if it does not.
    static func error(of bytes: [UInt8]) -> BatchError? {
        bytes.withUnsafeBytes { buffer in
            do throws(BatchError) {
                _ = try BatchReader(buffer)  // only whether it reads
                return nil
            } catch {
                return error
            }
        }
    }

    static func increments(_ list: [(String, Int64)]) -> IncrementBuffer {
        var buffer = IncrementBuffer()
        for (key, delta) in list {
            let error = Array(key.utf8).withUnsafeBytes { buffer.append(key: $0, delta: delta) }
            precondition(error == nil, "a fixture has a bad key")
        }
        return buffer
    }

    /// The first `count` keys "k0", "k1", ... that belong to `partition` of `partitions`.
    static func keys(in partition: Int, of partitions: Int, count: Int = 1) -> [String] {
        let partitioner = Partitioner(partitions: partitions)
        let all = (0...).lazy.map { "k\($0)" }
        return Array(
            all.filter { partitioner.partition(ofHash: XXH64.hash(Array($0.utf8))) == partition }.prefix(count))
    }
}
