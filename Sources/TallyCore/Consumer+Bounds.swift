// How much a consumer does at once; tests make it little.

extension Consumer {
    /// How much is done at once.
    public struct Bounds: Hashable, Sendable {
        /// Of one peek and one trim; `peekBytes` also of the first transaction of a long queue.
        public var peekBytes = Limits.peekBytes
        public var peekBatches = Limits.peekBatches
        /// Of the first transaction behind a kill.
        public var cautiousBytes = Limits.cautiousTransactionBytes
        public var transactionBytes = Limits.transactionBytes
        public var transactionBatches = Limits.transactionBatches

        public init() {}
    }
}
