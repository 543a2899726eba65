// What a file lacks that its queue has seen committed: the one comparison of a consumer at its start and of a restore.

extension Consumer {
    /// The watermarks of a file that `applied`, what its queue has seen committed, does not reach: what a Redis that
    /// went back has forgotten.
    public static func unknown(
        to applied: [ProducerID: UInt64], of watermarks: [ProducerID: UInt64]
    ) -> [ProducerID: UInt64] {
        watermarks.filter { $1 > applied[$0] ?? 0 }
    }
}

extension Consumer.MissingRange {
    /// What `applied`, the watermarks that a queue has seen committed, covers and those of a file do not. Sorted by
    /// producer.
    public static func between(
        _ applied: [ProducerID: UInt64], and watermarks: [ProducerID: UInt64]
    ) -> [Consumer.MissingRange] {
        let missing = applied.compactMap { producer, sequence -> Consumer.MissingRange? in
            let watermark = watermarks[producer] ?? 0
            if sequence <= watermark { return nil }
            return Consumer.MissingRange(producer: producer, sequences: watermark + 1...sequence)
        }
        return missing.sorted { $0.producer.description < $1.producer.description }
    }
}
