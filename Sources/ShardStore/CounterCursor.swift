// Walks over counters in byte order of their keys, one row at a time, holding nothing but that row: what a merge of
// many shards pulls from.

import TallyCore

/// A walk over the counters of one snapshot. It is not Sendable; it keeps its reader's connection open.
public final class CounterCursor {
    private let select: SQLiteStatement
    private var isOnRow = false

    init(_ connection: SQLiteConnection, _ range: KeyRange) throws(StoreError) {
        select = try connection.prepare(
            "SELECT key, value, updated_ms FROM counters WHERE \(range.condition) ORDER BY key")
        try range.bind(to: select)
    }

    /// Goes to the next counter, or the first; false after the last. It must not be called again after that.
    public func next() throws(StoreError) -> Bool {
        isOnRow = try select.step()
        return isOnRow
    }

    /// The key's bytes, valid until the next call of `next`.
    public var key: UnsafeRawBufferPointer {
        precondition(isOnRow, "the cursor is not on a counter")
        return select.bytes(0)
    }

    public var value: Int64 {
        precondition(isOnRow, "the cursor is not on a counter")
        return select.integer(1)
    }

    /// When the counter last changed, in ms since 1970.
    public var updatedMilliseconds: UInt64 {
        precondition(isOnRow, "the cursor is not on a counter")
        return UInt64(clamping: select.integer(2))
    }
}

/// Keys from a lower bound to the end of a prefix, as a condition on `key` with the parameters 1 and 2.
struct KeyRange {
    private let lowest: [UInt8]
    /// The first bytes beyond every key with the prefix; nil if there are none.
    private let end: [UInt8]?

    init(prefix: [UInt8], from lowest: [UInt8]) {
        self.lowest = lowest.lexicographicallyPrecedes(prefix) ? prefix : lowest
        end = Self.successor(of: prefix)
    }

    /// The smallest bytes that are greater than everything that begins with `prefix`.
    static func successor(of prefix: [UInt8]) -> [UInt8]? {
        guard let last = prefix.lastIndex(where: { $0 < 0xFF }) else { return nil }
        return Array(prefix[..<last]) + [prefix[last] + 1]
    }

    var condition: String { end == nil ? "key >= ?1" : "key >= ?1 AND key < ?2" }

    func bind(to statement: SQLiteStatement) throws(StoreError) {
        try statement.bind(1, text: lowest)
        if let end { try statement.bind(2, text: end) }
    }
}
