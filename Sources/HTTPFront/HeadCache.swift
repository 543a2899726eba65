// Heads that were read before. Clients send the same head again and again, byte for byte but for the length; comparing
// is ten times cheaper than reading.
//
// What a head means depends on its bytes alone, so the same bytes mean the same: nothing is looked at less strictly. A
// kept head ends with the empty line, so whatever begins with its bytes has exactly this head. Heads with an
// idempotency key come once, and queries are often keys: those are not kept. Nor are heads with an Authorization: how
// long it takes to compare a guess with a kept token would tell how much of it is right.

import Glibc

/// The last heads of one event loop.
struct HeadCache {
    private struct Entry {
        var bytes: [UInt8] = []
        var head = RequestHead()
        /// Spared once when a place is needed.
        var wasUsed = false
    }

    private static let entriesMax = 16
    private static let headBytesMax = 512
    private var entries: [Entry] = []
    private var nextPlace = 0
    /// Where the last hit was: the next one is likely there, too.
    private var lastHit = 0

    /// The head with which `bytes` begin, if it is known.
    mutating func find(_ bytes: UnsafeRawBufferPointer) -> RequestHead? {
        if lastHit < entries.count, matches(lastHit, bytes) {
            entries[lastHit].wasUsed = true
            return entries[lastHit].head
        }
        for index in entries.indices where matches(index, bytes) {
            lastHit = index
            entries[index].wasUsed = true
            return entries[index].head
        }
        return nil
    }

    private func matches(_ index: Int, _ bytes: UnsafeRawBufferPointer) -> Bool {
        let known = entries[index].bytes
        guard bytes.count >= known.count, let base = bytes.baseAddress else { return false }
        return memcmp(base, known, known.count) == 0
    }

    /// Keeps a head that is complete and in order; `bytes` begin with it.
    mutating func keep(_ head: RequestHead, _ bytes: UnsafeRawBufferPointer) {
        if head.hasIdempotencyKey || head.hasQuery || head.hasAuthorization { return }
        if head.bodyStart > Self.headBytesMax { return }
        let place = freePlace()
        entries[place].bytes.removeAll(keepingCapacity: true)
        entries[place].bytes.append(contentsOf: bytes[..<head.bodyStart])
        entries[place].head = head
        entries[place].wasUsed = false
    }

    private mutating func freePlace() -> Int {
        if entries.count < Self.entriesMax {
            entries.append(Entry())
            return entries.count - 1
        }
        while true {
            nextPlace = (nextPlace + 1) % Self.entriesMax
            if !entries[nextPlace].wasUsed { return nextPlace }
            entries[nextPlace].wasUsed = false
        }
    }
}
