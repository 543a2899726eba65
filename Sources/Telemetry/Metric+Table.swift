// Every metric there is. The pages of both roles are made of these rows; the README's table is checked against them.

public import ServiceKit

extension Metric {
    // Of both roles.
    public static let buildInfo = Metric(
        "tallymill_build_info", .gauge, labels: ["version", "commit", "role"], "1; what runs stands in the labels")
    public static let ready = Metric("tallymill_ready", .gauge, "1 while the role does its work, as /readyz says")
    public static let redisReachable = Metric(
        "tallymill_redis_reachable", .gauge, "1 if Redis answered when it was last asked about the queues")
    public static let redisFit = Metric(
        "tallymill_redis_fit", .gauge, "0 while Redis has settings with which it may lose what it confirms")
    public static let queueBatches = Metric(
        "tallymill_queue_batches", .gauge, labels: ["partition"], "Batches that wait in Redis")
    public static let queueBytes = Metric(
        "tallymill_queue_bytes", .gauge, labels: ["partition"], "Bytes of the batches that wait in Redis")
    public static let queueAge = Metric(
        "tallymill_queue_oldest_batch_seconds", .gauge, labels: ["partition"],
        "Age of the oldest batch that waits in Redis, 0 if none does")
    public static let behindProducers = Metric(
        "tallymill_queue_behind_producers", .gauge, labels: ["partition"],
        "Producers refused because the shard seems to lack batches that it had")
    public static let processorTime = Metric("process_cpu_seconds_total", .counter, "User and system time")
    public static let residentMemory = Metric("process_resident_memory_bytes", .gauge, "Resident memory")
    public static let openFiles = Metric("process_open_fds", .gauge, "Open file descriptors")
    public static let openFilesMax = Metric("process_max_fds", .gauge, "Most file descriptors that may be open")
    public static let startTime = Metric(
        "process_start_time_seconds", .gauge, "When the process started, in seconds since 1970")

    // Of a web node.
    public static let requestsAccepted = Metric(
        "tallymill_requests_accepted_total", .counter, labels: ["level"],
        "Requests whose increments were admitted, by the level asked for")
    public static let requestsRejected = Metric(
        "tallymill_requests_rejected_total", .counter, labels: ["reason"], "Requests of which nothing was counted")
    public static let partitionsClosed = Metric(
        "tallymill_partitions_closed", .gauge, labels: ["reason"],
        "Partitions for which requests are refused while others take them")
    public static let incrementsAccepted = Metric(
        "tallymill_increments_accepted_total", .counter, "Increments that were admitted")
    public static let waiting = Metric(
        "tallymill_level_waiting_requests", .gauge, "Requests that wait for the level that they asked for")
    public static let waitsExpired = Metric(
        "tallymill_level_waits_expired_total", .counter,
        "Requests answered with 202: their wait ran out below their level")
    public static let connections = Metric("tallymill_connections", .gauge, "Open connections of clients")
    public static let connectionsClosed = Metric(
        "tallymill_connections_closed_for_others_total", .counter,
        "Idle connections closed because one more came and there were as many as there may be")
    public static let batches = Metric("tallymill_batches_total", .counter, "Batches made of increments")
    public static let batchEntries = Metric(
        "tallymill_batch_entries_total", .counter, "Entries of these batches: one a key, or a key and idempotency key")
    public static let gearRatio = Metric(
        "tallymill_gear_ratio", .gauge,
        "Increments a batch entry since the last look that found any; 0 before the first")
    public static let replays = Metric("tallymill_batches_replayed_total", .counter, "Batches that were pushed again")
    public static let duplicates = Metric(
        "tallymill_batches_duplicate_total", .counter, "Batches pushed that Redis had already, and refused")
    public static let rollbacks = Metric(
        "tallymill_redis_rollbacks_total", .counter, "Times that Redis was found to have gone back in time, or emptied")
    public static let outboxBytes = Metric(
        "tallymill_outbox_bytes", .gauge,
        "Bytes of increments and batches that no shard has confirmed, and of requests that wait")
    public static let pushes = Metric(
        "tallymill_push_seconds", .histogram, "Time from sending a flight of pushes to Redis until its last answer")
    public static let disconnections = Metric(
        "tallymill_redis_disconnections_total", .counter, "Connections to Redis that were lost, or not to be had")
    public static let epoch = Metric("tallymill_epoch", .gauge, "Epoch of the topology in use, 0 if none is")

    // Of a consumer, each for a partition.
    public static let consuming = Metric(
        "tallymill_consumer_consuming", .gauge, labels: ["partition"], "1 while the consumer owns its shard")
    public static let batchesApplied = Metric(
        "tallymill_batches_applied_total", .counter, labels: ["partition"], "Batches committed in the shard")
    public static let incrementsApplied = Metric(
        "tallymill_increments_applied_total", .counter, labels: ["partition"], "Increments added to counters")
    public static let batchesSkipped = Metric(
        "tallymill_batches_skipped_total", .counter, labels: ["partition"], "Batches that the shard had already")
    public static let incrementsRepeated = Metric(
        "tallymill_increments_repeated_total", .counter, labels: ["partition"],
        "Increments left out because their idempotency key had been seen")
    public static let incrementsDead = Metric(
        "tallymill_increments_dead_total", .counter, labels: ["partition"], "Increments that went to the dead letters")
    public static let deadLetters = Metric(
        "tallymill_dead_letters", .gauge, labels: ["partition"], "Dead letters in the shard")
    public static let claims = Metric(
        "tallymill_claims", .gauge, labels: ["partition"],
        "Pairs of an idempotency key and a key that the shard remembers")
    public static let batchesLost = Metric(
        "tallymill_batches_lost", .gauge, labels: ["partition"],
        "Batches of this epoch that an operator has declared lost")
    public static let incrementsLost = Metric(
        "tallymill_increments_lost", .gauge, labels: ["partition"],
        "Increments in them, as far as it is known how many")
    public static let commits = Metric(
        "tallymill_commit_seconds", .histogram, labels: ["partition"],
        "Time that a transaction took, from its beginning to the end of its fsync")
    public static let lastCommit = Metric(
        "tallymill_last_commit_timestamp_seconds", .gauge, labels: ["partition"],
        "When the shard last changed, in seconds since 1970")
    public static let shardKeys = Metric(
        "tallymill_shard_keys", .gauge, labels: ["partition"], "Counters in the shard")
    public static let shardLogHeld = Metric(
        "tallymill_shard_log_held_seconds", .gauge, labels: ["partition"],
        "How long a reader has kept the shard's log from being copied into its file, 0 if none does")
    public static let shardBytes = Metric(
        "tallymill_shard_bytes", .gauge, labels: ["partition"], "Bytes of the shard file and its write-ahead log")
    public static let consumerRedisFailures = Metric(
        "tallymill_consumer_redis_failures_total", .counter, labels: ["partition"],
        "Questions of the consumer that Redis did not answer, or refused")

    /// On the page of every role.
    public static let ofBoth = [
        buildInfo, ready, redisReachable, redisFit, queueBatches, queueBytes, queueAge, behindProducers, processorTime,
        residentMemory, openFiles, openFilesMax, startTime,
    ]

    /// On the page of a web node alone.
    public static let ofNode = [
        requestsAccepted, requestsRejected, partitionsClosed, incrementsAccepted, waiting, waitsExpired, connections,
        connectionsClosed,
        batches, batchEntries, gearRatio, replays, duplicates, rollbacks, outboxBytes, pushes, disconnections, epoch,
    ]

    /// On the page of a consumer alone.
    public static let ofConsumer = [
        consuming, batchesApplied, incrementsApplied, batchesSkipped, incrementsRepeated, incrementsDead, deadLetters,
        claims, batchesLost, incrementsLost, commits, lastCommit, shardKeys, shardBytes, shardLogHeld,
        consumerRedisFailures,
    ]
}
