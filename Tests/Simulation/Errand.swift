// What a tool does beside changes of epoch, one step at a time; between any two of them it may be killed.

import TallyCore

/// One command of an operator.
protocol Errand {
    /// What a kill interrupts.
    var point: String { get }
    /// Its producer, if it has one.
    var node: SimulatedNode? { get }
    /// One step; true when nothing is left.
    mutating func act(in world: World) -> Bool
}

/// A command that waits for others ends some time: "run this again".
private struct Patience {
    private var left = 800

    mutating func isOver() -> Bool {
        left -= 1
        return left <= 0
    }
}

/// `rebalance purge`: the files of earlier epochs, and what the shards remember of all but the last of them.
struct Purge: Errand {
    private var shardsLeft: [PartitionID] = []
    private var epoch: UInt32 = 0
    private var isBegun = false

    let node: SimulatedNode? = nil
    var point: String { isBegun ? "purge: forget" : "purge: look" }

    mutating func act(in world: World) -> Bool {
        if !isBegun { return begin(in: world) }
        if let partition = shardsLeft.popLast() {
            if let file = world.files[partition] { forget(file, world.mutation) }
            return false
        }
        for old in world.cluster.earlier {
            for partition in old.partitionIDs { world.files[partition] = nil }
        }
        world.counts.purges += 1
        return true
    }

    /// The cluster file first: what is half forgotten is purged.
    private mutating func begin(in world: World) -> Bool {
        let earlier = world.cluster.earlier
        epoch = earlier.count < 2 ? 0 : earlier[earlier.count - 2].epoch
        if world.mutation == .purgeAll, let last = earlier.last { epoch = last.epoch }
        guard world.isReady, !isRefused(in: world) else { return true }
        for index in earlier.indices { world.cluster.earlier[index].isPurged = true }
        shardsLeft = world.topology.partitionIDs
        isBegun = true
        world.log("PURGE up to e\(epoch)")
        world.note(42 << 48 ^ UInt64(epoch))
        return false
    }

    /// While a batch waits that would not be recognised, or an old queue was consumed by another file.
    private func isRefused(in world: World) -> Bool {
        for (partition, group) in world.redis.groups {
            let isOld = partition.epoch < world.epoch
            if world.mutation == .purgeAll {
                if isOld, !group.queue.isEmpty { return true }
                continue
            }
            for batch in group.queue {
                guard let header = batch.withUnsafeBytes({ try? BatchHeader(reading: $0) }) else {  // damaged
                    return true
                }
                if (header.origin ?? header.id).stream.partition.epoch <= epoch { return true }
            }
            if isOld, let file = world.files[partition], !file.missing(from: group.applied).isEmpty { return true }
        }
        return false
    }

    private func forget(_ file: ModelShard, _ mutation: Mutation?) {
        file.tables.records = file.tables.records.filter { $0.key.partition.epoch > epoch }
        // What is recorded of epochs that were forgotten before is what was buried of them.
        let known = file.tables.forgotten
        file.tables.routed = file.tables.routed.filter {
            let origin = $0.origin.stream.partition.epoch
            return origin > epoch || origin <= known
        }
        if mutation != .purgeAll, mutation != .unmarkedPurge {
            file.tables.forgotten = max(file.tables.forgotten, epoch)
        }
    }
}

/// `import --queued`: the lines under the import's claim, and its name in every shard when all are stored.
struct QueuedImport: Errand {
    let request: Int
    private var sent = 0
    private(set) var node: SimulatedNode?
    private var shardsLeft: [PartitionID]?
    private var patience = Patience()

    init(_ request: Int) { self.request = request }

    var point: String { shardsLeft == nil ? "import: send" : "import: name" }

    mutating func act(in world: World) -> Bool {
        guard let id = world.oracle[request].importID, !world.isImported(id) else { return true }
        let node = node ?? world.newNode()
        self.node = node
        if shardsLeft == nil {
            send(id, by: node, in: world)
            return patience.isOver()
        }
        if let partition = shardsLeft?.popLast() {
            if let file = world.files[partition] { file.tables.complete(id) }
            return false
        }
        world.complete(request)
        return true
    }

    private mutating func send(_ id: Bytes16, by node: SimulatedNode, in world: World) {
        let lines = world.oracle[request].increments
        if sent < lines.count {
            if node.load([lines[sent]], as: Array("import:\(id)".utf8), in: world) {
                world.oracle.attempt(request)
                sent += 1
            }
        } else if !node.isAdopting {
            shardsLeft = world.topology.partitionIDs
        }
    }
}

/// `dead-letters replay` of one letter, under the letter's claim; the letter goes when that is counted.
struct LetterReplay: Errand {
    private var letter: DeadLetter?
    private(set) var node: SimulatedNode?
    private var isSent = false
    private var patience = Patience()

    var point: String { isSent ? "replay: store" : "replay: send" }

    mutating func act(in world: World) -> Bool {
        guard let letter = letter ?? choose(in: world), let key = letter.key else { return true }
        if self.letter == nil {
            world.log(
                "REPLAY of \(letter.amount.sum) of \(letter.batch) as \(String(decoding: letter.claim, as: UTF8.self))")
        }
        self.letter = letter
        let node = node ?? world.newNode()
        self.node = node
        if !isSent {
            let line = Oracle.Increment(key: key, delta: Int64(letter.amount.sum))
            isSent = node.load([line], as: letter.claim, in: world)
            return patience.isOver()
        }
        if node.isAdopting { return patience.isOver() }
        guard let file = world.currentFile(of: key), file.tables.isReplayed(letter) else { return true }
        file.tables.dispose(letter)
        world.log("DISPOSE of \(letter.amount.sum) of \(letter.batch)")
        world.counts.replayedLetters += 1
        return true
    }

    /// One that fits, and has no twin.
    private func choose(in world: World) -> DeadLetter? {
        let letters = world.topology.partitionIDs.flatMap { world.files[$0]?.tables.deadLetters ?? [] }
        let fitting = letters.filter { letter in
            guard letter.reason == .overflow, let key = letter.key else { return false }
            let count = world.currentFile(of: key)?.tables.counters[key] ?? 0
            return Int64(exactly: Int128(count) + letter.amount.sum) != nil && letters.count { $0 == letter } == 1
        }
        return fitting.isEmpty ? nil : world.random.pick(fitting)
    }
}

extension DeadLetter {
    /// Under which it is replayed.
    var claim: [UInt8] {
        let key = key ?? []
        let low = XXH64.hash(batch.identityBytes + key + (idempotencyKey ?? []) + Array("\(amount.sum)".utf8))
        return Array("dead-letter:\(Bytes16(high: batch.sequence, low: low)):1".utf8)
    }
}

extension ModelShard.Tables {
    /// The import is loaded as a whole: its claims are not needed any more.
    mutating func complete(_ id: Bytes16) {
        if mutation != .unnamedImport { imports.insert(id) }
        idempotency = idempotency.filter { row, _ in ToolClaim(row.idempotencyKey) != .imported(id) }
    }

    /// Whether something of the import has been counted.
    func knows(_ id: Bytes16) -> Bool {
        imports.contains(id) || idempotency.keys.contains { ToolClaim($0.idempotencyKey) == .imported(id) }
    }

    /// The letter goes; its claim expires like others from now on.
    mutating func dispose(_ letter: DeadLetter) {
        deadLetters.removeAll { $0 == letter }
        let row = ModelShard.IdempotentKey(idempotencyKey: letter.claim, key: letter.key ?? [])
        if idempotency[row] != nil { idempotency[row] = claimClock.time }
    }

    /// Whether a replay of the letter was counted: it is listed and does not stand for anything.
    func isReplayed(_ letter: DeadLetter) -> Bool {
        idempotency[ModelShard.IdempotentKey(idempotencyKey: letter.claim, key: letter.key ?? [])] != nil
    }
}

extension World {
    /// Whether the import is complete, as far as one can see: a part of its shards may still be unnamed.
    func isImported(_ id: Bytes16) -> Bool {
        if cluster.imports.contains(id) { return true }
        return topology.partitionIDs.allSatisfy { files[$0]?.tables.imports.contains(id) == true }
    }

    /// Whether an import may be loaded directly: nothing is there, nothing waits, and nothing of it was counted.
    func isEmpty(for id: Bytes16) -> Bool {
        let shards = topology.partitionIDs.compactMap { files[$0] }
        if shards.contains(where: { !$0.tables.counters.isEmpty }) { return false }
        if mutation == .blindImport { return true }
        return redis.groups.values.allSatisfy(\.queue.isEmpty) && !shards.contains { $0.tables.knows(id) }
    }

    /// Whether the drain before a direct import has brought something of it.
    func hasArrived(_ id: Bytes16, from old: ClusterFile.Epoch) -> Bool {
        mutation != .blindImport && old.partitionIDs.contains { files[$0]?.tables.knows(id) == true }
    }

    /// The operator is told that an import is complete.
    func complete(_ request: Int) {
        if oracle[request].told < .stored { counts.imports += 1 }
        oracle.attempt(request)
        oracle.acknowledge(request, .stored)
        log("IMPORTED r\(request)")
        note(43 << 48 ^ UInt64(request))
        checkStored(request)
    }
}
