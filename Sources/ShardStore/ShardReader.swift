// Reading a shard while its consumer writes, or after it has gone: one read-only connection, one consistent snapshot.
//
// Reports, exports and checks use this. A reader never blocks the writer, and needs no right to write: the writer
// leaves the write-ahead log in place when it closes.

import Glibc
import TallyCore

/// A snapshot of one shard. Owned by one thread.
public final class ShardReader {
    public let path: String
    public let identity: ShardIdentity
    private let connection: SQLiteConnection
    private let meta: Meta

    /// One counter.
    public struct Counter: Hashable, Sendable {
        public let key: [UInt8]
        public let value: Int64

        public init(key: [UInt8], value: Int64) {
            self.key = key
            self.value = value
        }
    }

    /// Counters and their sum.
    public struct Totals: Hashable, Sendable {
        public var keys: UInt64
        public var total: Int128

        public init(keys: UInt64, total: Int128) {
            self.keys = keys
            self.total = total
        }
    }

    /// - Throws: `missing`, `corrupt`, `mismatch` if it is no shard of this release, `denied`, `io`.
    public init(_ path: String) throws(StoreError) {
        guard access(path, F_OK) == 0 else { throw .missing(path: path) }
        guard access(path, R_OK) == 0 else { throw .denied(path: path) }
        self.path = path
        connection = try SQLiteConnection(path, .read)
        // The snapshot begins with the first read, which is that of the identity.
        try connection.execute("BEGIN")
        identity = try ShardIdentity(connection)
        meta = try Meta(connection)
    }

    /// Milliseconds since 1970 of the last commit, nil if there was none.
    public func lastCommitMilliseconds() throws(StoreError) -> UInt64? {
        try meta.optionalText(.lastCommitAt).flatMap { UInt64($0) }
    }

    /// Counts and adds up all counters whose keys begin with `prefix`, by reading all of them.
    public func totals(prefix: [UInt8] = []) throws(StoreError) -> Totals {
        // sum() refuses to leave Int64, so both halves are summed apart; `>>` keeps the sign.
        let statement = try select("count(*), coalesce(sum(value >> 32), 0), coalesce(sum(value & 4294967295), 0)", prefix)
        guard try statement.step() else { return Totals(keys: 0, total: 0) }
        return Totals(
            keys: UInt64(statement.integer(0)), total: Int128(statement.integer(1)) << 32 + Int128(statement.integer(2)))
    }

    /// The counter of a key, or nil.
    public func counter(_ key: [UInt8]) throws(StoreError) -> Counter? {
        let statement = try connection.prepare("SELECT value FROM counters WHERE key = ?1")
        statement.bind(text: key, at: 1)
        return try statement.step() ? Counter(key: key, value: statement.integer(0)) : nil
    }

    /// The `count` largest counters, by value and then in byte order of their keys.
    public func largest(_ count: Int, prefix: [UInt8] = []) throws(StoreError) -> [Counter] {
        let statement = try select("key, value", prefix, "ORDER BY value DESC, key LIMIT \(count)")
        var counters: [Counter] = []
        while try statement.step() {
            counters.append(Counter(key: statement.bytes(0), value: statement.integer(1)))
        }
        return counters
    }

    /// All counters whose keys begin with `prefix`, in byte order of their keys.
    public func cursor(prefix: [UInt8] = []) throws(StoreError) -> Cursor {
        Cursor(try select("key, value", prefix, "ORDER BY key"))
    }

    /// Counters in byte order of their keys, one after the other.
    public final class Cursor {
        private let statement: SQLiteStatement

        init(_ statement: SQLiteStatement) {
            self.statement = statement
        }

        /// The next counter, nil at the end.
        public func next() throws(StoreError) -> Counter? {
            guard try statement.step() else { return nil }
            return Counter(key: statement.bytes(0), value: statement.integer(1))
        }
    }

    /// Dead letters: how many there are, and what they hold.
    public func deadLetters() throws(StoreError) -> Int {
        let statement = try connection.prepare("SELECT count(*) FROM dead_letter")
        return try statement.step() ? Int(statement.integer(0)) : 0
    }

    /// Bytes as they sort are compared with bounds, so a prefix costs a range of the tree and not a scan.
    private func select(
        _ columns: String, _ prefix: [UInt8], _ rest: String = ""
    ) throws(StoreError) -> SQLiteStatement {
        if prefix.isEmpty { return try connection.prepare("SELECT \(columns) FROM counters \(rest)") }
        var end = prefix
        // No byte of UTF-8 is 0xFF: the successor of the last byte exists.
        end[end.count - 1] += 1
        let statement = try connection.prepare("SELECT \(columns) FROM counters WHERE key >= ?1 AND key < ?2 \(rest)")
        statement.bind(text: prefix, at: 1)
        statement.bind(text: end, at: 2)
        return statement
    }
}
