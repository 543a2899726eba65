// Who sent what: the identities that make a repeated batch recognisable for ever.

/// A random 128-bit id, new at every start of a producer, never persisted or reused.
public struct ProducerID: Hashable, Sendable, CustomStringConvertible {
    public let bytes: Bytes16

    public init(_ bytes: Bytes16) {
        self.bytes = bytes
    }

    /// A new id from `generator`.
    public static func random(using generator: inout some RandomNumberGenerator) -> ProducerID {
        ProducerID(.random(using: &generator))
    }

    public var description: String { bytes.description }
}

/// The identity of a shard file, in the file and in its key group's `meta`: random in the first epoch, else derived.
public struct ShardUUID: Hashable, Sendable, CustomStringConvertible {
    public let bytes: Bytes16

    public init(_ bytes: Bytes16) {
        self.bytes = bytes
    }

    public init?(_ text: some StringProtocol) {
        guard let bytes = Bytes16(text) else { return nil }
        self.init(bytes)
    }

    public static func random(using generator: inout some RandomNumberGenerator) -> ShardUUID {
        ShardUUID(.random(using: &generator))
    }

    public var description: String { bytes.description }
}

/// The random identity of a cluster, made by `init`.
public struct ClusterID: Hashable, Sendable, CustomStringConvertible {
    public let bytes: Bytes16

    public init(_ bytes: Bytes16) {
        self.bytes = bytes
    }

    public init?(_ text: some StringProtocol) {
        guard let bytes = Bytes16(text) else { return nil }
        self.init(bytes)
    }

    public static func random(using generator: inout some RandomNumberGenerator) -> ClusterID {
        ClusterID(.random(using: &generator))
    }

    public var description: String { bytes.description }
}

/// Sixteen bytes in the order in which they are written and printed.
public struct Bytes16: Hashable, Sendable, CustomStringConvertible {
    public static let count = 16
    let high: UInt64
    let low: UInt64

    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// Exactly 16 bytes, else nil.
    public init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count == Bytes16.count else { return nil }
        var words: (UInt64, UInt64) = (0, 0)
        for (index, byte) in bytes.enumerated() {
            if index < 8 { words.0 = words.0 << 8 | UInt64(byte) } else { words.1 = words.1 << 8 | UInt64(byte) }
        }
        self.init(high: words.0, low: words.1)
    }

    /// Exactly 32 hexadecimal digits, else nil.
    public init?(_ text: some StringProtocol) {
        guard let bytes = Hex.bytes(text) else { return nil }
        self.init(bytes)
    }

    public static func random(using generator: inout some RandomNumberGenerator) -> Bytes16 {
        Bytes16(high: generator.next(), low: generator.next())
    }

    public var array: [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(Bytes16.count)
        for word in [high, low] {
            for shift in stride(from: 56, through: 0, by: -8) { bytes.append(UInt8(truncatingIfNeeded: word >> shift)) }
        }
        return bytes
    }

    public var description: String { Hex.text(array) }
}

/// Partition `number` of epoch `epoch`: one Redis list with its bookkeeping, and one shard file.
public struct PartitionID: Hashable, Sendable, CustomStringConvertible {
    public let epoch: UInt32
    public let number: UInt32

    public init(epoch: UInt32, number: UInt32) {
        self.epoch = epoch
        self.number = number
    }

    public var description: String { "e\(epoch).p\(number)" }

    /// Reads what `description` writes; nil for anything else.
    public init?(_ text: some StringProtocol) {
        let parts = text.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count == 2, parts[0].first == "e", parts[1].first == "p",
            let epoch = UInt32(parts[0].dropFirst()), let number = UInt32(parts[1].dropFirst())
        else { return nil }
        self.init(epoch: epoch, number: number)
        if description != text { return nil }
    }
}

/// One producer's sequence of batches into one partition.
public struct StreamID: Hashable, Sendable {
    public let partition: PartitionID
    public let producer: ProducerID

    public init(partition: PartitionID, producer: ProducerID) {
        self.partition = partition
        self.producer = producer
    }
}

/// What a producer has released of a stream: its shard was seen to have every batch through `sequence`.
public struct StreamFloor: Hashable, Sendable {
    public let stream: StreamID
    /// From 1.
    public let sequence: UInt64

    public init(stream: StreamID, sequence: UInt64) {
        self.stream = stream
        self.sequence = sequence
    }
}

/// The identity under which a batch was frozen. Sequences are dense and start at 1.
public struct BatchID: Hashable, Sendable, CustomStringConvertible {
    public let stream: StreamID
    public let sequence: UInt64

    public init(stream: StreamID, sequence: UInt64) {
        self.stream = stream
        self.sequence = sequence
    }

    public var description: String { "\(stream.partition) \(stream.producer) \(sequence)" }
}

/// How many increments, and their sum. The sum wraps at 128 bits, which no honest stream can reach.
public struct Amount: Hashable, Sendable {
    public var increments: UInt64
    public var sum: Int128

    public static let zero = Amount(increments: 0, sum: 0)

    public init(increments: UInt64, sum: Int128) {
        self.increments = increments
        self.sum = sum
    }

    public static func + (left: Amount, right: Amount) -> Amount {
        Amount(increments: left.increments &+ right.increments, sum: left.sum &+ right.sum)
    }

    public static func - (left: Amount, right: Amount) -> Amount {
        Amount(increments: left.increments &- right.increments, sum: left.sum &- right.sum)
    }

    public static func += (left: inout Amount, right: Amount) {
        left = left + right
    }
}
