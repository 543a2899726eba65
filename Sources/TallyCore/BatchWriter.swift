// Cuts the entries of one stream into batches of bounded size, with dense sequences and a running ledger.
//
// An entry is never split, so a batch exceeds the limit only if a single entry does. Entries of equal keys are cut
// like any others, except for re-routed parts: those stay whole, because (origin, key) is claimed once per batch.

/// Writes consecutive batches of one stream.
struct BatchWriter {
    let stream: StreamID
    private let frozenAt: UInt64
    private let origin: BatchID?
    private let limitBytes: Int
    /// The sequence that the next batch gets.
    private(set) var nextSequence: UInt64
    /// The stream's ledger up to the last entry written.
    private(set) var cumulative: Amount
    /// The stream's history through the last batch closed.
    private(set) var chain: UInt64
    private(set) var batches: [Batch] = []
    private var payload: [UInt8] = []
    private var entries: UInt32 = 0
    private var groups: UInt32 = 0
    private var group: OpenGroup?

    private struct OpenGroup {
        let idempotencyKey: [UInt8]
        let countOffset: Int
        var entries: UInt32
    }

    /// - Parameters:
    ///   - limitBytes: the size at which a batch is closed; `Int.max` for a part that must stay whole.
    ///   - sizeHint: bytes to reserve.
    init(
        stream: StreamID, nextSequence: UInt64, cumulative: Amount, chain: UInt64 = 0, frozenAt: UInt64,
        origin: BatchID?, limitBytes: Int, sizeHint: Int
    ) {
        self.stream = stream
        self.nextSequence = nextSequence
        self.cumulative = cumulative
        self.chain = chain
        self.frozenAt = frozenAt
        self.origin = origin
        self.limitBytes = limitBytes
        payload.reserveCapacity(min(limitBytes, sizeHint) + BatchFormat.emptyBatchBytes)
        startBatch()
    }

    /// Appends an entry to the open group, or to the plain entries if `beginGroup` was not called.
    mutating func append(key: UnsafeRawBufferPointer, increments: UInt64, sum: Int64) {
        if payload.count + key.count + BatchFormat.entryOverheadMax + BatchFormat.checksumBytes > limitBytes {
            cut()
        }
        payload.append(varint: UInt64(key.count))
        payload.append(contentsOf: key)
        payload.append(varint: increments)
        payload.append(zigzag: sum)
        cumulative += Amount(increments: increments, sum: Int128(sum))
        if group != nil { group?.entries += 1 } else { entries += 1 }
    }

    /// All following entries, up to the next call, belong to this idempotency key.
    mutating func beginGroup(_ idempotencyKey: [UInt8]) {
        precondition((1...Limits.idempotencyKeyBytesMax).contains(idempotencyKey.count))
        endGroup()
        if payload.count + BatchFormat.groupOverheadMax > limitBytes { cut() }
        payload.append(UInt8(idempotencyKey.count))
        payload.append(contentsOf: idempotencyKey)
        group = OpenGroup(idempotencyKey: idempotencyKey, countOffset: payload.count, entries: 0)
        payload.append(littleEndian: UInt32(0))
        groups += 1
    }

    /// Closes the last batch and returns all of them.
    mutating func finish() -> [Batch] {
        endGroup()
        closeBatch()
        return batches
    }

    private mutating func endGroup() {
        guard let open = group else { return }
        payload.store(littleEndian: open.entries, at: open.countOffset)
        group = nil
    }

    private mutating func cut() {
        if payload.count == BatchFormat.headerBytes { return }
        let interrupted = group?.idempotencyKey
        endGroup()
        closeBatch()
        startBatch()
        if let interrupted { beginGroup(interrupted) }
    }

    private mutating func startBatch() {
        payload.append(contentsOf: repeatElement(0, count: BatchFormat.headerBytes))
        entries = 0
        groups = 0
    }

    private mutating func closeBatch() {
        guard entries > 0 || groups > 0 else { return }
        let length = payload.count + BatchFormat.checksumBytes
        precondition(length <= Limits.encodedBatchBytesMax, "a batch of \(length) bytes")
        precondition(nextSequence <= Limits.sequenceMax, "the sequence of \(stream) is used up")
        let id = BatchID(stream: stream, sequence: nextSequence)
        var header: [UInt8] = []
        header.reserveCapacity(BatchFormat.headerBytes)
        BatchHeader(
            id: id, frozenAt: frozenAt, cumulative: cumulative, entries: entries, groups: groups, origin: origin
        ).append(to: &header, length: length)
        payload.withUnsafeMutableBytes { $0.copyBytes(from: header) }
        let checksum = XXH64.hash(payload)
        payload.append(littleEndian: checksum)
        let link = BatchChain(after: chain, checksum: checksum)
        chain = link.through
        batches.append(Batch(id: id, bytes: payload, chain: link))
        payload = []
        nextSequence += 1
    }
}
