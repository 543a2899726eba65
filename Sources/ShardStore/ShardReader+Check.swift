// What `verify` asks of a shard: SQLite's own opinion of the file, and every row of the tables beside `counters` as it
// lies there, also one that makes no sense. Nothing here judges a row; what cannot be decoded arrives as nil.
//
// quick_check reads every page of every table: it finds pages that are no pages, cells that do not fit, keys out of
// order, values of the wrong type. It cannot know whether a value is the right one. That is what the sums are for.

public import TallyCore

extension ShardReader {
    /// What SQLite finds wrong with the file, in its words; empty if nothing.
    ///
    /// - Parameter limit: about how many sentences at most.
    public func quickCheck(limit: Int) throws(StoreError) -> [String] {
        let check = try connection.prepare("PRAGMA quick_check(\(limit))")
        var sentences: [String] = []
        do throws(StoreError) {
            while try check.step() { sentences += Self.lines(of: check.text(0)) }
        } catch {
            // Some damage ends the check itself.
            guard error.code == .corrupt else { throw error }
            sentences.append(error.cause)
        }
        return sentences == ["ok"] ? [] : sentences
    }

    /// A row may hold a line for each of several findings, under a heading between asterisks.
    private static func lines(of row: String) -> [String] {
        row.split(whereSeparator: \.isNewline).filter { !$0.hasPrefix("***") }.map { String($0) }
    }

    /// A row of `applied`.
    public struct StreamRow {
        public let epoch: Int64
        public let partition: Int64
        public let producer: [UInt8]
        public let watermark: Int64
        /// nil if an amount is no number or the watermark is negative.
        public let record: StreamRecord?
    }

    /// Calls `body` with every row of `applied`, by epoch and partition.
    public func forEachStream(_ body: (StreamRow) -> Void) throws(StoreError) {
        let select = try StreamTable.prepareWalk(connection)
        while try select.step() {
            body(
                StreamRow(
                    epoch: select.integer(0), partition: select.integer(1), producer: Array(select.bytes(2)),
                    watermark: select.integer(3), record: StreamTable.recordIfSound(select, from: 3)))
        }
    }

    /// A row of `routed`. The key is valid until the call it came with returns.
    public struct RoutedRow {
        public let epoch: Int64
        public let partition: Int64
        public let producer: [UInt8]
        public let sequence: Int64
        public let key: UnsafeRawBufferPointer
    }

    /// Calls `body` with every row of `routed`, by origin.
    public func forEachRouted(_ body: (RoutedRow) -> Void) throws(StoreError) {
        let select = try connection.prepare(
            """
            SELECT origin_epoch, origin_partition, origin_producer, origin_sequence, key FROM routed
            ORDER BY origin_epoch, origin_partition, origin_producer, origin_sequence, key
            """)
        while try select.step() {
            body(
                RoutedRow(
                    epoch: select.integer(0), partition: select.integer(1), producer: Array(select.bytes(2)),
                    sequence: select.integer(3), key: select.bytes(4)))
        }
    }

    /// Calls `body` with the digest of every row of `claim` and the hash of its key. The digest is valid until the call
    /// returns.
    public func forEachClaim(_ body: (UnsafeRawBufferPointer, UInt64) -> Void) throws(StoreError) {
        if try ShardSchema.version(of: connection) < ShardSchema.versionWithClaims { return }
        let select = try connection.prepare("SELECT digest, key_hash FROM claim ORDER BY digest")
        while try select.step() { body(select.bytes(0), UInt64(bitPattern: select.integer(1))) }
    }

    /// The tables whose rows belong where their key belongs, beside `counters` and `routed`.
    public enum KeyedTable: String, CaseIterable, Sendable {
        case idempotency
        case deadLetter = "dead_letter"
    }

    /// Calls `body` with the key of every row of a table that has one. It is valid until the call returns.
    public func forEachKey(of table: KeyedTable, _ body: (UnsafeRawBufferPointer) -> Void) throws(StoreError) {
        let select = try connection.prepare("SELECT key FROM \(table.rawValue) WHERE key IS NOT NULL")
        while try select.step() { body(select.bytes(0)) }
    }
}
