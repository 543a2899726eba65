// What a producer says about itself: how much it has taken in for each partition, and how much of it lies where.
//
// The amounts are those of the present epoch. A move freezes what the outbox still holds anew, under the new epoch, so
// every increment that is not yet known to be in a shard is in exactly one of these streams. A node serves this as
// JSON, `audit` reads it:
//
//   {"loop":0,"loops":2,"producer":"<32 hex digits>","epoch":1,"partitions":[
//     {"partition":0,"frozen":7,"confirmed":6,"stored":5,
//      "admitted":{"increments":90,"sum":-12},"unpushed":{"increments":10,"sum":4}}]}
//
// Without a topology yet, the epoch is 0 and the list empty.

/// One producer's side of the ledger.
public struct ProducerLedger: Hashable, Sendable {
    /// One stream.
    public struct Partition: Hashable, Sendable {
        public let number: UInt32
        /// The last sequence that was given to a batch, 0 before the first.
        public let frozen: UInt64
        /// Every batch up to this one was in the list once.
        public let confirmed: UInt64
        /// Every batch up to this one is in the shard.
        public let stored: UInt64
        /// Everything that was taken in for the partition, frozen or not.
        public let admitted: Amount
        /// What of it was never confirmed by Redis.
        public let unpushed: Amount

        public init(
            number: UInt32, frozen: UInt64, confirmed: UInt64, stored: UInt64, admitted: Amount, unpushed: Amount
        ) {
            self.number = number
            self.frozen = frozen
            self.confirmed = confirmed
            self.stored = stored
            self.admitted = admitted
            self.unpushed = unpushed
        }
    }

    /// Which of a node's event loops it serves, and how many there are: each answers for itself.
    public let loop: Int
    public let loops: Int
    public let producer: ProducerID
    public let epoch: UInt32
    public let partitions: [Partition]

    public init(loop: Int, loops: Int, producer: ProducerID, epoch: UInt32, partitions: [Partition]) {
        self.loop = loop
        self.loops = loops
        self.producer = producer
        self.epoch = epoch
        self.partitions = partitions
    }
}

extension Producer {
    /// Its ledger, with the number of its event loop. It adds up what is not frozen yet, key by key.
    public func ledger(loop: Int, of loops: Int) -> ProducerLedger {
        ProducerLedger(
            loop: loop, loops: loops, producer: id, epoch: topology?.epoch ?? 0, partitions: channels.map(\.ledger))
    }
}

extension Channel {
    fileprivate var ledger: ProducerLedger.Partition {
        let admitted = cumulative + aggregator.amount
        return ProducerLedger.Partition(
            number: stream.partition.number, frozen: nextSequence - 1, confirmed: resolvedThrough, stored: floor,
            admitted: admitted, unpushed: admitted - confirmedAmount)
    }

    /// What the batches up to `resolvedThrough` hold: the ledger of that batch if it is still here, else of what
    /// precedes the next one. The outbox has no holes, so one of them is here unless all were confirmed.
    private var confirmedAmount: Amount {
        if resolvedThrough + 1 == nextSequence { return cumulative }
        let isHere = resolvedThrough > floor
        let index = Int(resolvedThrough - floor) - (isHere ? 1 : 0)
        return outbox[index].batch.bytes.withUnsafeBytes { bytes in
            guard let batch = try? BatchReader(bytes) else {  // our own bytes, never touched since
                preconditionFailure("a batch of the outbox no longer decodes")
            }
            return isHere ? batch.header.cumulative : batch.header.cumulative - batch.amount
        }
    }
}

extension Aggregator {
    /// What it holds, added up key by key.
    fileprivate var amount: Amount {
        groups.reduce(table.amount) { $0 + $1.sums.amount }
    }
}

extension KeyTable {
    fileprivate var amount: Amount {
        entries.reduce(Amount.zero) { $0 + Amount(increments: $1.increments, sum: Int128($1.sum)) }
    }
}
