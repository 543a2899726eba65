// The table `dead_letter` for people: read like everything else from a snapshot, and the one thing that somebody other
// than the consumer may write: rows whose amount was delivered again, or given up, are deleted.
//
// Deleting takes SQLite's own lock and not the shard's, so that the consumer goes on: two writers of one file wait for
// each other, and neither keeps anything of the file in memory between its transactions. The ledger stays right: what
// was dead remains in the records of its stream.

public import TallyCore

/// One row of the dead letters.
public struct DeadLetterRow: Hashable, Sendable {
    /// Its number in this file, never used again.
    public let row: Int64
    /// When it was set aside, in ms since 1970.
    public let timeMilliseconds: UInt64
    /// The identity of the batch that it was in.
    public let batch: BatchID
    public let reason: DeadLetter.Reason
    /// What exactly is wrong.
    public let detail: String
    public let idempotencyKey: [UInt8]?
    /// nil for a damaged batch.
    public let key: [UInt8]?
    public let amount: Amount
    /// Bytes of the whole batch if it is damaged, else 0.
    public let payloadBytes: Int
}

extension ShardReader {
    /// Dead letters in the order in which they were set aside.
    ///
    /// - Parameters:
    ///   - row: only those after this one.
    ///   - reason: only those of this reason; nil for all.
    public func deadLetters(
        after row: Int64 = 0, limit: Int, reason: DeadLetter.Reason? = nil
    ) throws(StoreError) -> [DeadLetterRow] {
        let select = try DeadLetterTable.prepareSelect(
            connection, "id > ?1 AND (?2 IS NULL OR reason = ?2) ORDER BY id LIMIT ?3")
        try select.bind(1, row)
        if let reason { try select.bind(2, reason.rawValue) } else { try select.bindNull(2) }
        try select.bind(3, Int64(limit))
        return try DeadLetterTable.rows(select, path)
    }

    /// The row of that number, nil if there is none.
    public func deadLetter(_ row: Int64) throws(StoreError) -> DeadLetterRow? {
        let select = try DeadLetterTable.prepareSelect(connection, "id = ?1")
        try select.bind(1, row)
        return try DeadLetterTable.rows(select, path).first
    }

    /// Whether something was counted, or buried, under (idempotency key, key).
    public func hasClaim(_ idempotencyKey: [UInt8], key: [UInt8]) throws(StoreError) -> Bool {
        let select = try connection.prepare("SELECT 1 FROM idempotency WHERE id = ?1 AND key = ?2")
        try select.bind(1, text: idempotencyKey)
        try select.bind(2, text: key)
        defer { select.reset() }
        if try select.step() { return true }
        if try ShardSchema.version(of: connection) < ShardSchema.versionWithClaims { return false }
        return try ClaimTable.contains(idempotencyKey, key, connection)
    }

    /// One of each set of rows that cannot be told apart: the same batch, time, key, idempotency key and amount.
    public func deadLettersWithTwins() throws(StoreError) -> [DeadLetterRow] {
        let select = try DeadLetterTable.prepareSelect(
            connection,
            """
            id IN (SELECT min(id) FROM dead_letter WHERE key IS NOT NULL
                GROUP BY epoch, partition, producer, sequence, time_ms, key, idempotency_id, increments, sum
                HAVING count(*) > 1)
            """)
        return try DeadLetterTable.rows(select, path)
    }

    /// The rows of one batch.
    public func deadLetters(of batch: BatchID) throws(StoreError) -> [DeadLetterRow] {
        let select = try DeadLetterTable.prepareSelect(
            connection, "epoch = ?1 AND partition = ?2 AND producer = ?3 AND sequence = ?4 ORDER BY id")
        try StreamTable.bind(batch.stream, to: select)
        try select.bind(4, Int64(batch.sequence))
        return try DeadLetterTable.rows(select, path)
    }

    /// The highest number of a row, 0 if there is none.
    public func newestDeadLetter() throws(StoreError) -> Int64 {
        try connection.integer("SELECT max(id) FROM dead_letter") ?? 0
    }

    /// How many there are.
    public func deadLetterCount(reason: DeadLetter.Reason? = nil) throws(StoreError) -> Int {
        let select = try connection.prepare("SELECT count(*) FROM dead_letter WHERE ?1 IS NULL OR reason = ?1")
        if let reason { try select.bind(1, reason.rawValue) } else { try select.bindNull(1) }
        guard try select.step() else { preconditionFailure("an aggregate returned no row") }
        defer { select.reset() }
        return Int(select.integer(0))
    }

    /// The whole batch of a damaged one; empty for any other row.
    public func deadLetterPayload(_ row: Int64) throws(StoreError) -> [UInt8] {
        let select = try connection.prepare("SELECT payload FROM dead_letter WHERE id = ?1")
        try select.bind(1, row)
        guard try select.step() else { return [] }
        defer { select.reset() }
        return Array(select.bytes(0))
    }
}

/// Claims that are of no more use once a dead letter is gone: those under which it was, or may have been, counted.
public struct DisposedClaims: Hashable, Sendable {
    /// The idempotency key; those that go on with a colon behind it are meant, too.
    public let id: [UInt8]
    public let key: [UInt8]

    public init(id: [UInt8], key: [UInt8]) {
        self.id = id
        self.key = key
    }
}

/// Statements on the dead letters.
public enum DeadLetterTable {
    /// Deletes rows in one transaction, while the shard's consumer may run. Rows that are gone already are no error.
    ///
    /// - Parameter claims: from now on they expire like those of clients.
    /// - Returns: how many were there.
    /// - Throws: `busy` after a minute; `mismatch` if it is another file, or a rebalance has closed it; `full`, `io`.
    public static func delete(
        _ rows: [Int64], expiring claims: [DisposedClaims] = [], at path: String, expecting expected: ShardExpectation
    ) throws(StoreError) -> Int {
        try ShardUpkeep.change(path, expected) { connection throws(StoreError) in
            if try MetaTable(connection).state() == .retired {
                throw StoreError(
                    .mismatch, path, "a rebalance has closed this file",
                    "look for the dead letters in the newest epoch")
            }
            let delete = try connection.prepare("DELETE FROM dead_letter WHERE id = ?1")
            var deleted = 0
            for row in rows {
                try delete.bind(1, row)
                try delete.run()
                deleted += connection.changes
            }
            if !claims.isEmpty { try expire(claims, connection) }
            return deleted
        }
    }

    private static func expire(
        _ claims: [DisposedClaims], _ connection: SQLiteConnection
    ) throws(StoreError) {
        let clock = try MetaTable(connection).memory().claimClock.time
        let update = try connection.prepare(
            """
            UPDATE idempotency SET seen_ms = ?1
            WHERE (id = ?2 OR id >= ?2 || ':' AND id < ?2 || ';') AND key = ?3 AND seen_ms = \(Int64.max)
            """)
        for claim in claims {
            try update.bind(1, Int64(clamping: clock))
            try update.bind(2, text: claim.id)
            try update.bind(3, text: claim.key)
            try update.run()
        }
    }

    static func prepareSelect(
        _ connection: SQLiteConnection, _ condition: String
    ) throws(StoreError) -> SQLiteStatement {
        try connection.prepare(
            """
            SELECT id, time_ms, reason, detail, epoch, partition, producer, sequence, idempotency_id IS NULL,
                idempotency_id, key IS NULL, key, increments, sum, length(payload)
            FROM dead_letter WHERE \(condition)
            """)
    }

    static func rows(_ select: SQLiteStatement, _ path: String) throws(StoreError) -> [DeadLetterRow] {
        var rows: [DeadLetterRow] = []
        while try select.step() { rows.append(try row(select, path)) }
        return rows
    }

    private static func row(_ select: SQLiteStatement, _ path: String) throws(StoreError) -> DeadLetterRow {
        func corrupt(_ what: String) -> StoreError {
            StoreError(
                .corrupt, path, "row \(select.integer(0)) of its table dead_letter has an impossible \(what)",
                StoreError.Remedy.corrupt)
        }
        guard let reason = DeadLetter.Reason(rawValue: select.text(2)) else { throw corrupt("reason") }
        guard let producer = Bytes16(select.bytes(6)) else { throw corrupt("producer") }
        guard let sum = Int128(select.text(13)) else { throw corrupt("sum") }
        let partition = PartitionID(
            epoch: UInt32(clamping: select.integer(4)), number: UInt32(clamping: select.integer(5)))
        let stream = StreamID(partition: partition, producer: ProducerID(producer))
        return DeadLetterRow(
            row: select.integer(0), timeMilliseconds: UInt64(clamping: select.integer(1)),
            batch: BatchID(stream: stream, sequence: UInt64(clamping: select.integer(7))), reason: reason,
            detail: select.text(3), idempotencyKey: select.integer(8) != 0 ? nil : Array(select.bytes(9)),
            key: select.integer(10) != 0 ? nil : Array(select.bytes(11)),
            amount: Amount(increments: UInt64(bitPattern: select.integer(12)), sum: sum),
            payloadBytes: Int(select.integer(14)))
    }
}
