// The table `applied` as values: watermarks and ledgers of streams, for the writer and for readers alike.

import TallyCore

/// Statements and decoding of `applied`.
enum StreamTable {
    /// In both statements below.
    static let firstValueColumn: Int32 = 1
    private static let values = """
        watermark, through_increments, through_sum, applied_increments, applied_sum,
            repeated_increments, repeated_sum, dead_increments, dead_sum
        """

    /// One stream, bound with `bind`.
    static func prepareSelect(_ connection: SQLiteConnection) throws(StoreError) -> SQLiteStatement {
        try connection.prepare(
            "SELECT producer, \(values) FROM applied WHERE epoch = ?1 AND partition = ?2 AND producer = ?3")
    }

    /// All rows: epoch, partition, producer, then the values from column 3 on.
    static func prepareWalk(_ connection: SQLiteConnection) throws(StoreError) -> SQLiteStatement {
        try connection.prepare(
            "SELECT epoch, partition, producer, \(values) FROM applied ORDER BY epoch, partition, producer")
    }

    /// Binds a stream to parameters 1 to 3.
    static func bind(_ stream: StreamID, to statement: SQLiteStatement) throws(StoreError) {
        try statement.bind(1, Int64(stream.partition.epoch))
        try statement.bind(2, Int64(stream.partition.number))
        try statement.bind(3, blob: stream.producer.bytes.array)
    }

    /// All streams of a partition.
    static func records(
        of partition: PartitionID, _ connection: SQLiteConnection
    ) throws(StoreError) -> [ProducerID: StreamRecord] {
        let select = try connection.prepare(
            "SELECT producer, \(values) FROM applied WHERE epoch = ?1 AND partition = ?2")
        try select.bind(1, Int64(partition.epoch))
        try select.bind(2, Int64(partition.number))
        var records: [ProducerID: StreamRecord] = [:]
        while try select.step() {
            guard let producer = Bytes16(select.bytes(0)) else { throw corrupt("producer", connection.path) }
            records[ProducerID(producer)] = try record(select, from: firstValueColumn, path: connection.path)
        }
        return records
    }

    /// Decodes the row that `statement` stands on.
    static func record(
        _ statement: SQLiteStatement, from column: Int32, path: String
    ) throws(StoreError) -> StreamRecord {
        guard let watermark = UInt64(exactly: statement.integer(column)) else { throw corrupt("watermark", path) }
        func amount(_ offset: Int32) throws(StoreError) -> Amount {
            guard let sum = Int128(statement.text(column + offset + 1)) else { throw corrupt("sum", path) }
            return Amount(increments: UInt64(bitPattern: statement.integer(column + offset)), sum: sum)
        }
        return StreamRecord(
            watermark: watermark, through: try amount(1), applied: try amount(3), repeated: try amount(5),
            dead: try amount(7))
    }

    /// As `record`, or nil where that fails.
    static func recordIfSound(_ statement: SQLiteStatement, from column: Int32) -> StreamRecord? {
        try? record(statement, from: column, path: "")  // the caller says what is wrong in its own words
    }

    private static func corrupt(_ what: String, _ path: String) -> StoreError {
        StoreError(.corrupt, path, "its table applied holds an impossible \(what)", StoreError.Remedy.corrupt)
    }
}
