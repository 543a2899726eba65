// Entries that stop a consumer: named, and taken away on an operator's word, with their bytes kept and nothing else
// changed.

import Glibc
import Operations
import RedisQueue
import ServiceKit
import TestSupport
import Testing

@testable import TallyCore

@Suite(.serialized) struct BuryTests {
    private let first = PartitionID(epoch: 1, number: 0)

    private func repair(_ cluster: TestCluster, _ named: [String] = []) throws(Failure) -> (
        plan: [String], unmended: [String], done: [String]
    ) {
        var options = Repair.Options()
        options.patience = .short
        options.buried = try named.map { text throws(Failure) in try BuryChoice(text) }
        let repair = try Repair(cluster.folder, cluster.access, options)
        let (plan, unmended) = (repair.plan, repair.unmended)
        var done: [String] = []
        try repair.run { done.append($0) }
        return (plan, unmended, done)
    }

    private func option(_ entry: [UInt8], in partition: PartitionID) -> String {
        let digits = String(entry.withUnsafeBytes { XXH64.hash($0) }, radix: 16)
        return "\(partition):" + String(repeating: "0", count: 16 - digits.count) + digits
    }

    @Test func whatIsNoBatchIsNamedKeptAndTakenAway() throws {
        let cluster = try TestCluster()
        let other = batch([("b", 1)], producer: 2, of: PartitionID(epoch: 1, number: 1))
        let good = batch([(key("a", in: 0, of: 2), 5)], producer: 1, of: first)
        let garbage = Array("garbage that is longer than a batch's header".utf8) + other
        let entries: [[UInt8]] = [[1, 2, 3], garbage, other]
        for entry in entries + [good] { try cluster.append(entry, to: first) }
        for (index, entry) in entries.enumerated() {
            // Named, and nothing done about it.
            let left = #expect(throws: Failure.self) { try repair(cluster) }
            #expect(left?.code == .partial)
            #expect(left?.advice?.contains("`tallymill repair --bury \(option(entry, in: first))`") == true)
            #expect(try cluster.group(first).queue == Array(entries[index...]) + [good])
            let wrong = #expect(throws: Failure.self) { try repair(cluster, [option([9], in: first)]) }
            #expect(wrong?.code == .usage)
            do {
                _ = try repair(cluster, [option(entry, in: first)])
            } catch {
                // The next one.
                #expect(error.code == .partial && index < entries.count - 1)
            }
            let kept = "\(cluster.folder.path)/buried-" + option(entry, in: first).replacing(":", with: "-")
            #expect(try FileContent.readIfPresent(kept, maximumBytes: 1 << 20) == entry)
            #expect(try cluster.group(first).queue == Array(entries[(index + 1)...]) + [good])
            // Said once more, after a crash, it changes nothing.
            if index == entries.count - 1 { #expect(try repair(cluster, [option(entry, in: first)]).done == []) }
        }
        #expect(try cluster.group(first).meta["bytes"] == "\(good.count)")
        try cluster.startConsumers()
        #expect(try waitUntil { try cluster.counters() == [key("a", in: 0, of: 2): 5] })
        cluster.stopConsumers()
    }

    /// An entry that was a batch before: what is missing of its stream, and the entry, in one answer.
    @Test func anEntryThatWasABatchIsNamedWithWhatIsMissing() throws {
        let cluster = try TestCluster()
        let good = batch([(key("a", in: 0, of: 2), 5)], producer: 1, of: first)
        let producer = try good.withUnsafeBytes { try BatchHeader(reading: $0) }.id.stream.producer
        let damaged = Array(good.reversed())
        try cluster.append(damaged, to: first)
        var pushed = RedisCommand("HSET", cluster.access.names.group(of: first).seqs)
        pushed.append(producer.bytes.array)
        pushed.append("1")
        _ = try cluster.server.connect().command(pushed)  // a new field
        let left = #expect(throws: Failure.self) { try repair(cluster) }
        #expect(left?.code == .partial)
        #expect(left?.advice?.contains("--bury \(option(damaged, in: first))") == true)
        #expect(left?.advice?.contains("--accept-loss") == true, "\(left?.report ?? "nothing")")
        #expect(left?.advice?.contains("What lies there may be nowhere else: then leave its keys") == true)
    }

    /// What a consumer takes, and what a newer release may have written, stays.
    @Test func batchesStay() throws {
        let cluster = try TestCluster()
        let good = batch([(key("a", in: 0, of: 2), 5)], producer: 1, of: first)
        var newer = good
        newer[3] = 2
        for entry in [good, newer] {
            try cluster.append(entry, to: first)
            let refused = #expect(throws: Failure.self) { try repair(cluster, [option(entry, in: first)]) }
            #expect(refused?.code == .usage)
            #expect(try cluster.group(first).queue == [entry])
            try cluster.redis("DEL", cluster.access.names.group(of: first).queue)
        }
    }

    @Test(arguments: ["", "3", "3:0123456789abcdef", "e1.p0:", "e1.p0:0123456789abcde", "e1.p0:0123456789abcdeg"])
    func whatNamesNoEntry(text: String) {
        let failure = #expect(throws: Failure.self) { try BuryChoice(text) }
        #expect(failure?.code == .usage)
    }
}

/// A batch that is whole, and whose date no clock shows: a look at its age is no end of whoever looks.
@Suite struct ForgedDateTests {
    @Test func datesFarAhead() throws {
        let cluster = try TestCluster()
        let partition = PartitionID(epoch: 1, number: 0)
        let stream = StreamID(partition: partition, producer: ProducerID(Bytes16(high: 1, low: 2)))
        var writer = BatchWriter(
            stream: stream, nextSequence: 1, cumulative: .zero, frozenAt: .max, origin: nil, limitBytes: .max,
            sizeHint: 64)
        Array("a".utf8).withUnsafeBytes { writer.append(key: $0, increments: 1, sum: 1) }
        try cluster.append(writer.finish()[0].bytes, to: partition)
        let looks = try BacklogProbe(cluster.access).look(at: [partition])
        #expect(looks[0].oldestSeconds == 0)
        #expect(try Status(cluster.folder, cluster.access).partitions[0].oldestSeconds == 0)
    }
}
