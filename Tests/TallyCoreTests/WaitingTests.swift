// What requests that wait for their level occupy: it is counted, bounded, and given back.

import Testing

@testable import TallyCore

@Suite struct WaitingTests {
    /// Batches as long as the consumer is down: confirmed by Redis, and in no shard.
    private func push(_ driver: inout ProducerDriver) {
        driver.answer(driver.pushes(), .ok(applied: 0))
    }

    @Test func whoHasHisAnswerIsForgotten() throws {
        var driver = ProducerDriver(partitions: 2)
        let increments = [(driver.key(0), Int64(1)), (driver.key(1), 1)]
        let awaited = try #require(try driver.admit(increments, level: .stored))
        for index in 0..<20_000 {
            let ticket = try #require(try driver.admit(increments, level: .stored))
            #expect(driver.producer.abandon(ticket) == .memory)
            if index % 1_000 == 0 { push(&driver) }
        }
        let one = Limits.ticketBytes + 4 * Limits.ticketPartitionBytes
        #expect(driver.producer.outboxBytes - driver.producer.heldBytes <= one, "as many as are waited for")
        #expect(driver.producer.tickets.openSlots.count <= Limits.abandonedTicketsMax + 2)
        let references = driver.producer.channels.map { channel in
            let waits = (0..<channel.storeWaits.count).map { channel.storeWaits[$0].tickets.count }
            return waits.reduce(channel.openTickets.count, +)
        }
        #expect(references.allSatisfy { $0 <= Limits.abandonedTicketsMax + 2 }, "\(references)")
        #expect(driver.producer.awaitedTickets == 1)
        push(&driver)
        let batch = driver.producer.channels[0].nextSequence - 1
        _ = driver.acknowledged()  // nothing is stored yet
        for partition in 0..<2 {
            driver.received(
                .heartbeat(.progress(last: batch, applied: batch)), to: driver.heartbeat(UInt32(partition)))
        }
        #expect(driver.acknowledged() == [Acknowledgement(ticket: awaited, level: .stored)])
        #expect(driver.producer.outboxBytes == 0)
    }

    @Test func whatWaitsIsBoundedWithTheOutbox() throws {
        let bound = 64 << 10
        var driver = ProducerDriver(partitions: 2) {
            $0.outboxBytes = bound
            $0.batchBytes = 1 << 10
        }
        var tickets: [Ticket] = []
        let key = driver.key(0)
        #expect(throws: Refusal.outboxFull) {
            while tickets.count < 10_000 {
                tickets.append(try #require(try driver.admit([(key, 1)], level: .stored)))
            }
        }
        #expect(tickets.count > 100 && tickets.count <= bound / Limits.ticketBytes, "\(tickets.count)")
        #expect(driver.producer.heldBytes < 1 << 10, "one key")
        #expect(driver.producer.outboxBytes <= bound + 1_024, "the last one counts when it is there")
        // Their waits run out.
        for ticket in tickets { #expect(driver.producer.abandon(ticket) != nil) }
        #expect(try driver.admit([(key, 1)], level: .stored) != nil)
        push(&driver)
        let batch = driver.producer.channels[0].nextSequence - 1
        driver.received(.heartbeat(.progress(last: batch, applied: batch)), to: driver.heartbeat(0))
        #expect(driver.producer.outboxBytes == 0)
        #expect(driver.acknowledged().count == 1)
    }

    @Test func aMoveTakesAlongWhoIsAwaited() throws {
        var driver = ProducerDriver(partitions: 2)
        let awaited = try #require(try driver.admit([(driver.key(0), 1)], level: .stored))
        for _ in 0..<100 {
            let ticket = try #require(try driver.admit([(driver.key(1), 1)], level: .stored))
            #expect(driver.producer.abandon(ticket) == .memory)
        }
        driver.answerTopology(epoch: 2, partitions: 1)
        #expect(driver.producer.tickets.openSlots == [awaited.slot])
    }

    @Test func storageOfManyIsGivenBack() {
        var tickets = Tickets()
        let all = (0..<5_000).map { _ in tickets.open(.stored) }
        for ticket in all { #expect(tickets.abandon(ticket) == .memory) }
        #expect(tickets.hasLitter)
        tickets.forgetAbandoned()
        #expect(tickets.heldBytes == 0 && tickets.hasLitter == false)
        let next = tickets.open(.stored)
        #expect(next.slot == 0 && !all.contains(next), "an old ticket is not the slot's next one")
        #expect(tickets.abandon(all[0]) == nil)
    }
}
