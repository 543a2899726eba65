// Who waits for what: one ticket an admitted request that wants more than `memory`.
//
// A request touches some partitions; it has reached a level when its batch in each of them has. So a ticket is a
// number of partitions that are still missing at each level, and nothing else. Slots are reused; a nonce tells an old
// ticket from the slot's next one.
//
// Whoever has his answer before his level is reached leaves a ticket behind that partitions still refer to. These are
// forgotten together, when they are the most: so what tickets occupy follows from how many are waited for.

/// An admitted request whose level is awaited.
public struct Ticket: Hashable, Sendable {
    public let slot: Int32
    let nonce: UInt32
}

/// A level that a ticket's request asked for and has reached.
public struct Acknowledgement: Hashable, Sendable {
    public let ticket: Ticket
    public let level: Level
}

/// All open tickets of one producer.
struct Tickets {
    private struct Slot {
        var nonce: UInt32 = 0
        var wanted = Level.queued
        var reached = Level.memory
        var missingQueued: Int32 = 0
        var missingStored: Int32 = 0
        /// False: free, or nobody waits any more.
        var isAwaited = false
        var isOpen = false
    }

    private var slots: [Slot] = []
    private var free: [Int32] = []
    private(set) var acknowledged: [Acknowledgement] = []
    /// Tickets for which somebody waits, and for `stored`.
    private(set) var storedCount = 0
    /// Tickets for which somebody waits.
    private(set) var awaitedCount = 0
    private var openCount = 0
    /// How often partitions refer to tickets for which somebody waits.
    private var referenceCount = 0
    /// Where the nonces of new slots begin.
    private var firstNonce: UInt32 = 0

    /// A ticket that misses no partition yet.
    mutating func open(_ wanted: Level) -> Ticket {
        let index: Int32
        if let reused = free.popLast() {
            index = reused
        } else {
            index = Int32(slots.count)
            slots.append(Slot(nonce: firstNonce))
        }
        openCount += 1
        awaitedCount += 1
        let slot = Int(index)
        slots[slot].nonce &+= 1
        slots[slot].wanted = wanted
        slots[slot].reached = .memory
        slots[slot].isAwaited = true
        slots[slot].isOpen = true
        if wanted == .stored { storedCount += 1 }
        return Ticket(slot: index, nonce: slots[slot].nonce)
    }

    /// What those are reckoned with for which somebody waits. (There are never many more of the others.)
    var heldBytes: Int { awaitedCount * Limits.ticketBytes + referenceCount * Limits.ticketPartitionBytes }

    func isAwaited(_ index: Int32) -> Bool { slots[Int(index)].isAwaited }

    /// Whether those that nobody waits for are to be forgotten.
    var hasLitter: Bool { openCount - awaitedCount > max(Limits.abandonedTicketsMax, awaitedCount) }

    /// Lets go of the tickets that nobody waits for. No partition may refer to one of them any more.
    mutating func forgetAbandoned() {
        for slot in slots.indices where slots[slot].isOpen && !slots[slot].isAwaited { close(slot) }
        guard openCount == 0, acknowledged.isEmpty, slots.count > Limits.abandonedTicketsMax else { return }
        firstNonce = slots.lazy.map(\.nonce).max() ?? firstNonce
        (slots, free) = ([], [])
    }

    private mutating func close(_ slot: Int) {
        slots[slot].isOpen = false
        slots[slot].missingQueued = 0
        slots[slot].missingStored = 0
        openCount -= 1
        free.append(Int32(slot))
    }

    func wants(_ index: Int32) -> Level { slots[Int(index)].wanted }

    /// The slots that are in use.
    var openSlots: [Int32] {
        slots.indices.filter { slots[$0].isOpen }.map { Int32($0) }
    }

    /// One more partition has to be reached.
    mutating func miss(_ index: Int32) {
        slots[Int(index)].missingQueued += 1
        referenceCount += 1
        if slots[Int(index)].wanted == .stored {
            slots[Int(index)].missingStored += 1
            referenceCount += 1
        }
    }

    /// Forgets which partitions are missing; what has been reached stays reached.
    mutating func missNothing(_ index: Int32) {
        referenceCount -= Int(slots[Int(index)].missingQueued + slots[Int(index)].missingStored)
        slots[Int(index)].missingQueued = 0
        slots[Int(index)].missingStored = 0
    }

    mutating func queued(_ index: Int32) {
        let slot = Int(index)
        slots[slot].missingQueued -= 1
        if slots[slot].isAwaited { referenceCount -= 1 }
        precondition(slots[slot].missingQueued >= 0, "a ticket was queued more often than it has partitions")
        if slots[slot].missingQueued == 0 { reach(.queued, index) }
    }

    mutating func stored(_ index: Int32) {
        let slot = Int(index)
        slots[slot].missingStored -= 1
        if slots[slot].isAwaited { referenceCount -= 1 }
        precondition(slots[slot].missingStored >= 0, "a ticket was stored more often than it has partitions")
        if slots[slot].missingStored == 0 { reach(.stored, index) }
    }

    mutating func reach(_ level: Level, _ index: Int32) {
        let slot = Int(index)
        slots[slot].reached = max(slots[slot].reached, level)
        guard slots[slot].isOpen, level >= slots[slot].wanted else { return }
        if slots[slot].isAwaited {
            acknowledged.append(
                Acknowledgement(ticket: Ticket(slot: index, nonce: slots[slot].nonce), level: level))
            stopAwaiting(slot)
        }
        close(slot)
    }

    /// The level reached so far; nobody will be told about a higher one. nil: it had been acknowledged.
    mutating func abandon(_ ticket: Ticket) -> Level? {
        let slot = Int(ticket.slot)
        guard slots[slot].nonce == ticket.nonce, slots[slot].isAwaited else { return nil }
        stopAwaiting(slot)
        return slots[slot].reached
    }

    private mutating func stopAwaiting(_ slot: Int) {
        slots[slot].isAwaited = false
        awaitedCount -= 1
        referenceCount -= Int(slots[slot].missingQueued + slots[slot].missingStored)
        if slots[slot].wanted == .stored { storedCount -= 1 }
    }

    mutating func takeAcknowledged(into other: inout [Acknowledgement]) {
        swap(&acknowledged, &other)
        acknowledged.removeAll(keepingCapacity: acknowledged.capacity <= Limits.abandonedTicketsMax)
    }
}
