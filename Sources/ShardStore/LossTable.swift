// The table `lost`: batches that the operator has declared gone, by stream. A row of the file's own partition explains
// why its watermark was raised without counting; rows of others came with a rebalance, or tell what an earlier epoch
// lost.

public import TallyCore

/// Statements and decoding of `lost`.
enum LossTable {
    private static let columns = "epoch, partition, producer, first, last, increments, sum"

    /// All rows, oldest stream first; none in a file of format version 1.
    static func losses(_ connection: SQLiteConnection) throws(StoreError) -> [StreamLoss] {
        if try ShardSchema.version(of: connection) < ShardSchema.versionWithLosses { return [] }
        let select = try connection.prepare(
            "SELECT \(columns) FROM lost ORDER BY epoch, partition, producer, first")
        var losses: [StreamLoss] = []
        while try select.step() { losses.append(try loss(select, connection.path)) }
        return losses
    }

    static func insert(
        _ loss: StreamLoss, time: UInt64, _ connection: SQLiteConnection
    ) throws(StoreError) {
        let insert = try connection.prepare(
            "INSERT INTO lost(\(columns), time_ms) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")
        try StreamTable.bind(loss.stream, to: insert)
        try insert.bind(4, Int64(loss.sequences.lowerBound))
        try insert.bind(5, Int64(loss.sequences.upperBound))
        if let amount = loss.amount {
            try insert.bind(6, Int64(bitPattern: amount.increments))
            try insert.bind(7, "\(amount.sum)")
        } else {
            try insert.bindNull(6)
            try insert.bindNull(7)
        }
        try insert.bind(8, Int64(clamping: time))
        try insert.run()
    }

    /// Lengthens a loss by the one that follows it.
    static func extend(
        _ loss: StreamLoss, through last: UInt64, _ connection: SQLiteConnection
    ) throws(StoreError) {
        let update = try connection.prepare(
            "UPDATE lost SET last = ?5 WHERE epoch = ?1 AND partition = ?2 AND producer = ?3 AND first = ?4")
        try StreamTable.bind(loss.stream, to: update)
        try update.bind(4, Int64(loss.sequences.lowerBound))
        try update.bind(5, Int64(last))
        try update.run()
        precondition(connection.changes == 1, "a loss that was read is gone within one transaction")
    }

    /// Whether a batch was declared lost.
    static func contains(_ batch: BatchID, _ connection: SQLiteConnection) throws(StoreError) -> Bool {
        let select = try connection.prepare(
            "SELECT 1 FROM lost WHERE epoch = ?1 AND partition = ?2 AND producer = ?3 AND ?4 BETWEEN first AND last")
        try StreamTable.bind(batch.stream, to: select)
        try select.bind(4, Int64(batch.sequence))
        return try select.step()
    }

    /// Says how much the loss directly before a batch was, if nobody knows yet; false if there is none.
    static func settle(
        before batch: BatchID, _ amount: Amount, _ connection: SQLiteConnection
    ) throws(StoreError) -> Bool {
        let update = try connection.prepare(
            """
            UPDATE lost SET increments = ?4, sum = ?5
            WHERE epoch = ?1 AND partition = ?2 AND producer = ?3 AND last = ?6 AND increments IS NULL
            """)
        try StreamTable.bind(batch.stream, to: update)
        try update.bind(6, Int64(batch.sequence) - 1)
        try update.bind(4, Int64(bitPattern: amount.increments))
        try update.bind(5, "\(amount.sum)")
        try update.run()
        return connection.changes == 1
    }

    private static func loss(_ row: SQLiteStatement, _ path: String) throws(StoreError) -> StreamLoss {
        let corrupt = StoreError(
            .corrupt, path, "its table lost holds an impossible row", StoreError.Remedy.corrupt)
        guard let producer = Bytes16(row.bytes(2)), let first = UInt64(exactly: row.integer(3)),
            let last = UInt64(exactly: row.integer(4)), first >= 1, first <= last
        else { throw corrupt }
        let partition = PartitionID(
            epoch: UInt32(clamping: row.integer(0)), number: UInt32(clamping: row.integer(1)))
        var amount: Amount?
        if row.kind(5) != .null {
            guard let sum = Int128(row.text(6)) else { throw corrupt }
            amount = Amount(increments: UInt64(bitPattern: row.integer(5)), sum: sum)
        }
        return StreamLoss(
            stream: StreamID(partition: partition, producer: ProducerID(producer)), sequences: first...last,
            amount: amount)
    }
}

extension ShardReader {
    /// What the operator has declared lost, of this and of earlier epochs.
    public func losses() throws(StoreError) -> [StreamLoss] {
        try LossTable.losses(connection)
    }
}
