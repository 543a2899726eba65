// A key group as a whole, for `verify` and `audit`: the pages of the function `ledger` put together. How the parts
// belong to one moment is explained in FunctionLibrary+Ledger.swift.

public import TallyCore

/// All of a key group at one moment. What is kept of each entry is the reader's choice.
public struct QueueLedger<Entry> {
    public let shard: ShardUUID
    public let isSealed: Bool
    /// Payload in the list, as the group keeps count of it.
    public let bytes: Int
    /// Payload in the list, added up.
    public let entryBytes: Int
    /// Oldest first.
    public let entries: [Entry]
    /// The last sequence pushed, by producer.
    public let seqs: [ProducerID: UInt64]
    public let applied: [ProducerID: UInt64]
}

extension QueueLedger: Sendable where Entry: Sendable {}

/// The answer to the question for it.
public enum LedgerReply<Entry> {
    case ledger(QueueLedger<Entry>)
    case noTopology
    /// The pages do not fit together: somebody changed the keys by hand meanwhile, or the list grows faster than it
    /// can be read. Ask again.
    case torn
}

extension LedgerReply: Sendable where Entry: Sendable {}

/// How a list is read.
public struct LedgerPages: Hashable, Sendable {
    /// Bytes and entries that Redis looks at for one answer.
    public var bytes = Limits.ledgerPageBytes
    public var batches = Limits.ledgerPageBatches
    /// What is returned of an entry: whole entries, unless less is enough.
    public var entryBytes = Limits.encodedBatchBytesMax
    /// After so many the list is growing faster than it is read.
    public var pagesMax = 1 << 14

    public init() {}

    /// Enough for the header of an entry.
    public static var headers: LedgerPages {
        var pages = LedgerPages()
        pages.entryBytes = ClusterKeys.inspectedHeadBytes
        return pages
    }
}

extension ClusterKeys {
    /// Reads a key group as of one moment, which lies between the call and its return.
    ///
    /// - Parameters:
    ///   - read: makes of an entry's bytes, cut to `pages.entryBytes`, what is to be kept. It may be called for entries
    ///     that have left the list by then, and whose result is dropped.
    ///   - betweenPages: called before each page but the first.
    public func ledger<Entry>(
        of partition: PartitionID, _ pages: LedgerPages = LedgerPages(), betweenPages: () -> Void = {},
        read: ([UInt8]) -> Entry
    ) throws(RedisError) -> LedgerReply<Entry> {
        var walk = LedgerWalk<Entry>()
        for _ in 0..<pages.pagesMax {
            let answer = try call(.ledger, partition) { command in
                command.append(walk.next)
                command.append(pages.bytes)
                command.append(pages.batches)
                command.append(pages.entryBytes)
            }
            switch answer.word {
            case "NOTOPO": return .noTopology
            case "PART", "OK": break
            default: throw answer.unexpected
            }
            guard try walk.take(number: answer.integer(1), entries: answer.array(2), answer, read) else { return .torn }
            if answer.word == "OK" { return .ledger(try walk.finish(answer)) }
            betweenPages()
        }
        return .torn
    }
}

/// What has been read so far.
private struct LedgerWalk<Entry> {
    private var entries: [Entry] = []
    private var lengths: [Int] = []
    /// The number of the first of them.
    private var first: UInt64 = 0
    /// Producer and sequence of the last of them.
    private var anchor: ArraySlice<UInt8> = []

    /// The number of the entry to go on with: the last one again, which shows that the numbers still hold.
    var next: UInt64 { entries.isEmpty ? 0 : first + UInt64(entries.count) - 1 }

    /// Takes a page over; false if it does not fit to what is here.
    mutating func take(
        number: UInt64, entries page: [RedisReply], _ answer: FunctionAnswer, _ read: ([UInt8]) -> Entry
    ) throws(RedisError) -> Bool {
        var isAnchor = false
        if !entries.isEmpty {
            if number < next || page.isEmpty && number == next { return false }
            isAnchor = number == next
            // All that was read has left the list.
            if !isAnchor { entries = []; lengths = [] }
        }
        if entries.isEmpty { first = number }
        for position in stride(from: 0, to: page.count - 1, by: 2) {
            guard case .bytes(let bytes) = page[position], case .integer(let length) = page[position + 1],
                (0...Int64(1 << 30)).contains(length)  // Redis keeps no longer one
            else {
                throw answer.damaged(2)
            }
            let identity = bytes.dropFirst(BatchFormat.identityRange.lowerBound).prefix(BatchFormat.identityRange.count)
            if isAnchor {
                guard identity == anchor else { return false }
                isAnchor = false
                continue
            }
            entries.append(read(bytes))
            lengths.append(Int(length))
            anchor = identity
        }
        return true
    }

    /// The page that was taken last reached the end of the list.
    func finish(_ answer: FunctionAnswer) throws(RedisError) -> QueueLedger<Entry> {
        let head = try answer.integer(3)
        let gone = Int(clamping: head > first ? head - first : 0)
        return QueueLedger(
            shard: try answer.shard(4), isSealed: try answer.isSealed(5), bytes: try answer.count(6),
            entryBytes: lengths.dropFirst(gone).reduce(0, +), entries: Array(entries.dropFirst(gone)),
            seqs: try answer.watermarks(7), applied: try answer.watermarks(8))
    }
}
