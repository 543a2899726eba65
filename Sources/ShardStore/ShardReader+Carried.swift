// What a change of epoch reads of a shard beside its counters: every row of six tables, one at a time.

public import TallyCore

extension ShardReader {
    /// A walk over all rows of a table, before the first of them; it holds one row at a time.
    public func rows(of table: CarriedTable) throws(StoreError) -> CarriedCursor {
        let version = try ShardSchema.version(of: connection)
        let select =
            switch table {
            case .losses where version < ShardSchema.versionWithLosses: table.selectNothing
            case .idempotency where version < ShardSchema.versionWithLosses: CarriedTable.selectExpiringClaims
            case .claims where version < ShardSchema.versionWithClaims: table.selectNothing
            default: table.select
            }
        return try CarriedCursor(table, connection, select)
    }

    /// How many rows a table has, by looking at each.
    public func count(of table: CarriedTable) throws(StoreError) -> Int {
        guard try has(table) else { return 0 }
        return Int(try connection.integer("SELECT count(*) FROM \(table.name)") ?? 0)
    }

    private func has(_ table: CarriedTable) throws(StoreError) -> Bool {
        switch table {
        case .losses: try ShardSchema.version(of: connection) >= ShardSchema.versionWithLosses
        case .claims: try ShardSchema.version(of: connection) >= ShardSchema.versionWithClaims
        case .applied, .routed, .idempotency, .deadLetters: true
        }
    }

    /// What the file's own streams added to its counters, from its first batch on.
    public func ownApplied() throws(StoreError) -> Amount {
        let select = try connection.prepare(
            "SELECT applied_increments, applied_sum FROM applied WHERE epoch = ?1 AND partition = ?2")
        try select.bind(1, Int64(identity.partition.epoch))
        try select.bind(2, Int64(identity.partition.number))
        var total = Amount.zero
        while try select.step() {
            guard let sum = Int128(select.text(1)) else {
                throw StoreError(
                    .corrupt, path, "its table applied holds an impossible sum", StoreError.Remedy.corrupt)
            }
            total += Amount(increments: UInt64(bitPattern: select.integer(0)), sum: sum)
        }
        return total
    }
}

/// A walk over the rows of one table of one snapshot. It is not Sendable; it keeps its reader's connection open.
public final class CarriedCursor {
    private let table: CarriedTable
    private let select: SQLiteStatement
    private let path: String

    init(_ table: CarriedTable, _ connection: SQLiteConnection, _ sql: String) throws(StoreError) {
        self.table = table
        path = connection.path
        select = try connection.prepare(sql)
    }

    /// The next row, or the first; nil after the last, and it must not be called again after that.
    public func next() throws(StoreError) -> CarriedRow? {
        guard try select.step() else { return nil }
        var values: [CarriedRow.Value] = []
        values.reserveCapacity(table.columnCount)
        for column in 0..<Int32(table.columnCount) { values.append(try value(column)) }
        return CarriedRow(table, values)
    }

    private func value(_ column: Int32) throws(StoreError) -> CarriedRow.Value {
        switch select.kind(column) {
        case .null: .null
        case .integer: .integer(select.integer(column))
        case .text: .text(Array(select.bytes(column)))
        case .blob: .blob(Array(select.bytes(column)))
        case .real:
            throw StoreError(.corrupt, path, "its table \(table.name) holds a real number", StoreError.Remedy.corrupt)
        }
    }
}
