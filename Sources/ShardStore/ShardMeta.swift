// The rows of `meta`, by name, and how they are read back: everything is text, so that nothing depends on how SQLite
// stores a number, and every number is checked on the way in.

public import TallyCore

/// The names in `meta`.
enum MetaName: String {
    case cluster
    case epoch
    case partition
    case partitions
    case uuid
    case hash
    case createdMilliseconds = "created_ms"
    case state
    case carriedIncrements = "carried_increments"
    case carriedSum = "carried_sum"
    case importedIncrements = "imported_increments"
    case importedSum = "imported_sum"
    /// Rows of `counters`, and their sum, kept up by every transaction: a scan of the table must find the same.
    case keys
    case sum
    /// 0 before the first.
    case lastCommitMilliseconds = "last_commit_ms"
    /// From the first transaction on: see LogMark.swift.
    case log
    // Only where there is something to remember: see ShardMemory.swift.
    /// Six numbers in milliseconds: time, decidesFrom, shown, start, before, startTime of `ClaimClock`.
    case claimsClock = "claims_clock_ms"
    case imports
    /// Rows of `claim`, kept up by every transaction.
    case claims
    case forgottenEpoch = "forgotten_epoch"
}

/// Whether a file may still be written.
public enum ShardState: String, Hashable, Sendable {
    case open
    /// Closed for ever by a rebalance: what it holds lives on in a newer epoch.
    case retired
}

/// What a file's counters held before its first batch.
public struct ShardStart: Hashable, Sendable {
    /// Brought over from the shards of an earlier epoch.
    public var carried: Amount
    /// Loaded directly.
    public var imported: Amount

    public static let nothing = ShardStart(carried: .zero, imported: .zero)

    public init(carried: Amount, imported: Amount) {
        self.carried = carried
        self.imported = imported
    }
}

/// The figures that a shard keeps of itself, which cost nothing to ask for: none needs a scan of the counters.
public struct ShardStatistics: Hashable, Sendable {
    public let keys: Int
    /// The sum of all counters.
    public let total: Int128
    /// nil before the first commit; ms since 1970.
    public let lastCommitMilliseconds: UInt64?
    /// Rows of the dead letters, whatever each of them holds.
    public let deadLetters: Int
    /// Claims of clients: (idempotency key, key) pairs that are remembered. Without those that a release before format
    /// version 3 has left.
    public let claims: Int
    /// Bytes of the file and its write-ahead log.
    public let fileBytes: Int
}

/// Reads `meta` over one connection.
struct MetaTable {
    private let connection: SQLiteConnection
    private let select: SQLiteStatement

    init(_ connection: SQLiteConnection) throws(StoreError) {
        self.connection = connection
        select = try connection.prepare("SELECT value FROM meta WHERE name = ?1")
    }

    func text(_ name: MetaName) throws(StoreError) -> String {
        guard let text = try textIfThere(name) else { throw corrupt("has no \(name.rawValue)") }
        return text
    }

    func textIfThere(_ name: MetaName) throws(StoreError) -> String? {
        try select.bind(1, name.rawValue)
        guard try select.step() else { return nil }
        defer { select.reset() }
        return select.text(0)
    }

    func number<Number: FixedWidthInteger>(_ name: MetaName, as: Number.Type = Number.self) throws(StoreError) -> Number
    {
        guard let number = try numberIfThere(name, as: Number.self) else { throw corrupt("has no \(name.rawValue)") }
        return number
    }

    func numberIfThere<Number: FixedWidthInteger>(
        _ name: MetaName, as: Number.Type = Number.self
    ) throws(StoreError) -> Number? {
        guard let text = try textIfThere(name) else { return nil }
        guard let number = Number(text) else { throw corrupt("says \(name.rawValue) is '\(text)'") }
        return number
    }

    func id<ID>(_ name: MetaName, _ make: (String) -> ID?) throws(StoreError) -> ID {
        let text = try text(name)
        guard let id = make(text) else { throw corrupt("says \(name.rawValue) is '\(text)'") }
        return id
    }

    func state() throws(StoreError) -> ShardState {
        try id(.state) { ShardState(rawValue: $0) }
    }

    func start() throws(StoreError) -> ShardStart {
        ShardStart(
            carried: Amount(increments: try number(.carriedIncrements), sum: try number(.carriedSum)),
            imported: Amount(increments: try number(.importedIncrements), sum: try number(.importedSum)))
    }

    func lastCommitMilliseconds() throws(StoreError) -> UInt64? {
        let time: UInt64 = try number(.lastCommitMilliseconds)
        return time == 0 ? nil : time
    }

    func statistics() throws(StoreError) -> ShardStatistics {
        ShardStatistics(
            keys: try number(.keys), total: try number(.sum), lastCommitMilliseconds: try lastCommitMilliseconds(),
            deadLetters: Int(try connection.integer("SELECT count(*) FROM dead_letter") ?? 0),
            claims: try numberIfThere(.claims) ?? 0,
            fileBytes: SystemFile.bytes(connection.path) + SystemFile.bytes(connection.path + "-wal"))
    }

    /// The time of the newest claim that expires; 0 if there is none.
    func newestClaim() throws(StoreError) -> UInt64 {
        let newest = try connection.integer("SELECT max(seen_ms) FROM idempotency WHERE seen_ms < \(Int64.max)")
        return UInt64(clamping: newest ?? 0)
    }

    func corrupt(_ what: String) -> StoreError {
        StoreError(.corrupt, connection.path, "its table meta \(what)", StoreError.Remedy.corrupt)
    }
}
