// Heads that were read before. Clients send the same head again and again, byte for byte but for the length; comparing
// is ten times cheaper than reading.
//
// What a head means depends on its bytes alone, so the same bytes mean the same: nothing is looked at less strictly. A
// kept head ends with the empty line, so whatever begins with its bytes has exactly this head. Heads with an
// idempotency key come once, and queries are often keys: those are not kept.
//
// Credentials are left out: a head is kept without those of its Authorization, and fits every head that differs in them
// alone, has as many bytes of them, and no byte among them that a field value may not have. So no token is kept here,
// and none compared, whose time would tell a guesser how far he is; clients with tokens of their own share a head.

import Glibc

/// The last heads of one event loop.
struct HeadCache {
    private struct Entry {
        /// With zeros in place of credentials.
        var bytes: [UInt8] = []
        /// Where the credentials stand; empty without any.
        var gap: Range<Int> = 0..<0
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
        let gap = entries[index].gap
        if gap.isEmpty { return memcmp(base, known, known.count) == 0 }
        return known.withUnsafeBytes { known in
            guard let start = known.baseAddress else { return false }
            return memcmp(base, start, gap.lowerBound) == 0
                && memcmp(base + gap.upperBound, start + gap.upperBound, known.count - gap.upperBound) == 0
                && HeadCache.areCredentials(UnsafeRawBufferPointer(rebasing: bytes[gap]))
        }
    }

    /// Whether the bytes would be read as the whole value of a field: they hold no end of a line, and no white space at
    /// either end that would not belong to it.
    private static func areCredentials(_ bytes: UnsafeRawBufferPointer) -> Bool {
        for byte in bytes where !ASCII.isFieldValue(byte) { return false }
        return bytes.first.map { $0 > ASCII.space } == true && bytes.last.map { $0 > ASCII.space } == true
    }

    /// Keeps a head that is complete and in order; `bytes` begin with it.
    mutating func keep(_ head: RequestHead, _ bytes: UnsafeRawBufferPointer) {
        if head.bodyStart > Self.headBytesMax || head.hasIdempotencyKey || head.hasQuery { return }
        let place = freePlace()
        let gap = Int(head.authorization.start)..<Int(head.authorization.end)
        entries[place].bytes.removeAll(keepingCapacity: true)
        entries[place].bytes.append(contentsOf: bytes[..<head.bodyStart])
        for index in gap { entries[place].bytes[index] = 0 }
        entries[place].gap = gap
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
