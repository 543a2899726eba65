// One shard, opened by its one writer. Everything the consumer does to the file is a method here, each at most one
// transaction: killed at any line, the file holds the state before or after it and nothing between.
//
// An I/O error ends the file for this process: after a failed fsync nobody knows what the kernel still holds, so the
// error is repeated for every later call and only a new process, which recovers from the log, may go on.

import Glibc
public import TallyCore

/// The writer's view of a shard file. It is not Sendable: one thread owns it. Releasing the last reference closes the
/// file and gives its lock up.
public final class ShardFile {
    public let path: String
    public let identity: ShardIdentity
    /// Names the lock that this holds: the same for all processes of this machine that would wait for one another, and
    /// another for a copy of the file in another folder.
    public let lockName: String
    let connection: SQLiteConnection
    private var transaction: ShardTransaction
    private let logMark: LogMarkTable
    private let begin: SQLiteStatement
    private let commit: SQLiteStatement
    private let rollback: SQLiteStatement
    /// Why this process may not use the file any more.
    private var failure: StoreError?
    /// The file that was opened.
    private let place: (device: dev_t, inode: ino_t)?
    /// The claim clock as this process last wrote it down by itself.
    private var writtenClock: UInt64 = 0
    /// How far it may run ahead of what is written down: a crash sets it back by so much, and claims live longer.
    private static let claimClockMilliseconds: UInt64 = 600_000

    /// Opens a shard for writing and takes its lock, `<path>.lock`.
    ///
    /// - Throws: `missing`; `locked` with the other process; `mismatch` if it is not the file that `expected`
    ///   describes or has another format, or lies under the log of another one; `corrupt`; `permission`; `io`.
    public static func open(at path: String, expecting expected: ShardExpectation) throws(StoreError) -> ShardFile {
        try SystemFile.requireExists(path)
        let lock = try ShardLock(path)
        // A second name of this file, if its creation was interrupted between two calls.
        try SystemFile.removeLeftover(path + UnfinishedShard.suffix)
        try LogMark.check(path)
        let connection = try SQLiteConnection(path, .readWrite, under: lock)
        let identity = try ShardIdentity.read(connection)
        try identity.verify(expected, path: path)
        try upgrade(connection)
        return try ShardFile(connection, identity, lockName: lock.name)
    }

    /// A closed file stays as it is.
    private static func upgrade(_ connection: SQLiteConnection) throws(StoreError) {
        if try ShardSchema.version(of: connection) >= ShardSchema.version { return }
        if try MetaTable(connection).state() == .retired { return }
        try connection.execute("PRAGMA synchronous = FULL; BEGIN IMMEDIATE")
        do throws(StoreError) {
            try ShardSchema.upgrade(connection)
            try connection.execute("COMMIT")
        } catch {
            if connection.isInTransaction { try connection.execute("ROLLBACK") }
            throw error
        }
    }

    private init(
        _ connection: SQLiteConnection, _ identity: ShardIdentity, lockName: String
    ) throws(StoreError) {
        path = connection.path
        self.identity = identity
        self.lockName = lockName
        self.connection = connection
        try connection.execute(ShardSchema.writerSettings)
        transaction = try ShardTransaction(connection)
        logMark = try LogMarkTable(connection)
        writtenClock = transaction.claimClock.time
        place = SystemFile.identity(path)
        begin = try connection.prepare("BEGIN IMMEDIATE")
        commit = try connection.prepare("COMMIT")
        rollback = try connection.prepare("ROLLBACK")
    }

    /// Applies `batches`, oldest first, in one transaction, by the rules of PROTOCOL.md. Batches that are in the file
    /// already are skipped, so the same list may be applied any number of times.
    ///
    /// If very many increments do not fit their counters, the transaction is rolled back and its head repeated entry by
    /// entry, so `.tooManyMisfits` is never returned. After any outcome but `.commit` nothing was written.
    /// A commit may cover only the first of `batches`, as it says.
    ///
    /// - Parameter timeMilliseconds: now, in ms since 1970; changed counters carry it.
    /// - Throws: `busy` and `full` after a rollback: back off and call again with the same batches. `io` and `corrupt`
    ///   end the file for this process.
    public func apply(_ batches: [[UInt8]], timeMilliseconds: UInt64) throws(StoreError) -> ApplyOutcome {
        try requireInPlace()
        let outcome = try apply(batches, timeMilliseconds, folding: true)
        guard case .tooManyMisfits = outcome else { return outcome }
        return try apply(ApplyRules<ShardTransaction>.head(of: batches), timeMilliseconds, folding: false)
    }

    private func apply(
        _ batches: [[UInt8]], _ time: UInt64, folding: Bool
    ) throws(StoreError) -> ApplyOutcome {
        let outcome = try inTransaction { () throws(StoreError) in
            let outcome = try ApplyRules.apply(
                batches, to: &transaction, partition: identity.partition, time: time, folding: folding)
            guard case .commit(let applied) = outcome else { return (outcome, false) }
            let isNew = applied.committed.count > applied.skippedBatches
            if isNew {
                try transaction.finish(applied.applied, time: time)
                if transaction.hasClaimed { try transaction.write(claimClock) }
            }
            return (outcome, isNew)
        }
        if case .commit = outcome { claimsMade += transaction.newClaims }
        return outcome
    }

    /// What is committed into a file that was moved away or deleted nobody finds again.
    private func requireInPlace() throws(StoreError) {
        try failing { () throws(StoreError) in
            guard let place else { return }
            if let there = SystemFile.identity(path), there == place { return }
            throw StoreError(
                .missing, path, "the file was moved away, deleted or replaced while it was in use",
                "put it back, or the newest copy there is, and start its consumer again; nothing was counted since")
        }
    }

    /// Closes the file for ever: no later transaction, by anyone, changes it. Repeating it does nothing.
    public func retire() throws(StoreError) {
        try inTransaction { () throws(StoreError) in
            if try transaction.isRetired() { return ((), false) }
            try transaction.retire()
            return ((), true)
        }
        try checkpoint(emptyingLog: true)
    }

    /// Claims of clients that this has made since it was opened.
    public private(set) var claimsMade = 0

    /// What claims are dated with. `advanceClaimClock` moves it on.
    public var claimClock: ClaimClock { transaction.claimClock }

    /// Redis' clock has shown `redisTime`, in ms since 1970.
    ///
    /// - Parameter elapsed: monotonic milliseconds since the last call for this file; 0 for the first.
    public func advanceClaimClock(to redisTime: UInt64, elapsed: UInt64) {
        transaction.claimClock.advance(to: redisTime, elapsed: elapsed)
    }

    /// Time has passed since then: to be told before batches are applied.
    ///
    /// - Parameter elapsed: monotonic milliseconds since the last of these two calls.
    public func passClaimTime(_ elapsed: UInt64) {
        transaction.claimClock.pass(elapsed)
    }

    /// Forgets claims of idempotency keys that have expired, oldest first and at most `limit` of them, and remembers up
    /// to when; or just how far the clock has come, if it was not written down for long.
    ///
    /// - Parameters:
    ///   - retention: in milliseconds.
    ///   - oldestWaiting: when the oldest batch of the list was frozen, nil if the list is empty.
    /// - Returns: the rows removed; fewer than `limit` if no more are left. 0 for a retired file.
    public func forgetClaims(
        retention: UInt64, oldestWaiting: UInt64?, limit: Int
    ) throws(StoreError) -> Int {
        let bound = claimClock.expiry(retention: retention, oldestWaiting: oldestWaiting)
        let isClockDue = claimClock.time > writtenClock + Self.claimClockMilliseconds
        let newest = try failing { () throws(StoreError) in
            try transaction.newestClaim(olderThan: bound, limit: limit)
        }
        guard newest != nil || isClockDue else { return 0 }
        var clock = claimClock
        if let newest { clock.forgot(through: newest, retention: retention) }
        let removed = try inTransaction { () throws(StoreError) -> (Int?, Bool) in
            if try transaction.isRetired() { return (nil, false) }
            try transaction.write(clock)
            guard let newest else { return (0, true) }
            return (try transaction.forgetClaims(through: newest, limit: limit), true)
        }
        if removed != nil {
            transaction.claimClock = clock
            writtenClock = clock.time
        }
        return removed ?? 0
    }

    /// Makes the file independent of its write-ahead log.
    ///
    /// - Throws: `busy` while a reader still needs what the file held before.
    public func checkpoint() throws(StoreError) {
        try checkpoint(emptyingLog: false)
    }

    /// Makes what the file and its log hold safe from a power failure, which a consumer needs before it takes anything
    /// from its queue: what a process has committed that was killed before its fsync is seen by the next one, and may
    /// not be on the disk. A checkpoint does that, and where a reader does not allow one, an fsync of the log. It waits
    /// for nobody.
    ///
    /// - Returns: false if a reader keeps some of the log from being copied into the file.
    public func secure() throws(StoreError) -> Bool {
        if try checkpointSome() { return true }
        try failing { () throws(StoreError) in try SystemFile.syncLog(of: path) }
        return false
    }

    /// Copies of the log into the file what readers allow, without waiting.
    ///
    /// - Returns: whether that was all of it.
    public func checkpointSome() throws(StoreError) -> Bool {
        do throws(StoreError) {
            return try failing { () throws(StoreError) in try connection.checkpointSome() }
        } catch  where error.code == .busy {
            return false  // another process does it just now
        }
    }

    /// Copies the log into the file and cuts it to nothing, without waiting.
    ///
    /// - Returns: whether it could: not while anybody reads.
    public func emptyLog() throws(StoreError) -> Bool {
        do throws(StoreError) {
            try failing { () throws(StoreError) in
                try connection.withoutWaiting { () throws(StoreError) in try connection.checkpoint(emptyingLog: true) }
            }
            return true
        } catch  where error.code == .busy {
            return false
        }
    }

    /// Of the write-ahead log.
    public var logBytes: Int { ShardReaders.logBytes(of: path) }

    private func checkpoint(emptyingLog: Bool) throws(StoreError) {
        try failing { () throws(StoreError) in try connection.checkpoint(emptyingLog: emptyingLog) }
    }

    /// Whether a rebalance has closed the file for ever.
    public func isRetired() throws(StoreError) -> Bool {
        try failing { () throws(StoreError) in try transaction.isRetired() }
    }

    /// Up to which sequence each producer of `partition` is committed here. Partitions of earlier epochs are those that
    /// a rebalance brought along.
    public func watermarks(of partition: PartitionID) throws(StoreError) -> [ProducerID: UInt64] {
        try failing { () throws(StoreError) in
            try StreamTable.records(of: partition, connection).mapValues(\.watermark)
        }
    }

    /// The watermarks of these streams, of those that have one. Of an epoch whose watermarks were purged nobody knows
    /// more than that all was well then: `Limits.sequenceMax`.
    public func watermarks(of streams: [StreamID]) throws(StoreError) -> [StreamID: UInt64] {
        try failing { () throws(StoreError) in
            let forgotten = try MetaTable(connection).memory().forgottenEpoch
            var found: [StreamID: UInt64] = [:]
            for stream in streams {
                if stream.partition.epoch <= forgotten {
                    found[stream] = Limits.sequenceMax
                } else {
                    found[stream] = try transaction.record(of: stream)?.watermark
                }
            }
            return found
        }
    }

    /// The running figures; no scan of the counters.
    public func statistics() throws(StoreError) -> ShardStatistics {
        try failing { () throws(StoreError) in try MetaTable(connection).statistics() }
    }

    /// Runs `body` between BEGIN IMMEDIATE and COMMIT; its second result false, or an error, rolls back instead.
    private func inTransaction<Result>(
        _ body: () throws(StoreError) -> (Result, commits: Bool)
    ) throws(StoreError) -> Result {
        try failing { () throws(StoreError) in
            try begin.run()
            let log = LogMark.salts(beside: path)
            transaction.start()
            do throws(StoreError) {
                let (result, commits) = try body()
                if !commits {
                    try rollback.run()
                    return result
                }
                let before = try logMark.advance()
                try commit.run()
                try logMark.committed(before, log: log)
                return result
            } catch {
                // SQLite has rolled back by itself after some errors.
                if connection.isInTransaction { try rollback.run() }
                throw error
            }
        }
    }

    /// Lets an error that leaves the file in doubt end it for this process.
    private func failing<Result>(_ body: () throws(StoreError) -> Result) throws(StoreError) -> Result {
        if let failure { throw failure }
        do throws(StoreError) {
            return try body()
        } catch {
            if error.code == .io || error.code == .corrupt { failure = error }
            throw error
        }
    }
}
