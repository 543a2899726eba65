// Every bound of the product, named, with its unit last. A number that limits something stands here or in the
// configuration table that overrides it, and is tested at the bound and one past it.

/// Fixed bounds, and the defaults of those that a flag can change.
public enum Limits {
    // Fixed: part of a format or of the protocol.
    public static let keyBytesMax = 512
    public static let partitionsMax = 1024
    public static let idempotencyKeyBytesMax = 128
    /// Of what Redis is believed: there is one above it.
    public static let epochMax: UInt32 = 1 << 31
    /// Sequence numbers pass through Lua, whose numbers are doubles.
    public static let sequenceMax: UInt64 = (1 << 53) - 1
    /// A decoder refuses anything longer before it allocates.
    public static let encodedBatchBytesMax = 64 << 20

    // Defaults, each with a flag.
    public static let outboxBytes = 256 << 20
    public static let queueBytes = 256 << 20
    public static let batchBytes = 1 << 20
    public static let requestBodyBytes = 1 << 20
    public static let requestMemoryBytes = 128 << 20
    public static let requestIncrements = 10_000
    public static let unansweredRequests = 128
    public static let idempotencyRetentionSeconds = 7 * 24 * 3600
    public static let waitMilliseconds: UInt64 = 5_000

    /// Answers of one connection that the client has not taken: fixed. So much at once fills a link; more is memory.
    public static let unsentBytes = 256 << 10

    /// What a request that waits for its level is reckoned with in the bound of the outbox: its ticket, who waits for
    /// it and the answer that it is owed, in storage that grows by doubling; and what each partition that it waits for
    /// adds.
    public static let ticketBytes = 256
    public static let ticketPartitionBytes = 16
    /// Tickets for which nobody waits any more that are kept at most while fewer are waited for.
    public static let abandonedTicketsMax = 1_024

    /// The most that a client may wait for its level.
    public static let waitMillisecondsMax: UInt64 = 60_000

    // How a producer paces itself.
    /// Bytes of replayed batches that may be unanswered at once, so that a reconnect is no death spiral.
    public static let replayBytes = 1 << 20
    public static let retryMillisecondsMin: UInt64 = 20
    public static let retryMillisecondsMax: UInt64 = 1_000
    /// How often `applied` is looked at while somebody waits for `stored`.
    public static let storedHeartbeatMilliseconds: UInt64 = 15
    /// How often an outbox of resolved batches is compared with Redis.
    public static let heartbeatMilliseconds: UInt64 = 1_000
    /// How often a floor is compared with Redis while nothing is pushed over it.
    public static let idleHeartbeatMilliseconds: UInt64 = 10_000
    /// How often floors of earlier epochs are compared that were known.
    public static let floorMilliseconds: UInt64 = 60_000
    /// Epochs before the present one whose floors a producer keeps.
    public static let earlierEpochsMax = 8
    public static let topologyMilliseconds: UInt64 = 5_000
    /// A flight unanswered for this long closes admission.
    public static let stallMilliseconds: UInt64 = 1_000
    /// How long a node that stops waits for the shards once Redis has everything.
    public static let stopStoredMilliseconds: UInt64 = 3_000

    /// Open files of a web node beside its connections, with 64 loops: those that linger behind their last answer, the
    /// admin listener's, Redis, and its own. With fewer it allows fewer connections.
    public static let descriptorsBesideConnections = 1_792

    // How much of an answer of Redis is read, before anybody has understood it. Each line of it is charged with
    // `answerLineBytes` beside its bytes, because short elements cost more memory than they have bytes.
    /// Of one answer that is waited for: the largest batch, or the watermarks of a million producers.
    public static let answerBytes = 128 << 20
    /// Of all answers to one flight of a web node, or of a tool's producer, whose pushes are answered with some words.
    public static let flightAnswerBytes = 4 << 20
    public static let answerLineBytes = 16
    /// A line of an answer, such as an error; hiredis looks through all of one that has no end with each piece of it.
    public static let answerLineBytesMax = 64 << 10

    // How an audit reads a queue, without keeping Redis from others for long.
    public static let ledgerPageBytes = 4 << 20
    public static let ledgerPageBatches = 4_096

    // What is remembered of idempotency claims.
    /// How long a node may hold a batch beyond the retention, at least: see `ClaimClock`.
    public static let claimGraceMillisecondsMin: UInt64 = 600_000
    /// By how much the date of a batch may be wrong without harm.
    public static let claimErrorMilliseconds: UInt64 = 300_000
    /// By how much Redis' clock must differ from what was expected to have been set: less is the coarseness of clocks.
    public static let claimStepMilliseconds: UInt64 = 60_000

    /// Streams that are noted in a partition at a time because the shard seems to lack what was released of them: own
    /// ones, and as many of earlier epochs.
    public static let behindStreamsMax = 1_024
    /// How often a consumer looks into its file for them.
    public static let behindMilliseconds: UInt64 = 1_000

    // How a consumer paces itself.
    /// Payload bytes and batches of one peek, of one trim, and of the first transaction after a short queue.
    public static let peekBytes = 4 << 20
    public static let peekBatches = 4_096
    /// Payload bytes of the first transaction behind a consumer that was killed, and the fewest ever.
    public static let cautiousTransactionBytes = 64 << 10
    /// Payload bytes, batches and distinct keys at which a transaction is full, however long the queue is. With the
    /// cache of the file they decide the consumer's memory: the payload, and about 70 bytes and the key for each key.
    public static let transactionBytes = 80 << 20
    public static let transactionBatches = 65_536
    public static let transactionKeys = 3_100_000
    /// Entries for keys whose folded sum does not fit, beyond which a transaction is given up and its head applied
    /// alone: each is a write of its own, and most are a dead letter.
    public static let transactionMisfits = 65_536
    /// A transaction that took longer makes the next one no larger; one that took twice as long halves it. So it ends
    /// before its lease does, and before whoever waits for an empty queue takes it for stuck (60 s).
    public static let transactionMilliseconds: UInt64 = 12_500
    /// Renewed when a third has passed, and at least two thirds are left when a transaction begins.
    public static let leaseMilliseconds: UInt64 = 45_000
    /// A blocked wait on an empty list ends after this, to look at signals and renew the lease.
    public static let waitForBatchMilliseconds: UInt64 = 1_000

    // How the shards of a new epoch are made.
    /// Threads that build, and what each of them may hold of counters that move between shards, in all.
    public static let buildThreads = 2
    public static let buildRunBytes = 16 << 20
    /// The largest block of such counters for one shard, and the smallest, however many shards there are.
    public static let buildBlockBytesMax = 256 << 10
    public static let buildBlockBytesMin = 16 << 10
}
