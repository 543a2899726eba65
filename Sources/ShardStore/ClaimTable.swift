// The claims of clients: under which idempotency keys which keys were counted, and when.
//
// A row holds no text. (idempotency key, key) is stood for by the first 16 bytes of its SHA-256, so that a row has 40
// bytes, whatever a client sends, and the index by age 24 more. Two pairs with one digest would have the second taken
// for a repetition: among 2^48 rows that happens by chance once in 2^33 files, and making such pairs takes some 2^64
// hashes and hurts only who made both. A rebalance needs to know where a row belongs: that takes the hash of its key,
// which stands beside the digest, and never the key.
//
// Claims of tools stay in the table `idempotency`, as text, because they are looked for by their beginnings. So do the
// claims that a release before format version 3 has written, until they expire: while there are some, both tables are
// looked at.

import CCrypto
import TallyCore

/// Statements on the claims of one connection.
final class ClaimTable {
    private let insert: SQLiteStatement
    private let selectEarlier: SQLiteStatement
    private let selectIsEarlier: SQLiteStatement
    private let selectExpired: SQLiteStatement
    private let delete: SQLiteStatement
    private let deleteEarlier: SQLiteStatement
    private let connection: SQLiteConnection
    private var digest = ClaimDigest()
    /// Whether `idempotency` has claims that expire; asked for once a transaction.
    private var isEarlierToBeAsked = true
    private var hasEarlier = false

    init(_ connection: SQLiteConnection) throws(StoreError) {
        self.connection = connection
        insert = try connection.prepare(
            "INSERT INTO claim(digest, key_hash, seen_ms) VALUES(?1, ?2, ?3) ON CONFLICT DO NOTHING")
        selectEarlier = try connection.prepare("SELECT 1 FROM idempotency WHERE id = ?1 AND key = ?2")
        selectIsEarlier = try connection.prepare(
            "SELECT EXISTS(SELECT 1 FROM idempotency WHERE seen_ms < \(Int64.max))")
        selectExpired = try connection.prepare(
            """
            SELECT max(seen_ms) FROM (
                SELECT seen_ms FROM claim WHERE seen_ms < ?1
                UNION ALL SELECT seen_ms FROM idempotency WHERE seen_ms < ?1
                ORDER BY seen_ms LIMIT ?2)
            """)
        delete = try connection.prepare(
            """
            DELETE FROM claim WHERE digest IN
                (SELECT digest FROM claim WHERE seen_ms <= ?1 ORDER BY seen_ms LIMIT ?2)
            """)
        deleteEarlier = try connection.prepare(
            """
            DELETE FROM idempotency WHERE (id, key) IN
                (SELECT id, key FROM idempotency WHERE seen_ms <= ?1 ORDER BY seen_ms LIMIT ?2)
            """)
    }

    /// A transaction begins.
    func start() { isEarlierToBeAsked = true }

    /// False if (idempotency key, key) was claimed before.
    func claim(
        _ idempotencyKey: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer, stamp: UInt64
    ) throws(StoreError) -> Bool {
        if try holdsEarlier(), try isThere(selectEarlier, idempotencyKey, key) { return false }
        digest.take(idempotencyKey, key)
        try insert.bind(1, lendingBlob: digest.bytes)
        try insert.bind(2, Int64(bitPattern: XXH64.hash(key)))
        try insert.bind(3, Int64(clamping: stamp))
        try insert.run()
        return connection.changes == 1
    }

    private func holdsEarlier() throws(StoreError) -> Bool {
        if !isEarlierToBeAsked { return hasEarlier }
        guard try selectIsEarlier.step() else { preconditionFailure("EXISTS returned no row") }
        hasEarlier = selectIsEarlier.integer(0) != 0
        selectIsEarlier.reset()
        isEarlierToBeAsked = false
        return hasEarlier
    }

    private func isThere(
        _ select: SQLiteStatement, _ idempotencyKey: UnsafeRawBufferPointer, _ key: UnsafeRawBufferPointer
    ) throws(StoreError) -> Bool {
        try select.bind(1, lendingText: idempotencyKey)
        try select.bind(2, lendingText: key)
        defer { select.reset() }
        return try select.step()
    }

    /// The newest of the `limit` oldest claims that are older than a time; nil if there are none.
    func newest(olderThan milliseconds: UInt64, limit: Int) throws(StoreError) -> UInt64? {
        try selectExpired.bind(1, Int64(clamping: milliseconds))
        try selectExpired.bind(2, Int64(limit))
        guard try selectExpired.step() else { preconditionFailure("an aggregate returned no row") }
        defer { selectExpired.reset() }
        return selectExpired.kind(0) == .null ? nil : UInt64(clamping: selectExpired.integer(0))
    }

    /// Forgets claims up to a time, oldest first and at most `limit` of them.
    ///
    /// - Returns: how many rows of `claim`, and how many of `idempotency`.
    func forget(through milliseconds: UInt64, limit: Int) throws(StoreError) -> (claims: Int, earlier: Int) {
        func run(_ delete: SQLiteStatement, limit: Int) throws(StoreError) -> Int {
            try delete.bind(1, Int64(clamping: milliseconds))
            try delete.bind(2, Int64(limit))
            try delete.run()
            return connection.changes
        }
        let earlier = try run(deleteEarlier, limit: limit)
        return (try run(delete, limit: limit - earlier), earlier)
    }

    /// Whether a client has claimed (idempotency key, key) in a file of the present format.
    static func contains(
        _ idempotencyKey: [UInt8], _ key: [UInt8], _ connection: SQLiteConnection
    ) throws(StoreError) -> Bool {
        let select = try connection.prepare("SELECT 1 FROM claim WHERE digest = ?1")
        var digest = ClaimDigest()
        idempotencyKey.withUnsafeBytes { id in key.withUnsafeBytes { digest.take(id, $0) } }
        try select.bind(1, lendingBlob: digest.bytes)
        defer { select.reset() }
        return try select.step()
    }
}

/// What stands for (idempotency key, key).
private struct ClaimDigest: ~Copyable {
    private static let byteCount = 16
    private let whole = UnsafeMutableRawBufferPointer.allocate(byteCount: 32, alignment: 8)
    private var text: [UInt8] = []

    // nonisolated(unsafe): libcrypto never changes a fetched algorithm, and any thread may use it.
    nonisolated(unsafe) private static let sha256: OpaquePointer = {
        guard let found = EVP_MD_fetch(nil, "SHA256", nil) else { preconditionFailure("libcrypto has no SHA-256") }
        return found
    }()

    deinit { whole.deallocate() }

    /// Of the pair that was taken last; valid until the next one is.
    var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: whole[..<Self.byteCount]) }

    /// The length tells where the idempotency key, of at most 128 bytes, ends.
    mutating func take(_ idempotencyKey: UnsafeRawBufferPointer, _ key: UnsafeRawBufferPointer) {
        text.removeAll(keepingCapacity: true)
        text.append(UInt8(idempotencyKey.count))
        text.append(contentsOf: idempotencyKey)
        text.append(contentsOf: key)
        let isDone = EVP_Digest(text, text.count, whole.baseAddress, nil, Self.sha256, nil)
        precondition(isDone == 1, "SHA-256 fails only without memory")
    }
}
