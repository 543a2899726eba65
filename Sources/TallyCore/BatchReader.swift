// Reads what BatchWriter wrote, believing nothing: lengths, counts and both checksums are verified before the first
// entry is handed out, and the walk ends exactly at the last byte.

/// Why bytes are not a batch.
public enum BatchError: Error, Hashable, Sendable {
    /// Producer and sequence cannot be trusted: the consumer stops.
    case unreadable(String)
    /// Written by a newer release: the consumer stops, to be upgraded first.
    case newerVersion(UInt8)
    /// The identity is good, the rest is not: a dead letter.
    case damaged(BatchHeader, String)
}

extension BatchHeader {
    /// Reads the header alone, which is all that a look at the age or the ledger of a queue needs.
    public init(reading bytes: UnsafeRawBufferPointer) throws(BatchError) {
        guard bytes.count >= BatchFormat.emptyBatchBytes else {
            throw .unreadable("\(bytes.count == 1 ? "1 byte is" : "\(bytes.count) bytes are") too few for a batch")
        }
        guard bytes.prefix(BatchFormat.magic.count).elementsEqual(BatchFormat.magic) else {
            throw .unreadable("it does not begin with TMB")
        }
        let version = bytes[3]
        if version > BatchFormat.version { throw .newerVersion(version) }
        var checksum = ByteReader(bytes, at: BatchFormat.headerChecksumOffset)
        let covered = UnsafeRawBufferPointer(rebasing: bytes[..<BatchFormat.headerChecksumOffset])
        guard version == BatchFormat.version, checksum.integer(UInt64.self) == XXH64.hash(covered) else {
            throw .unreadable("the checksum of its header is wrong")
        }
        self = try BatchHeader.fields(of: bytes)
    }

    private static func fields(of bytes: UnsafeRawBufferPointer) throws(BatchError) -> BatchHeader {
        var reader = ByteReader(bytes, at: BatchFormat.identityRange.lowerBound)
        guard let producer = reader.slice(Bytes16.count).flatMap({ Bytes16($0) }),
            let sequence = reader.integer(UInt64.self),
            let epoch = reader.integer(UInt32.self), let number = reader.integer(UInt32.self),
            reader.integer(UInt32.self) != nil,
            let frozenAt = reader.integer(UInt64.self),
            let increments = reader.integer(UInt64.self), let sum = reader.integer(Int128.self),
            let entries = reader.integer(UInt32.self), let groups = reader.integer(UInt32.self),
            let originProducer = reader.slice(Bytes16.count).flatMap({ Bytes16($0) }),
            let originSequence = reader.integer(UInt64.self),
            let originEpoch = reader.integer(UInt32.self), let originNumber = reader.integer(UInt32.self),
            (1...Limits.sequenceMax).contains(sequence), originSequence <= Limits.sequenceMax
        else { throw .unreadable("its header is out of range") }
        let origin =
            originSequence == 0
            ? nil
            : BatchID(
                stream: StreamID(
                    partition: PartitionID(epoch: originEpoch, number: originNumber),
                    producer: ProducerID(originProducer)),
                sequence: originSequence)
        let stream = StreamID(
            partition: PartitionID(epoch: epoch, number: number), producer: ProducerID(producer))
        return BatchHeader(
            id: BatchID(stream: stream, sequence: sequence), frozenAt: frozenAt,
            cumulative: Amount(increments: increments, sum: sum), entries: entries, groups: groups, origin: origin)
    }
}

/// A verified batch, readable while the bytes under it live.
public struct BatchReader {
    public let header: BatchHeader
    /// What the entries add up to.
    public let amount: Amount
    private let bytes: UnsafeRawBufferPointer

    /// One sum of a key; `idempotencyKey` is nil for a plain one.
    public struct Entry {
        public let idempotencyKey: UnsafeRawBufferPointer?
        public let key: UnsafeRawBufferPointer
        public let increments: UInt64
        public let sum: Int64
    }

    /// Verifies all of `bytes`.
    public init(_ bytes: UnsafeRawBufferPointer) throws(BatchError) {
        let header = try BatchHeader(reading: bytes)
        var length = ByteReader(bytes, at: BatchFormat.lengthOffset)
        guard length.integer(UInt32.self).map(Int.init) == bytes.count else {
            throw .damaged(header, "its length is wrong")
        }
        let end = bytes.count - BatchFormat.checksumBytes
        var checksum = ByteReader(bytes, at: end)
        let covered = UnsafeRawBufferPointer(rebasing: bytes[..<end])
        guard checksum.integer(UInt64.self) == XXH64.hash(covered) else {
            throw .damaged(header, "its checksum is wrong")
        }
        self.header = header
        self.bytes = covered
        var amount = Amount.zero
        let complete = BatchReader.walk(covered, header) { entry in
            if Key.validateStored(entry.key) != nil || entry.increments == 0 { return false }
            amount += Amount(increments: entry.increments, sum: Int128(entry.sum))
            return true
        }
        guard complete else { throw .damaged(header, "its entries do not decode") }
        self.amount = amount
    }

    /// Bytes of the whole batch.
    var byteCount: Int { bytes.count + BatchFormat.checksumBytes }

    /// Calls `body` with each entry, plain ones first, in the order in which they were written.
    public func forEach<Failure: Error>(_ body: (Entry) throws(Failure) -> Void) throws(Failure) {
        try BatchReader.forEach(bytes, header, body)
    }

    /// Calls `body` with each entry of a batch of which a reader was made before, without verifying it again.
    static func forEach<Failure: Error>(
        ofVerified bytes: UnsafeRawBufferPointer, _ header: BatchHeader, _ body: (Entry) throws(Failure) -> Void
    ) throws(Failure) {
        let covered = UnsafeRawBufferPointer(rebasing: bytes.dropLast(BatchFormat.checksumBytes))
        try forEach(covered, header, body)
    }

    private static func forEach<Failure: Error>(
        _ bytes: UnsafeRawBufferPointer, _ header: BatchHeader, _ body: (Entry) throws(Failure) -> Void
    ) throws(Failure) {
        var failure: Failure?
        let complete = walk(bytes, header) { entry in
            do throws(Failure) { try body(entry) } catch { failure = error }
            return failure == nil
        }
        if let failure { throw failure }
        precondition(complete, "a batch that was verified no longer decodes")
    }

    /// False if the entries do not decode or `body` stops.
    private static func walk(
        _ bytes: UnsafeRawBufferPointer, _ header: BatchHeader, _ body: (Entry) -> Bool
    ) -> Bool {
        var reader = ByteReader(bytes, at: BatchFormat.headerBytes)
        guard walkEntries(header.entries, of: nil, in: &reader, body) else { return false }
        for _ in 0..<header.groups {
            guard let length = reader.integer(UInt8.self),
                (1...Limits.idempotencyKeyBytesMax).contains(Int(length)), let group = reader.slice(Int(length)),
                let count = reader.integer(UInt32.self), walkEntries(count, of: group, in: &reader, body)
            else { return false }
        }
        return reader.isAtEnd
    }

    private static func walkEntries(
        _ count: UInt32, of group: UnsafeRawBufferPointer?, in reader: inout ByteReader, _ body: (Entry) -> Bool
    ) -> Bool {
        for _ in 0..<count {
            guard let length = reader.varint(), let key = reader.slice(Int(clamping: length)),
                let increments = reader.varint(), let sum = reader.zigzag(),
                body(Entry(idempotencyKey: group, key: key, increments: increments, sum: sum))
            else { return false }
        }
        return true
    }
}
