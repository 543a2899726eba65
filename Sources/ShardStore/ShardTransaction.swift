// The tables of one shard file as the apply rules want them: every access one prepared statement.
//
// The counter statement never computes a sum that could overflow: the caller's delta fits exactly if the old value
// lies between two bounds that are bound with it, and if it does not, no row changes.

import TallyCore

/// `ShardTables` over prepared statements; lives as long as its connection and is used inside transactions.
struct ShardTransaction: ShardTables {
    typealias Failure = StoreError

    private let connection: SQLiteConnection
    private let meta: MetaTable
    private let add: SQLiteStatement
    private let selectRecord: SQLiteStatement
    private let replaceRecord: SQLiteStatement
    private let insertRouted: SQLiteStatement
    private let insertIdempotent: SQLiteStatement
    private let releaseIdempotent: SQLiteStatement
    /// nil in a closed file of an earlier format.
    private let claims: ClaimTable?
    private let insertDeadLetter: SQLiteStatement
    private let updateMeta: SQLiteStatement
    private let replaceMeta: SQLiteStatement
    /// Raised by the counter statement when the key is in the table already.
    private let knownKeys: UnsafeMutablePointer<Int>
    /// Counters that this transaction created.
    private var newKeys = 0
    /// What claims are dated with.
    var claimClock: ClaimClock
    /// Whether this transaction has claimed an idempotency key.
    private(set) var hasClaimed = false
    /// Claims of clients that it has made.
    private(set) var newClaims = 0
    /// What tools may have changed since the last transaction; read when this one needs it.
    private var memory: ShardMemory?

    init(_ connection: SQLiteConnection) throws(StoreError) {
        self.connection = connection
        meta = try MetaTable(connection)
        claimClock = try meta.memory().claimClock
        knownKeys = try connection.defineCounter(named: "tallymill_known_key")
        add = try connection.prepare(
            """
            INSERT INTO counters(key, value, updated_ms) VALUES(?1, ?2, ?3)
            ON CONFLICT(key) DO UPDATE SET value = value + ?2, updated_ms = ?3
            WHERE value BETWEEN ?4 AND ?5 AND tallymill_known_key()
            """)
        selectRecord = try StreamTable.prepareSelect(connection)
        replaceRecord = try connection.prepare(
            "INSERT OR REPLACE INTO applied VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)")
        insertRouted = try connection.prepare("INSERT INTO routed VALUES(?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING")
        insertIdempotent = try connection.prepare(
            "INSERT INTO idempotency(id, key, seen_ms) VALUES(?1, ?2, ?3) ON CONFLICT DO NOTHING")
        releaseIdempotent = try connection.prepare("DELETE FROM idempotency WHERE id = ?1 AND key = ?2")
        claims =
            try ShardSchema.version(of: connection) < ShardSchema.versionWithClaims ? nil : ClaimTable(connection)
        insertDeadLetter = try connection.prepare(
            """
            INSERT INTO dead_letter(time_ms, reason, detail, epoch, partition, producer, sequence, idempotency_id, key,
                increments, sum, payload)
            VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)
            """)
        updateMeta = try connection.prepare("UPDATE meta SET value = ?2 WHERE name = ?1")
        replaceMeta = try connection.prepare("INSERT OR REPLACE INTO meta(name, value) VALUES(?1, ?2)")
    }

    /// Forgets what an earlier transaction counted.
    mutating func start() {
        newKeys = 0
        hasClaimed = false
        newClaims = 0
        claims?.start()
        memory = nil
    }

    /// Brings the running figures up to date, before the commit of a transaction that added `applied`.
    func finish(_ applied: Amount, time: UInt64) throws(StoreError) {
        let keys: Int = try meta.number(.keys)
        let sum: Int128 = try meta.number(.sum)
        try set(.keys, "\(keys + newKeys)")
        try set(.sum, "\(sum &+ applied.sum)")
        try set(.lastCommitMilliseconds, "\(time)")
        if newClaims > 0 { try addClaims(newClaims) }
    }

    func retire() throws(StoreError) {
        try set(.state, ShardState.retired.rawValue)
    }

    /// The newest of the `limit` oldest claims that are older than a time; nil if there are none, or the file is of an
    /// earlier format and closed.
    func newestClaim(olderThan milliseconds: UInt64, limit: Int) throws(StoreError) -> UInt64? {
        try claims?.newest(olderThan: milliseconds, limit: limit)
    }

    func forgetClaims(through milliseconds: UInt64, limit: Int) throws(StoreError) -> Int {
        let (forgotten, earlier) = try writableClaims.forget(through: milliseconds, limit: limit)
        if forgotten > 0 { try addClaims(-forgotten) }
        return forgotten + earlier
    }

    private var writableClaims: ClaimTable {
        guard let claims else { preconditionFailure("a file that is written is of the present format") }
        return claims
    }

    private func addClaims(_ count: Int) throws(StoreError) {
        try put(.claims, "\((try meta.numberIfThere(.claims, as: Int.self) ?? 0) + count)")
    }

    func isRetired() throws(StoreError) -> Bool {
        try meta.state() == .retired
    }

    func record(of stream: StreamID) throws(StoreError) -> StreamRecord? {
        try StreamTable.bind(stream, to: selectRecord)
        guard try selectRecord.step() else { return nil }
        defer { selectRecord.reset() }
        return try StreamTable.record(selectRecord, from: StreamTable.firstValueColumn, path: connection.path)
    }

    func setRecord(_ record: StreamRecord, of stream: StreamID) throws(StoreError) {
        try StreamTable.bind(stream, to: replaceRecord)
        try replaceRecord.bind(4, Int64(record.watermark))
        var index: Int32 = 5
        for amount in [record.through, record.applied, record.repeated, record.dead] {
            try replaceRecord.bind(index, Int64(bitPattern: amount.increments))
            try replaceRecord.bind(index + 1, "\(amount.sum)")
            index += 2
        }
        try replaceRecord.run()
    }

    func claimRouted(origin: BatchID, key: UnsafeRawBufferPointer) throws(StoreError) -> Bool {
        try StreamTable.bind(origin.stream, to: insertRouted)
        try insertRouted.bind(4, Int64(origin.sequence))
        try insertRouted.bind(5, lendingText: key)
        try insertRouted.run()
        return connection.changes == 1
    }

    mutating func claimIdempotent(
        _ idempotencyKey: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer, sent: UInt64
    ) throws(StoreError) -> IdempotentClaim {
        let tool = ToolClaim(idempotencyKey)
        if case .imported(let id) = tool, try remembered().imports.contains(id) { return .repeated }
        if !hasClaimed { try catchUp() }
        hasClaimed = true
        if tool != nil { return try claimForTool(idempotencyKey, key) ? .new : .repeated }
        if try !writableClaims.claim(idempotencyKey, key: key, stamp: claimClock.stamp) { return .repeated }
        newClaims += 1
        return claimClock.isTooLate(sent: sent) ? .tooLate : .new
    }

    /// Tools' claims do not expire.
    private func claimForTool(
        _ idempotencyKey: UnsafeRawBufferPointer, _ key: UnsafeRawBufferPointer
    ) throws(StoreError) -> Bool {
        try insertIdempotent.bind(1, lendingText: idempotencyKey)
        try insertIdempotent.bind(2, lendingText: key)
        try insertIdempotent.bind(3, Int64.max)
        try insertIdempotent.run()
        return connection.changes == 1
    }

    func releaseClaim(_ idempotencyKey: UnsafeRawBufferPointer, key: UnsafeRawBufferPointer) throws(StoreError) {
        try releaseIdempotent.bind(1, lendingText: idempotencyKey)
        try releaseIdempotent.bind(2, lendingText: key)
        try releaseIdempotent.run()
    }

    /// Another process may have gone on with the file and forgotten claims meanwhile.
    private mutating func catchUp() throws(StoreError) {
        let written = try meta.claimClock()
        if written.time > claimClock.time { claimClock = written }
    }

    private mutating func remembered() throws(StoreError) -> ShardMemory {
        if let memory { return memory }
        let read = try meta.memory()
        memory = read
        return read
    }

    mutating func forgottenEpoch() throws(StoreError) -> UInt32 { try remembered().forgottenEpoch }

    func isLost(_ batch: BatchID) throws(StoreError) -> Bool {
        if try ShardSchema.version(of: connection) < ShardSchema.versionWithLosses { return false }
        return try LossTable.contains(batch, connection)
    }

    func settleLoss(before batch: BatchID, amount: Amount) throws(StoreError) -> Bool {
        if try ShardSchema.version(of: connection) < ShardSchema.versionWithLosses { return false }
        return try LossTable.settle(before: batch, amount, connection)
    }

    mutating func add(_ delta: Int64, to key: UnsafeRawBufferPointer, time: UInt64) throws(StoreError) -> Bool {
        knownKeys.pointee = 0
        try add.bind(1, lendingText: key)
        try add.bind(2, delta)
        try add.bind(3, Int64(clamping: time))
        try add.bind(4, delta < 0 ? Int64.min - delta : Int64.min)
        try add.bind(5, delta < 0 ? Int64.max : Int64.max - delta)
        try add.run()
        let fits = connection.changes == 1
        if fits, knownKeys.pointee == 0 { newKeys += 1 }
        return fits
    }

    func bury(_ letter: DeadLetter, time: UInt64) throws(StoreError) {
        let insert = insertDeadLetter
        try insert.bind(1, Int64(clamping: time))
        try insert.bind(2, letter.reason.rawValue)
        try insert.bind(3, letter.detail)
        try insert.bind(4, Int64(letter.batch.stream.partition.epoch))
        try insert.bind(5, Int64(letter.batch.stream.partition.number))
        try insert.bind(6, blob: letter.batch.stream.producer.bytes.array)
        try insert.bind(7, Int64(letter.batch.sequence))
        if let id = letter.idempotencyKey { try insert.bind(8, text: id) } else { try insert.bindNull(8) }
        if let key = letter.key { try insert.bind(9, text: key) } else { try insert.bindNull(9) }
        try insert.bind(10, Int64(bitPattern: letter.amount.increments))
        try insert.bind(11, "\(letter.amount.sum)")
        try insert.bind(12, blob: letter.payload)
        try insert.run()
    }

    /// Writes a row of `meta` that need not be there.
    func put(_ name: MetaName, _ value: String) throws(StoreError) {
        try replaceMeta.bind(1, name.rawValue)
        try replaceMeta.bind(2, value)
        try replaceMeta.run()
    }

    func set(_ name: MetaName, _ value: String) throws(StoreError) {
        try updateMeta.bind(1, name.rawValue)
        try updateMeta.bind(2, value)
        try updateMeta.run()
        precondition(connection.changes == 1, "meta has no \(name.rawValue)")
    }
}
