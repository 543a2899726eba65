// `dead-letters`: increments that could not be counted, over all shards of the current epoch.
//
// A letter has one name for ever, such as 5f0c9a31d2e84b76: a hash of what never changes of it, so that it survives
// rebalances, which give it another file and row, and replays that it does not fit into. Letters that are alike in
// everything have one name together. Within a run letters are found by where they lie: partition and row.

public import ServiceKit
import ShardConsumer
public import ShardStore
public import TallyCore

/// Where a dead letter lies: partition and row, such as 3:17. Holds for one epoch.
public struct DeadLetterID: Hashable, Sendable, CustomStringConvertible {
    public let partition: UInt32
    public let row: Int64

    public init(partition: UInt32, row: Int64) {
        self.partition = partition
        self.row = row
    }

    public var description: String { "\(partition):\(row)" }
}

/// What a dead letter is called, in every epoch: 16 hex digits.
public struct DeadLetterName: Hashable, Sendable, CustomStringConvertible {
    private let hash: UInt64

    init(of letter: DeadLetterRow) {
        hash = XXH64.hash(letter.replayKey)
    }

    /// Reads 16 hex digits; nil for anything else.
    public init?(_ text: some StringProtocol) {
        guard text.utf8.count == 16, text.utf8.allSatisfy({ UnicodeScalar($0).properties.isASCIIHexDigit }),
            let hash = UInt64(text, radix: 16)
        else { return nil }
        self.hash = hash
    }

    public var description: String { Hex.text(hash) }
}

extension DeadLetter.Reason {
    /// Whether the letter may have been counted all the same. Of what was sent too long ago, or comes from an epoch
    /// that was purged, nobody knows any more; the others were certainly not.
    public var mayBeCounted: Bool {
        switch self {
        case .overflow, .damaged: false
        case .late, .forgotten: true
        }
    }

    /// Whether what it held can be counted again. Of a damaged batch nobody knows what that was.
    public var canBeReplayed: Bool { self != .damaged }

    /// In words.
    public var meaning: String {
        switch self {
        case .overflow: "it was not counted: the counter would leave the range of a 64-bit number"
        case .damaged: "it was not counted: what it held cannot be told"
        case .late:
            "it was sent longer ago than idempotency keys are kept: nobody knows whether an earlier request with its"
                + " key was counted; replay counts it, drop does not"
        case .forgotten:
            "it comes from an epoch that was purged: nobody knows whether it was counted there; replay counts it, drop"
                + " does not"
        }
    }
}

/// A dead letter and where it lies.
public struct FoundDeadLetter: Hashable, Sendable {
    public let partition: UInt32
    public let letter: DeadLetterRow

    public var id: DeadLetterID { DeadLetterID(partition: partition, row: letter.row) }
    public var name: DeadLetterName { DeadLetterName(of: letter) }
}

/// The dead letters of a cluster.
public struct DeadLetters {
    public let topology: Topology
    let folder: DataFolder
    /// Rows that are in memory at a time.
    static let chunkRows = 5_000

    /// - Throws: 78 if there is no cluster in the folder.
    public init(_ folder: DataFolder) throws(Failure) {
        self.folder = folder
        topology = try folder.readyClusterFile().topology
    }

    /// How many there are, and the partitions whose shards cannot be read.
    public func count(
        reason: DeadLetter.Reason? = nil
    ) -> (letters: Int, missing: [(partition: UInt32, reason: Failure)]) {
        var letters = 0
        var missing: [(partition: UInt32, reason: Failure)] = []
        for partition in topology.partitionIDs {
            do throws(Failure) {
                let reader = try reader(partition.number)
                letters += try onStore { () throws(StoreError) in try reader.deadLetterCount(reason: reason) }
            } catch {
                missing.append((partition.number, error))
            }
        }
        return (letters, missing)
    }

    /// Calls `body` with each, by partition and row; partitions whose shards cannot be read are passed over.
    ///
    /// - Parameter limit: not more than so many.
    public func forEach(
        reason: DeadLetter.Reason? = nil, limit: Int = .max, _ body: (FoundDeadLetter) -> Void
    ) throws(Failure) {
        var left = limit
        for partition in topology.partitionIDs where left > 0 {
            guard let reader = try? reader(partition.number) else { continue }  // `count` tells which are missing
            var last: Int64 = 0
            while left > 0 {
                let rows = try onStore { () throws(StoreError) in
                    try reader.deadLetters(after: last, limit: min(left, Self.chunkRows), reason: reason)
                }
                for row in rows { body(FoundDeadLetter(partition: partition.number, letter: row)) }
                left -= rows.count
                guard let end = rows.last else { break }
                last = end.row
            }
        }
    }

    /// The letters of these names, each at least one: several if they are alike in everything.
    ///
    /// - Throws: 1 if a name is nobody's.
    public func find(_ names: [DeadLetterName]) throws(Failure) -> [FoundDeadLetter] {
        var found: [FoundDeadLetter] = []
        let wanted = Set(names)
        try forEach { if wanted.contains($0.name) { found.append($0) } }
        let unknown = wanted.subtracting(found.map(\.name)).map(\.description).min()
        if let unknown { throw Failure(.failure, "there is no dead letter \(unknown)", advice: Self.listAdvice) }
        return found
    }

    /// The letter at that place.
    ///
    /// - Throws: 1 if there is none; 65, 74, 78 if its shard cannot be read.
    public func find(_ id: DeadLetterID) throws(Failure) -> FoundDeadLetter {
        guard id.partition < topology.partitions else {
            throw Failure(
                .failure,
                "there is no dead letter at \(id): the cluster has the partitions 0 to \(topology.partitions - 1)",
                advice: Self.listAdvice)
        }
        let reader = try reader(id.partition)
        guard let row = try onStore({ () throws(StoreError) in try reader.deadLetter(id.row) }) else {
            throw Failure(.failure, "there is no dead letter at \(id)", advice: Self.listAdvice)
        }
        return FoundDeadLetter(partition: id.partition, letter: row)
    }

    /// The whole batch of a damaged one, else empty.
    public func payload(of id: DeadLetterID) throws(Failure) -> [UInt8] {
        let reader = try reader(id.partition)
        return try onStore { () throws(StoreError) in try reader.deadLetterPayload(id.row) }
    }

    private static let listAdvice = "`tallymill dead-letters list` shows all."

    func reader(_ partition: UInt32) throws(Failure) -> ShardReader {
        let location = folder.shard(partition, of: topology)
        return try onStore { () throws(StoreError) in
            try ShardReader(at: location.path, expecting: location.expected)
        }
    }

    /// The number of the newest row of a partition, 0 if there never was one.
    func newestRow(_ partition: UInt32) throws(Failure) -> Int64 {
        let reader = try reader(partition)
        return try onStore { () throws(StoreError) in try reader.newestDeadLetter() }
    }

    /// Deletes letters of one partition, while its consumer may run; how many were there. The claims of their replays
    /// expire from then on, unless a twin is left that has the same.
    ///
    /// - Parameter keysWithTwins: the replay keys that several letters of the partition have.
    func delete(
        _ letters: [FoundDeadLetter], of partition: UInt32, _ keysWithTwins: Set<[UInt8]>
    ) throws(Failure) -> Int {
        let location = folder.shard(partition, of: topology)
        let rows = Set(letters.map(\.letter.row))
        var claims: Set<DisposedClaims> = []
        for found in letters {
            guard let key = found.letter.key else { continue }
            let replayKey = found.letter.replayKey
            if keysWithTwins.contains(replayKey),
                try twins(of: found).contains(where: { !rows.contains($0.letter.row) })
            {
                continue
            }
            claims.insert(DisposedClaims(id: replayKey, key: key))
        }
        return try onStore { () throws(StoreError) in
            try DeadLetterTable.delete(
                Array(rows), expiring: Array(claims), at: location.path,
                expecting: location.expected)
        }
    }
}
