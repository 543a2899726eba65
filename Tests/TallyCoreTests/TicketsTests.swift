// Who waits for what: a ticket is acknowledged once, at the level that it asked for, and its slot's next owner is
// never taken for it.

import Testing

@testable import TallyCore

@Suite struct TicketsTests {
    private func acknowledged(_ tickets: inout Tickets) -> [Acknowledgement] {
        var list: [Acknowledgement] = []
        tickets.takeAcknowledged(into: &list)
        return list
    }

    @Test func everyPartitionHasToBeReached() {
        var tickets = Tickets()
        let ticket = tickets.open(.queued)
        for _ in 0..<3 { tickets.miss(ticket.slot) }
        tickets.queued(ticket.slot)
        tickets.queued(ticket.slot)
        #expect(acknowledged(&tickets).isEmpty && tickets.openSlots == [ticket.slot])
        tickets.queued(ticket.slot)
        #expect(acknowledged(&tickets) == [Acknowledgement(ticket: ticket, level: .queued)])
        #expect(acknowledged(&tickets).isEmpty && tickets.openSlots.isEmpty)
    }

    @Test func storedPassesQueued() {
        var tickets = Tickets()
        let ticket = tickets.open(.stored)
        tickets.miss(ticket.slot)
        #expect(tickets.storedCount == 1)
        tickets.queued(ticket.slot)
        #expect(acknowledged(&tickets).isEmpty)
        tickets.stored(ticket.slot)
        #expect(acknowledged(&tickets) == [Acknowledgement(ticket: ticket, level: .stored)])
        #expect(tickets.storedCount == 0)
    }

    @Test func abandonTellsTheLevelReached() {
        var tickets = Tickets()
        let first = tickets.open(.queued)
        tickets.miss(first.slot)
        #expect(tickets.abandon(first) == .memory)
        #expect(tickets.abandon(first) == nil, "only once")
        let second = tickets.open(.stored)
        tickets.miss(second.slot)
        tickets.queued(second.slot)
        #expect(tickets.abandon(second) == .queued)
        // What nobody waits for is counted down all the same, silently.
        tickets.queued(first.slot)
        tickets.stored(second.slot)
        #expect(acknowledged(&tickets).isEmpty && tickets.openSlots.isEmpty && tickets.storedCount == 0)
    }

    @Test func nobodyWaitsForStoredAfterAbandoning() {
        var tickets = Tickets()
        let ticket = tickets.open(.stored)
        tickets.miss(ticket.slot)
        #expect(tickets.abandon(ticket) == .memory)
        #expect(tickets.storedCount == 0)
        tickets.queued(ticket.slot)
        tickets.stored(ticket.slot)
        #expect(tickets.storedCount == 0)
    }

    @Test func aReusedSlotHasAnotherTicket() {
        var tickets = Tickets()
        let old = tickets.open(.queued)
        tickets.miss(old.slot)
        tickets.queued(old.slot)
        let new = tickets.open(.stored)
        #expect(new.slot == old.slot && new != old)
        tickets.miss(new.slot)
        #expect(tickets.abandon(old) == nil)
        tickets.queued(new.slot)
        tickets.stored(new.slot)
        #expect(
            acknowledged(&tickets) == [
                Acknowledgement(ticket: old, level: .queued), Acknowledgement(ticket: new, level: .stored),
            ])
    }

    @Test func forgettingWhatIsMissingKeepsWhatWasReached() {
        var tickets = Tickets()
        let ticket = tickets.open(.stored)
        tickets.miss(ticket.slot)
        tickets.queued(ticket.slot)
        tickets.missNothing(ticket.slot)
        tickets.miss(ticket.slot)
        #expect(acknowledged(&tickets).isEmpty)
        #expect(tickets.abandon(ticket) == .queued)
    }
}
