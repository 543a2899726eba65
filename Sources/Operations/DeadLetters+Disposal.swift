// What becomes of a dead letter: its amount is delivered again, or it is given up.
//
// A replay goes the way of every increment: a producer, a queue, the shard's transaction. Its idempotency key names the
// letter by what never changes, not even when a rebalance gives it another file and row: the batch that it was in, when
// it was set aside, and what it holds. So a replay that was killed between the delivery and the deletion is repeated
// and counts nothing twice, however much later: the claim stays as long as the letter, and expires like a client's from
// the transaction on that deletes the letter.
//
// A replay that still does not fit leaves everything as it was: the shard gives its claim back, and the letter stays.
//
//   dead-letter:<producer>:<epoch>.<partition>.<sequence>:<two XXH64, seeds 0 and 1, of the rest>
//
// Letters of one batch may be alike in all of that: an aggregator cuts a sum of a key that leaves Int64 into several.
// Such twins are replayed together, whichever of them was named, with their ordinals behind the key, and deleted in one
// transaction, when all of them are counted: so an ordinal never comes to mean another of them. If one of them is
// dropped, the claims of all stay until the last of them goes.
//
// Letters that may have been counted all the same (`late`, `forgotten`) are replayed only if they are named, or their
// reason is: whoever says that has made up his mind that they were not.

import RedisQueue
public import ServiceKit
import ShardConsumer
import ShardStore
public import TallyCore

extension DeadLetters {
    /// Which letters.
    public enum Selection: Hashable, Sendable {
        case these([DeadLetterID])
        /// All that are there now, or all of a reason. Without one a replay takes those alone that were certainly not
        /// counted.
        case all(DeadLetter.Reason?)
    }

    /// What became of a letter.
    public enum Fate: Hashable, Sendable {
        /// Its amount is in the counter now.
        case counted
        /// It still does not fit, and stays what it is.
        case stillDead
    }

    /// The letters of a selection that exist, checked before anything is done.
    ///
    /// - Throws: 1 for a name that names nothing, or for a damaged batch that is to be replayed.
    public func check(_ selection: Selection, replays: Bool) throws(Failure) {
        guard case .these(let ids) = selection else { return }
        for id in ids {
            let found = try find(id)
            if replays, found.letter.key == nil {
                throw Failure(
                    .failure,
                    "dead letter \(found.name) is a damaged batch: what it held cannot be told, so not be replayed",
                    advice: "`tallymill dead-letters show \(found.name)` shows its bytes, `tallymill dead-letters drop "
                        + "\(found.name)` gives it up.")
            }
        }
    }

    /// Delivers letters again, waits until that is stored, and deletes them. Damaged batches are passed over.
    ///
    /// - Parameter tell: gets each letter when it is done with.
    /// - Throws: as `Courier`; what was told is done, the rest is as it was.
    public func replay(
        _ selection: Selection, _ access: RedisAccess, patience: Courier.Patience = Courier.Patience(),
        tell: (FoundDeadLetter, Fate) -> Void
    ) throws(Failure) {
        let courier = Courier(access, patience: patience)
        var reason = DeadLetter.Reason.overflow
        if case .all(let named?) = selection { reason = named }
        if !reason.canBeReplayed { return }
        var twins = TwinKeys(letters: self)
        try forEachChunk(selection, reason: reason) { letters throws(Failure) in
            guard let partition = letters.first?.partition else { return }
            try replay(letters, of: partition, try twins.keys(in: partition), courier, tell)
        }
    }

    /// Deletes letters.
    ///
    /// - Parameter tell: gets each letter, with its payload, before it is deleted.
    /// - Returns: how many were deleted.
    public func drop(
        _ selection: Selection, tell: (FoundDeadLetter, _ payload: [UInt8]) -> Void
    ) throws(Failure) -> Int {
        var dropped = 0
        var twins = TwinKeys(letters: self)
        let reason: DeadLetter.Reason? = if case .all(let reason) = selection { reason } else { nil }
        try forEachChunk(selection, reason: reason) { letters throws(Failure) in
            guard let partition = letters.first?.partition else { return }
            for letter in letters {
                tell(letter, letter.letter.payloadBytes > 0 ? try payload(of: letter.id) : [])
            }
            dropped += try delete(letters, of: partition, try twins.keys(in: partition))
        }
        return dropped
    }

    /// Calls `body` with letters of one partition at a time, at most `chunkRows` of them. Letters that come into being
    /// meanwhile are not among them.
    private func forEachChunk(
        _ selection: Selection, reason: DeadLetter.Reason?, _ body: ([FoundDeadLetter]) throws(Failure) -> Void
    ) throws(Failure) {
        switch selection {
        case .these(let ids):
            let byPartition = Dictionary(grouping: Set(ids), by: \.partition)
            for (_, ids) in byPartition.sorted(by: { $0.key < $1.key }) {
                let letters = try ids.sorted { $0.row < $1.row }.map { id throws(Failure) in try find(id) }
                try body(letters)
            }
        case .all:
            for partition in topology.partitionIDs.map(\.number) {
                let newest = try newestRow(partition)
                var last: Int64 = 0
                while last < newest {
                    // A reader holds the writer's log back: none is kept while a chunk is delivered.
                    let letters = try rows(of: partition, after: last, through: newest, reason)
                    guard let end = letters.last else { break }
                    try body(letters)
                    last = end.letter.row
                }
            }
        }
    }

    private func rows(
        of partition: UInt32, after last: Int64, through newest: Int64, _ reason: DeadLetter.Reason?
    ) throws(Failure) -> [FoundDeadLetter] {
        let reader = try reader(partition)
        let rows = try onStore { () throws(StoreError) in
            try reader.deadLetters(after: last, limit: Self.chunkRows, reason: reason)
        }
        return rows.filter { $0.row <= newest }.map { FoundDeadLetter(partition: partition, letter: $0) }
    }
}

/// The replay keys that several letters of a partition have, looked up once for each partition in turn.
private struct TwinKeys {
    let letters: DeadLetters
    private var partition: UInt32?
    private var keys: Set<[UInt8]> = []

    init(letters: DeadLetters) {
        self.letters = letters
    }

    mutating func keys(in partition: UInt32) throws(Failure) -> Set<[UInt8]> {
        if self.partition == partition { return keys }
        let reader = try letters.reader(partition)
        keys = Set(try onStore { () throws(StoreError) in try reader.deadLettersWithTwins() }.map(\.replayKey))
        self.partition = partition
        return keys
    }
}

// Replaying.
extension DeadLetters {
    private func replay(
        _ letters: [FoundDeadLetter], of partition: UInt32, _ keysWithTwins: Set<[UInt8]>, _ courier: Courier,
        _ tell: (FoundDeadLetter, Fate) -> Void
    ) throws(Failure) {
        var byKey: [[UInt8]: FoundDeadLetter] = [:]
        for letter in letters {
            let key = letter.letter.replayKey
            if !keysWithTwins.contains(key) {
                byKey[key] = letter
            } else if byKey[key] == nil {
                for (ordinal, twin) in try twins(of: letter).enumerated() {
                    byKey[ordinal == 0 ? key : key + Array(":\(ordinal)".utf8)] = twin
                }
            }
        }
        for (replayKey, letter) in byKey { try deliver(letter, replayKey, courier) }
        try courier.settle()
        _ = courier.takeStored()  // all of them are
        let dead = try stillDead(byKey, partition)
        // The others' amounts are in their counters: from here on their letters count for nothing. Twins go together.
        let kept = Set(dead.map { byKey[$0]?.letter.replayKey })
        let settled = byKey.values.filter { !kept.contains($0.letter.replayKey) }
        _ = try delete(settled, of: partition, keysWithTwins)  // one that is gone is as good
        for (replayKey, letter) in byKey.sorted(by: { $0.value.letter.row < $1.value.letter.row }) {
            tell(letter, dead.contains(replayKey) ? .stillDead : .counted)
        }
    }

    /// Those of the delivered keys that their shard has given back.
    private func stillDead(
        _ delivered: [[UInt8]: FoundDeadLetter], _ partition: UInt32
    ) throws(Failure) -> Set<[UInt8]> {
        let reader = try reader(partition)
        return try onStore { () throws(StoreError) in
            var dead: Set<[UInt8]> = []
            for (replayKey, found) in delivered {
                if try !reader.hasClaim(replayKey, key: found.letter.key ?? []) { dead.insert(replayKey) }
            }
            return dead
        }
    }

    /// All letters of the shard that are alike, whether they were asked for or not.
    func twins(of letter: FoundDeadLetter) throws(Failure) -> [FoundDeadLetter] {
        let reader = try reader(letter.partition)
        let siblings = try onStore { () throws(StoreError) in try reader.deadLetters(of: letter.letter.batch) }
        return siblings.filter { $0.replayKey == letter.letter.replayKey }
            .map { FoundDeadLetter(partition: letter.partition, letter: $0) }
    }

    private func deliver(
        _ found: FoundDeadLetter, _ replayKey: [UInt8], _ courier: Courier
    ) throws(Failure) {
        guard let key = found.letter.key, let sum = Int64(exactly: found.letter.amount.sum) else {
            throw Failure(
                .corrupt, "dead letter \(found.name) holds a sum that no increment can carry",
                advice: "`tallymill dead-letters show \(found.name)` shows it.")
        }
        var buffer = IncrementBuffer()
        let refusal = key.withUnsafeBytes { buffer.append(key: $0, delta: sum) }
        if let refusal { throw Failure(.corrupt, "\(refusal)", at: "dead letter \(found.name)") }
        _ = try courier.deliver(buffer, idempotencyKey: replayKey)  // `settle` waits for all
    }
}

extension DeadLetterRow {
    /// Under which a replay of this letter counts once: see the head of this file.
    var replayKey: [UInt8] {
        var rest = "\(timeMilliseconds) \(amount.increments) \(amount.sum) ".utf8.map { $0 }
        rest += (key ?? []) + [0] + (idempotencyKey ?? [])
        let digest = Bytes16(high: XXH64.hash(rest, seed: 0), low: XXH64.hash(rest, seed: 1))
        let stream = batch.stream
        let name = "\(stream.partition.epoch).\(stream.partition.number).\(batch.sequence)"
        return Array("dead-letter:\(stream.producer):\(name):\(digest)".utf8)
    }
}
