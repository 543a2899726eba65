// What a shard remembers of what it has forgotten: claims of idempotency keys by time, watermarks by epoch, claims of
// imports by the import's name. Rows of `meta` that a file of format version 1, or a young one, does not have.

public import TallyCore

/// The memory of a shard.
public struct ShardMemory: Hashable, Sendable {
    public var claimClock = ClaimClock()
    /// Imports that were counted whole, in order.
    public var imports: [Bytes16] = []
    /// The newest epoch whose watermarks were purged; 0 if none were.
    public var forgottenEpoch: UInt32 = 0

    public init() {}

    /// The condition for a row of `idempotency` to be a claim of an import, and not of a client with a similar key.
    static func claims(ofImport id: Bytes16) -> String {
        "(id = 'import:\(id)' OR id >= 'import:\(id):' AND id < 'import:\(id);')"
    }

    /// What a shard remembers that takes over rows of several.
    public static func joined(_ memories: some Sequence<ShardMemory>) -> ShardMemory {
        var all = ShardMemory()
        for memory in memories {
            all.claimClock.join(memory.claimClock)
            all.imports += memory.imports.filter { !all.imports.contains($0) }
            all.forgottenEpoch = max(all.forgottenEpoch, memory.forgottenEpoch)
        }
        return all
    }
}

extension MetaTable {
    func memory() throws(StoreError) -> ShardMemory {
        var memory = ShardMemory()
        memory.claimClock = try claimClock()
        memory.forgottenEpoch = try numberIfThere(.forgottenEpoch) ?? 0
        for text in (try textIfThere(.imports) ?? "").split(separator: ",") {
            guard let id = Bytes16(text) else { throw corrupt("says imports has '\(text)'") }
            memory.imports.append(id)
        }
        return memory
    }

    func claimClock() throws(StoreError) -> ClaimClock {
        guard let text = try textIfThere(.claimsClock) else {
            // Claims that an earlier release dated by a wall clock: the clock goes on from the newest of them.
            return ClaimClock(time: try newestClaim())
        }
        let numbers = text.split(separator: " ").compactMap { UInt64($0) }
        guard numbers.count == 6 else { throw corrupt("says \(MetaName.claimsClock.rawValue) is '\(text)'") }
        return ClaimClock(
            time: numbers[0], decidesFrom: numbers[1], shown: numbers[2], start: numbers[3], before: numbers[4],
            startTime: numbers[5])
    }
}

extension ShardTransaction {
    func write(_ clock: ClaimClock) throws(StoreError) {
        let numbers = [clock.time, clock.decidesFrom, clock.shown, clock.start, clock.before, clock.startTime]
        try put(.claimsClock, numbers.map(String.init).joined(separator: " "))
    }

    /// Writes what there is to remember.
    func write(_ memory: ShardMemory) throws(StoreError) {
        if memory.claimClock != ClaimClock() { try write(memory.claimClock) }
        if !memory.imports.isEmpty {
            try put(.imports, memory.imports.map(\.description).joined(separator: ","))
        }
        if memory.forgottenEpoch > 0 { try put(.forgottenEpoch, "\(memory.forgottenEpoch)") }
    }
}

extension ShardReader {
    public func memory() throws(StoreError) -> ShardMemory {
        try MetaTable(connection).memory()
    }

    /// Whether some sum of an import was counted here through the queues.
    public func hasClaims(ofImport id: Bytes16) throws(StoreError) -> Bool {
        try connection.integer("SELECT 1 FROM idempotency WHERE \(ShardMemory.claims(ofImport: id)) LIMIT 1") != nil
    }
}
