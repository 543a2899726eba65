// The tables of an open shard, as the apply rules see them: one prepared statement for each of their questions.

import TallyCore

/// `ShardTables` over SQLite. Used inside one transaction at a time.
struct ShardFileTables: ShardTables {
    private let connection: SQLiteConnection
    private let meta: Meta
    private let addCounter: SQLiteStatement
    private let selectStream: SQLiteStatement
    private let replaceStream: SQLiteStatement
    private let insertRouted: SQLiteStatement
    private let insertIdempotent: SQLiteStatement
    private let insertLetter: SQLiteStatement

    init(_ connection: SQLiteConnection, _ meta: Meta) throws(StoreError) {
        self.connection = connection
        self.meta = meta
        // ?4 is the highest (for a positive delta) or lowest value that can take the delta: no row changes when the
        // sum would not fit, and nothing that overflows is ever computed.
        addCounter = try connection.prepare(
            """
            INSERT INTO counters(key, value, updated_ms) VALUES (?1, ?2, ?3)
            ON CONFLICT(key) DO UPDATE SET value = value + ?2, updated_ms = ?3
            WHERE CASE WHEN ?2 >= 0 THEN value <= ?4 ELSE value >= ?4 END
            """)
        selectStream = try connection.prepare(
            """
            SELECT watermark, through_increments, through_sum, applied_increments, applied_sum,
                repeated_increments, repeated_sum, dead_increments, dead_sum
            FROM applied WHERE epoch = ?1 AND partition = ?2 AND producer = ?3
            """)
        replaceStream = try connection.prepare(
            "INSERT OR REPLACE INTO applied VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)")
        insertRouted = try connection.prepare("INSERT OR IGNORE INTO routed VALUES (?1, ?2, ?3, ?4, ?5)")
        insertIdempotent = try connection.prepare("INSERT OR IGNORE INTO idempotency VALUES (?1, ?2, ?3)")
        insertLetter = try connection.prepare(
            "INSERT INTO dead_letter VALUES (NULL, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)")
    }

    func isRetired() throws(StoreError) -> Bool { try meta.text(.state) == "retired" }

    func record(of stream: StreamID) throws(StoreError) -> StreamRecord? {
        bind(stream, to: selectStream, at: 1)
        defer { selectStream.reset() }
        guard try selectStream.step() else { return nil }
        return StreamRecord(
            watermark: UInt64(bitPattern: selectStream.integer(0)), through: try amount(1), applied: try amount(3),
            repeated: try amount(5), dead: try amount(7))
    }

    private func amount(_ column: Int32) throws(StoreError) -> Amount {
        guard let sum = Int128(selectStream.text(column + 1)) else {
            throw .corrupt(path: connection.path, detail: "a sum of the ledger is no number")
        }
        return Amount(increments: UInt64(bitPattern: selectStream.integer(column)), sum: sum)
    }

    func setRecord(_ record: StreamRecord, of stream: StreamID) throws(StoreError) {
        bind(stream, to: replaceStream, at: 1)
        replaceStream.bind(Int64(bitPattern: record.watermark), at: 4)
        for (index, amount) in [record.through, record.applied, record.repeated, record.dead].enumerated() {
            replaceStream.bind(Int64(bitPattern: amount.increments), at: 5 + 2 * Int32(index))
            replaceStream.bind("\(amount.sum)", at: 6 + 2 * Int32(index))
        }
        try replaceStream.run()
    }

    func claimRouted(origin: BatchID, key: UnsafeRawBufferPointer) throws(StoreError) -> Bool {
        bind(origin.stream, to: insertRouted, at: 1)
        insertRouted.bind(Int64(origin.sequence), at: 4)
        insertRouted.bind(textInPlace: key, at: 5)
        try insertRouted.run()
        return connection.changes > 0
    }

    func claimIdempotent(
        _ idempotencyKey: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer, time: UInt64
    ) throws(StoreError) -> Bool {
        insertIdempotent.bind(textInPlace: idempotencyKey, at: 1)
        insertIdempotent.bind(textInPlace: key, at: 2)
        insertIdempotent.bind(Int64(clamping: time), at: 3)
        try insertIdempotent.run()
        return connection.changes > 0
    }

    func add(_ delta: Int64, to key: UnsafeRawBufferPointer, time: UInt64) throws(StoreError) -> Bool {
        addCounter.bind(textInPlace: key, at: 1)
        addCounter.bind(delta, at: 2)
        addCounter.bind(Int64(clamping: time), at: 3)
        addCounter.bind(delta >= 0 ? Int64.max - delta : Int64.min - delta, at: 4)
        try addCounter.run()
        return connection.changes > 0
    }

    func bury(_ letter: DeadLetter, time: UInt64) throws(StoreError) {
        insertLetter.bind(Int64(clamping: time), at: 1)
        insertLetter.bind(letter.reason.rawValue, at: 2)
        insertLetter.bind(letter.detail, at: 3)
        bind(letter.batch.stream, to: insertLetter, at: 4)
        insertLetter.bind(Int64(letter.batch.sequence), at: 7)
        bind(letter.idempotencyKey, at: 8)
        bind(letter.key, at: 9)
        insertLetter.bind(Int64(bitPattern: letter.amount.increments), at: 10)
        insertLetter.bind("\(letter.amount.sum)", at: 11)
        insertLetter.bind(blob: letter.payload, at: 12)
        try insertLetter.run()
    }

    private func bind(_ bytes: [UInt8]?, at index: Int32) {
        if let bytes { insertLetter.bind(text: bytes, at: index) } else { insertLetter.bindNull(at: index) }
    }

    private func bind(_ stream: StreamID, to statement: SQLiteStatement, at index: Int32) {
        statement.bind(Int64(stream.partition.epoch), at: index)
        statement.bind(Int64(stream.partition.number), at: index + 1)
        statement.bind(blob: stream.producer.bytes.array, at: index + 2)
    }
}
