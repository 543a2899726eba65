// One shard of the epoch that ends, read once and in order: counters that stay at home are handed on, those that move
// are written to runs. Every key is checked: a shard that holds another's key may hold counts that are also there, and
// adding them up would count twice.

import ServiceKit
import ShardConsumer
import ShardStore
import TallyCore

/// A walk over the counters of an old shard that stay where they are.
final class OldShard: KeyCursor {
    private let location: ShardLocation
    private let siblings: [ShardLocation]
    private let placement: Placement
    /// This shard's number, which is also the new one of keys that stay.
    private let number: Int
    private let reader: ShardReader
    private let cursor: CounterCursor
    private let moving: RunWriter
    private var steps: ProgressSteps
    private(set) var digest = RowDigest.empty
    private(set) var moved = 0

    /// - Parameters:
    ///   - siblings: all shards of the old epoch, in order.
    ///   - moving: takes the counters that change their number.
    init(
        _ number: Int, of siblings: [ShardLocation], _ placement: Placement, moving: RunWriter,
        _ steps: ProgressSteps
    ) throws(Failure) {
        location = siblings[number]
        self.siblings = siblings
        self.placement = placement
        self.number = number
        self.moving = moving
        self.steps = steps
        (reader, cursor) = try onStore { () throws(StoreError) in
            let reader = try ShardReader(at: siblings[number].path, expecting: siblings[number].expected)
            return (reader, try reader.counters())
        }
    }

    var key: UnsafeRawBufferPointer { cursor.key }
    var value: Int64 { cursor.value }
    var updatedMilliseconds: UInt64 { cursor.updatedMilliseconds }

    /// Goes to the next counter that stays; those that move are written on the way.
    func next() throws(Failure) -> Bool {
        while try onStore({ () throws(StoreError) in try cursor.next() }) {
            try steps.countRow()
            let key = cursor.key
            guard (1...Limits.keyBytesMax).contains(key.count) else { throw invalidKey(key.count) }
            let hash = XXH64.hash(key)
            digest.add(hash: hash, value: cursor.value, updatedMilliseconds: cursor.updatedMilliseconds)
            guard let place = placement.destination(ofHash: hash, foundIn: number) else {
                throw try misplaced(Array(key), hash)
            }
            if place == number { return true }
            moved += 1
            try moving.append(
                key, value: cursor.value, updatedMilliseconds: cursor.updatedMilliseconds, to: place)
        }
        try steps.tell()
        try checkFigures()
        return false
    }

    /// The file says itself how much it holds.
    private func checkFigures() throws(Failure) {
        let figures = try onStore { () throws(StoreError) in try reader.statistics() }
        if figures.keys != digest.keys || figures.total != digest.sum {
            throw Failure(
                .corrupt,
                "it holds \(Humanized.count(digest.keys, "key")) with the sum \(digest.sum), its meta says"
                    + " \(figures.keys) and \(figures.total)",
                at: location.path, advice: "`tallymill verify` shows what is wrong; restore the file from a backup.")
        }
    }

    private func invalidKey(_ bytes: Int) -> Failure {
        Failure(
            .corrupt, "it holds a key of \(bytes) bytes", at: location.path,
            advice: "`tallymill verify` shows what is wrong; restore the file from a backup.")
    }

    private func misplaced(_ key: [UInt8], _ hash: UInt64) throws(Failure) -> Failure {
        let right = siblings[placement.old.partition(ofHash: hash)]
        let name = JSONText.quote(String(decoding: key, as: UTF8.self))
        let isDoubled = try onStore { () throws(StoreError) in
            guard let key = try? Key(stored: key) else { return false }  // no key at all cannot be in the other file
            return try ShardReader(at: right.path, expecting: right.expected).values(of: [key])[0] != nil
        }
        let what =
            isDoubled
            ? "the key \(name) is in two shards: here and in \(right.path), where it belongs"
            : "the key \(name) belongs into \(right.path)"
        return Failure(
            .corrupt, what, at: location.path,
            advice: "`tallymill verify` lists every such key; put the right copies of both files back.")
    }
}

/// The counters of a run. One thread owns it.
final class MovedCounters: KeyCursor {
    private let blocks: RunBlocks
    private(set) var key = UnsafeRawBufferPointer(start: nil, count: 0)
    private(set) var value: Int64 = 0
    private(set) var updatedMilliseconds: UInt64 = 0

    init(_ run: Run, _ scratch: ScratchFile) {
        blocks = RunBlocks(run, scratch)
    }

    func next() throws(Failure) -> Bool {
        guard try blocks.hasRow() else { return false }
        let keyBytes = Int(blocks.integer(UInt16.self))
        value = blocks.integer()
        updatedMilliseconds = blocks.integer()
        key = blocks.take(keyBytes)
        return true
    }
}

/// Where a counter of a new shard comes from.
enum CarriedCounters: KeyCursor {
    case stayed(OldShard)
    case moved(MovedCounters)

    func next() throws(Failure) -> Bool {
        switch self {
        case .stayed(let shard): try shard.next()
        case .moved(let run): try run.next()
        }
    }

    var key: UnsafeRawBufferPointer {
        switch self {
        case .stayed(let shard): shard.key
        case .moved(let run): run.key
        }
    }

    var value: Int64 {
        switch self {
        case .stayed(let shard): shard.value
        case .moved(let run): run.value
        }
    }

    var updatedMilliseconds: UInt64 {
        switch self {
        case .stayed(let shard): shard.updatedMilliseconds
        case .moved(let run): run.updatedMilliseconds
        }
    }
}
