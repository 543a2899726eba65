// Batches that are gone for good, as the operator has accepted: they were committed into a file that nobody has any
// more. The ledger names them, so that what is missing in a total can be looked up.

/// A range of a stream that is lost.
public struct StreamLoss: Hashable, Sendable {
    public let stream: StreamID
    public let sequences: ClosedRange<UInt64>
    /// What they held; nil until the next batch of the stream tells.
    public var amount: Amount?

    public init(stream: StreamID, sequences: ClosedRange<UInt64>, amount: Amount? = nil) {
        self.stream = stream
        self.sequences = sequences
        self.amount = amount
    }

    public func contains(_ batch: BatchID) -> Bool {
        stream == batch.stream && sequences.contains(batch.sequence)
    }

    public func isDirectly(before batch: BatchID) -> Bool {
        stream == batch.stream && sequences.upperBound + 1 == batch.sequence
    }

    public var batches: UInt64 { sequences.upperBound - sequences.lowerBound + 1 }
}

extension StreamID {
    /// A range of its batches as operators name it, such as `e3.p5/<32 hex digits>:6-10`: sequences of one producer run
    /// alike where requests touch all partitions.
    public func name(of sequences: ClosedRange<UInt64>) -> String {
        "\(partition)/\(producer):\(sequences.lowerBound)-\(sequences.upperBound)"
    }
}
