// The tables that a change of epoch carries beside the counters, row by row, as they are: watermarks into every new
// shard, claims and dead letters to where their key belongs. A row is its columns and nothing is interpreted, so that
// nothing can be lost in between; only the key is looked at.

import TallyCore

/// A table whose rows outlive their epoch.
public enum CarriedTable: UInt8, Hashable, Sendable, CaseIterable {
    case applied
    case routed
    case idempotency
    case deadLetters
    case losses
    case claims

    /// In their order in the table. The number of a dead letter stays behind: it counts within a file.
    var columns: String {
        switch self {
        case .applied:
            """
            epoch, partition, producer, watermark, through_increments, through_sum, applied_increments, applied_sum,
            repeated_increments, repeated_sum, dead_increments, dead_sum
            """
        case .routed: "origin_epoch, origin_partition, origin_producer, origin_sequence, key"
        case .idempotency: "id, key, seen_ms"
        case .deadLetters:
            """
            time_ms, reason, detail, epoch, partition, producer, sequence, idempotency_id, key, increments, sum, payload
            """
        case .losses: "epoch, partition, producer, first, last, increments, sum, time_ms"
        case .claims: "digest, key_hash, seen_ms"
        }
    }

    var name: String {
        switch self {
        case .applied: "applied"
        case .routed: "routed"
        case .idempotency: "idempotency"
        case .deadLetters: "dead_letter"
        case .losses: "lost"
        case .claims: "claim"
        }
    }

    /// How many columns there are.
    public var columnCount: Int {
        switch self {
        case .applied, .deadLetters: 12
        case .routed: 5
        case .idempotency, .claims: 3
        case .losses: 8
        }
    }

    /// The column of the key that decides where a row belongs; nil if it belongs everywhere, or has a key's hash only.
    var keyColumn: Int? {
        switch self {
        case .applied, .losses, .claims: nil
        case .routed: 4
        case .idempotency: 1
        case .deadLetters: 8
        }
    }

    /// Whether its rows go to every new shard: of `applied` each old one brings the same, of `lost` what it knows
    /// (LossUnion).
    public var isEverywhere: Bool { self == .applied || self == .losses }

    /// All rows, those of an ordered table in its order.
    var select: String {
        "SELECT \(columns) FROM \(name)" + (self == .deadLetters ? " ORDER BY id" : "")
    }

    var insert: String {
        let parameters = (1...columnCount).map { "?\($0)" }.joined(separator: ", ")
        let conflict = self == .deadLetters ? "" : " ON CONFLICT DO NOTHING"
        return "INSERT INTO \(name)(\(columns)) VALUES(\(parameters))\(conflict)"
    }

    /// As `select` of claims, over a file in which those of tools still expired.
    static let selectExpiringClaims = """
        SELECT id, key, CASE WHEN \(ShardSchema.isToolClaim) THEN \(Int64.max) ELSE seen_ms END FROM idempotency
        """

    /// As `select`, over a file that has no such table.
    var selectNothing: String {
        "SELECT " + Array(repeating: "NULL", count: columnCount).joined(separator: ", ") + " WHERE 0"
    }

    /// Finds the same row, in the table of which every old shard brings the same; nil for others.
    var find: String? { self == .applied ? Self.findStream : nil }

    private static let findStream = """
        SELECT 1 FROM applied WHERE epoch = ?1 AND partition = ?2 AND producer = ?3 AND watermark = ?4
            AND through_increments = ?5 AND through_sum = ?6 AND applied_increments = ?7 AND applied_sum = ?8
            AND repeated_increments = ?9 AND repeated_sum = ?10 AND dead_increments = ?11 AND dead_sum = ?12
        """
}

/// One row, copied.
public struct CarriedRow: Hashable, Sendable {
    public enum Value: Hashable, Sendable {
        case null
        case integer(Int64)
        case text([UInt8])
        case blob([UInt8])
    }

    public let table: CarriedTable
    /// One for each column.
    public let values: [Value]

    public init(_ table: CarriedTable, _ values: [Value]) {
        precondition(values.count == table.columnCount, "a row has a value for each column")
        self.table = table
        self.values = values
    }

    /// The same claim, at a later time; a tool's claim, which never expires, stays as it is.
    public func raised(by milliseconds: UInt64) -> CarriedRow {
        guard milliseconds > 0, let time = claimTime else { return self }
        let (later, isEndless) = time.addingReportingOverflow(Int64(clamping: milliseconds))
        return CarriedRow(table, [values[0], values[1], .integer(isEndless ? .max : later)])
    }

    /// When a claim was made; nil for any other row.
    public var claimTime: Int64? {
        guard table == .idempotency || table == .claims, case .integer(let time) = values[2] else { return nil }
        return time
    }

    /// The key that it is about. nil if it is about none, as a watermark, or the dead letter of a damaged batch, which
    /// has nobody's key.
    public var key: [UInt8]? {
        guard let column = table.keyColumn, case .text(let key) = values[column] else { return nil }
        return key
    }

    /// XXH64 (seed 0) of the key that it is about; nil if it is about none.
    public var keyHash: UInt64? {
        if table == .claims, case .integer(let hash) = values[1] { return UInt64(bitPattern: hash) }
        return key.map { XXH64.hash($0) }
    }

    func bind(to statement: SQLiteStatement) throws(StoreError) {
        for (index, value) in zip(Int32(1)..., values) {
            switch value {
            case .null: try statement.bindNull(index)
            case .integer(let number): try statement.bind(index, number)
            case .text(let bytes): try statement.bind(index, text: bytes)
            case .blob(let bytes): try statement.bind(index, blob: bytes)
            }
        }
    }
}
