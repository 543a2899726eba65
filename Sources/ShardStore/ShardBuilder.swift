// Makes a full shard file: for a change of epoch and for a direct import, which write each counter once, in order.
//
// No journal and no fsync until the end: until `finish` returns there is no such file, and whoever was interrupted
// begins again. (SQLite keeps a journal in memory, of the few pages that were there before and none of those that are
// added.) Rows of counters come in ascending order of their keys, so that every page is written once and full; they are
// handed over by the megabyte (SQLiteRowTable). What `finish` leaves is what ShardFile.create leaves, with rows in it.

public import TallyCore

/// The writer of a shard file that does not exist yet. It is not Sendable: one thread owns it.
public final class ShardBuilder {
    public let path: String
    public let identity: ShardIdentity
    /// Of the counters appended so far.
    public private(set) var totals = ShardTotals(keys: 0, sum: 0)
    private let time: UInt64
    private var claims = 0
    /// nil once finished.
    private var writing: Writing?

    /// The unfinished file, its lock, and statements on it.
    private final class Writing {
        let shard: UnfinishedShard
        let connection: SQLiteConnection
        let transaction: ShardTransaction
        let rows = CounterBuffer()
        let window: UnsafeMutablePointer<RowWindow>
        let insertRows: SQLiteStatement
        /// By table.
        let insertCarried: [SQLiteStatement]
        /// By table, for those that every old shard brings.
        let findCarried: [SQLiteStatement?]

        init(_ shard: UnfinishedShard, _ connection: SQLiteConnection) throws(StoreError) {
            self.shard = shard
            self.connection = connection
            transaction = try ShardTransaction(connection)
            window = try SQLiteRowTable.define(on: connection, showing: rows.window)
            insertRows = try connection.prepare(
                "INSERT INTO counters SELECT key, value, updated_ms FROM \(SQLiteRowTable.name)")
            insertCarried = try CarriedTable.allCases.map { table throws(StoreError) in
                try connection.prepare(table.insert)
            }
            findCarried = try CarriedTable.allCases.map { table throws(StoreError) in
                try table.find.map { find throws(StoreError) in try connection.prepare(find) }
            }
        }
    }

    /// Pages that this process keeps: those being filled and the way to them. The kernel has the others.
    private static let settings = """
        PRAGMA journal_mode = MEMORY;
        PRAGMA synchronous = OFF;
        PRAGMA cache_size = -4096;
        PRAGMA secure_delete = OFF;
        PRAGMA temp_store = MEMORY;
        """

    /// Begins a file, whose folder must exist.
    ///
    /// - Parameter timeMilliseconds: now, in ms since 1970.
    /// - Throws: `exists`; `locked`; `missing` if the folder is; `full`, `permission`, `io`.
    public init(at path: String, identity: ShardIdentity, timeMilliseconds: UInt64) throws(StoreError) {
        self.path = path
        self.identity = identity
        time = timeMilliseconds
        let shard = try UnfinishedShard(path)
        let connection = try SQLiteConnection(shard.unfinishedPath, .readWrite)
        try connection.execute(Self.settings)
        try ShardSchema.install(on: connection, identity: identity, start: .nothing, timeMilliseconds: time)
        writing = try Writing(shard, connection)
        try connection.execute("BEGIN")
    }

    private var open: Writing {
        guard let writing else { preconditionFailure("a finished shard takes no more rows") }
        return writing
    }

    /// Appends a counter.
    ///
    /// - Parameters:
    ///   - key: a valid key that sorts after all before it.
    ///   - updatedMilliseconds: when it last changed, in ms since 1970.
    /// - Throws: `corrupt` for a key out of order: some source of the rows is damaged.
    public func append(
        key: UnsafeRawBufferPointer, value: Int64, updatedMilliseconds: UInt64
    ) throws(StoreError) {
        let rows = open.rows
        if !rows.append(key, value: value, updatedMilliseconds: updatedMilliseconds) {
            throw StoreError(
                .corrupt, path, "a key was to be written that does not follow the one before it",
                "check the files that are being read: one of them is damaged")
        }
        totals = ShardTotals(keys: totals.keys + 1, sum: totals.sum + Int128(value))
        if rows.isFull { try flush() }
    }

    /// Inserts a row of another table as it is.
    ///
    /// - Returns: false if the row is there already.
    /// - Throws: `corrupt` if a stream has another record already.
    public func insert(_ row: CarriedRow) throws(StoreError) -> Bool {
        let statement = open.insertCarried[Int(row.table.rawValue)]
        try row.bind(to: statement)
        try statement.run()
        if open.connection.changes == 1 {
            if row.table == .claims { claims += 1 }
            return true
        }
        guard let find = open.findCarried[Int(row.table.rawValue)] else { return false }
        try row.bind(to: find)
        let isSame = try find.step()
        find.reset()
        if !isSame {
            throw StoreError(
                .corrupt, path, "two shards of an earlier epoch disagree about the same stream",
                "check them: one of them is damaged or was replaced")
        }
        return false
    }

    /// Keeps an increment that could not be counted.
    public func bury(_ letter: DeadLetter) throws(StoreError) {
        try open.transaction.bury(letter, time: time)
    }

    private func flush() throws(StoreError) {
        let rows = open.rows
        if rows.count == 0 { return }
        open.window.pointee = rows.window
        try open.insertRows.run()
        // Count what happened: a table that shows less than it holds would lose counters.
        precondition(open.connection.changes == rows.count, "not every row was inserted")
        rows.removeAll()
    }

    /// Completes the file and forces it to the disk; then it can be opened. The builder is of no use afterwards.
    ///
    /// - Parameters:
    ///   - start: what the counters are made of; their sum must be that of the counters.
    ///   - memory: what the shards remember whose rows were carried over.
    public func finish(start: ShardStart, memory: ShardMemory = ShardMemory()) throws(StoreError) {
        precondition(start.carried.sum + start.imported.sum == totals.sum, "the ledger does not balance from the start")
        try flush()
        try writeFigures(start)
        try open.transaction.write(memory)
        try open.connection.execute("COMMIT")
        try open.connection.beginLogging()
        let shard = open.shard
        weak let connection = open.connection
        writing = nil
        // SQLite would share the log's index of the old name with whoever opens the file by the new one.
        precondition(connection == nil, "the file is still open under its unfinished name")
        try shard.publish(identity)
    }

    private func writeFigures(_ start: ShardStart) throws(StoreError) {
        let transaction = open.transaction
        try transaction.set(.carriedIncrements, "\(start.carried.increments)")
        try transaction.set(.carriedSum, "\(start.carried.sum)")
        try transaction.set(.importedIncrements, "\(start.imported.increments)")
        try transaction.set(.importedSum, "\(start.imported.sum)")
        try transaction.set(.keys, "\(totals.keys)")
        try transaction.set(.sum, "\(totals.sum)")
        if claims > 0 { try transaction.put(.claims, "\(claims)") }
    }
}
