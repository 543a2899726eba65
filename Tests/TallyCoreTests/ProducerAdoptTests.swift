// A producer that takes over what others have frozen: split by key, under the first identity, and not said to be stored
// before every part is.

import Testing

@testable import TallyCore

@Suite struct ProducerAdoptTests {
    typealias Fixture = CoreFixture

    static let left = Fixture.keys(in: 0, of: 2, count: 2)
    static let right = Fixture.keys(in: 1, of: 2, count: 2)
    static let foreign = Fixture.batchID(7, producer: 9, epoch: 3, partition: 5)

    private func batch(
        _ entries: [Fixture.Entry], origin: BatchID? = nil, id: BatchID = foreign
    ) -> [UInt8] {
        Fixture.batches(entries, id: id, after: Amount(increments: 99, sum: -99), origin: origin, frozenAt: 1)[0].bytes
    }

    /// A producer in epoch 4 of two partitions.
    private func driver() -> ProducerDriver {
        var driver = ProducerDriver(partitions: 1)
        driver.answerTopology(epoch: 4, partitions: 2)
        return driver
    }

    private func adopt(
        _ bytes: [UInt8], level: Level = .stored, by driver: inout ProducerDriver
    ) throws(BatchError) -> Ticket? {
        try driver.producer.adopt(bytes, level: level)
    }

    @Test func aBatchIsSplitByKeyUnderItsOwnIdentity() throws {
        var driver = driver()
        let bytes = batch([
            Fixture.entry(Self.left[0], 1, 3), Fixture.entry(Self.right[0], 2), Fixture.entry(Self.left[0], .max),
            Fixture.entry(Self.right[1], -4, group: "a"), Fixture.entry(Self.left[1], 8, group: "b"),
            Fixture.entry(Self.right[1], 16, group: "b"),
        ])
        let ticket = try adopt(bytes, by: &driver)
        let parts = driver.pushes()
        #expect(parts.map(\.id) == [Fixture.batchID(1, epoch: 4), Fixture.batchID(1, epoch: 4, partition: 1)])
        #expect(
            try Fixture.entries(of: parts[0].bytes) == [
                Fixture.entry(Self.left[0], 1, 3), Fixture.entry(Self.left[0], .max),
                Fixture.entry(Self.left[1], 8, group: "b"),
            ])
        #expect(
            try Fixture.entries(of: parts[1].bytes) == [
                Fixture.entry(Self.right[0], 2), Fixture.entry(Self.right[1], -4, group: "a"),
                Fixture.entry(Self.right[1], 16, group: "b"),
            ])
        for part in parts {
            let header = try Fixture.header(of: part.bytes)
            #expect(header.origin == Self.foreign && header.frozenAt == 1, "the time of its increments stays")
        }
        #expect(try Fixture.header(of: parts[0].bytes).cumulative == Amount(increments: 5, sum: Int128(Int64.max) + 9))
        driver.answer(parts, .ok(applied: 0))
        #expect(driver.acknowledged().isEmpty, "queued is not stored")
        driver.received(.heartbeat(.progress(last: 1, applied: 1)), to: driver.heartbeat(of: parts[0].id.stream))
        #expect(driver.acknowledged().isEmpty, "one part is missing")
        driver.received(.heartbeat(.progress(last: 1, applied: 1)), to: driver.heartbeat(of: parts[1].id.stream))
        #expect(driver.acknowledged().map(\.ticket) == [ticket])
        #expect(driver.producer.heldBytes == 0)
    }

    @Test func theFirstOriginStays() throws {
        var driver = driver()
        let origin = Fixture.batchID(3, producer: 8, epoch: 1, partition: 2)
        _ = try adopt(batch([Fixture.entry(Self.left[0], 1)], origin: origin), by: &driver)
        let parts = driver.pushes()
        #expect(try parts.map { try Fixture.header(of: $0.bytes).origin } == [origin])
        driver.answerTopology(epoch: 5, partitions: 3)
        #expect(try driver.pushes().map { try Fixture.header(of: $0.bytes).origin } == [origin])
    }

    /// What is adopted stands in line with what the producer has of its own, and never in one batch with it.
    @Test func adoptedAndAdmittedDoNotMix() throws {
        var driver = driver()
        let own = try driver.admit([(Self.left[0], 1)])
        let adopted = try adopt(batch([Fixture.entry(Self.left[0], 2)]), level: .queued, by: &driver)
        let first = driver.pushes()
        #expect(try first.map { try Fixture.header(of: $0.bytes).origin } == [Self.foreign])
        driver.answer(first, .ok(applied: 0))
        #expect(driver.acknowledged().map(\.ticket) == [adopted])
        let second = driver.pushes()
        #expect(try second.map { try Fixture.header(of: $0.bytes).origin } == [nil])
        driver.answer(second, .ok(applied: 0))
        #expect(driver.acknowledged().map(\.ticket) == [own])
    }

    @Test func nobodyWaitsForMemoryOrForNothing() throws {
        var driver = driver()
        #expect(try adopt(batch([Fixture.entry(Self.left[0], 2)]), level: .memory, by: &driver) == nil)
        #expect(driver.pushes().count == 1)
        var empty = BatchWriter(
            stream: Self.foreign.stream, nextSequence: 1, cumulative: .zero, chain: 0, frozenAt: 0,
            origin: nil, limitBytes: .max, sizeHint: 0)
        #expect(empty.finish().isEmpty, "no producer freezes an empty batch")
    }

    @Test func damagedBytesAreNotTakenOver() throws {
        var driver = driver()
        var bytes = batch([Fixture.entry(Self.left[0], 2), Fixture.entry(Self.right[0], 2)])
        bytes[bytes.count - 12] ^= 1
        let header = try Fixture.header(of: bytes)
        #expect(throws: BatchError.damaged(header, "its checksum is wrong")) { try adopt(bytes, by: &driver) }
        bytes[0] ^= 1
        #expect(throws: BatchError.unreadable("it does not begin with TMB")) { try adopt(bytes, by: &driver) }
        #expect(driver.producer.heldBytes == 0 && driver.pushes().isEmpty)
    }

    /// A ticket of an adopted batch survives a move: it waits for all that moved.
    @Test func aMoveTakesAdoptedBatchesAlong() throws {
        var driver = driver()
        let ticket = try adopt(batch([Fixture.entry(Self.left[0], 2), Fixture.entry(Self.right[0], 3)]), by: &driver)
        driver.answer(driver.pushes(), .ok(applied: 0))
        driver.answerTopology(epoch: 5, partitions: 1)
        let parts = driver.pushes()
        #expect(parts.map(\.id.sequence) == [1, 2] && parts.allSatisfy { $0.id.stream.partition.epoch == 5 })
        driver.answer(parts[0], .ok(applied: 1))
        #expect(driver.acknowledged().isEmpty)
        driver.answer(parts[1], .ok(applied: 2))
        #expect(driver.acknowledged().map(\.ticket) == [ticket])
    }
}
