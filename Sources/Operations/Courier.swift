// A producer for tools: what they hand over counts exactly once, and they can wait until all of it is stored.
//
// It is the web node's state machine with a fresh id, without the node: one connection that never blocks, driven by
// the tool's own thread with poll(2). Every call lets it go on with what is under way, so that a batch grows while the
// one before it is pushed, as in a node. It follows moves to newer epochs, replays what a Redis forgets, connects
// again for as long as that may help, and holds a bounded number of bytes: who hands over more waits for the shards.
//
// It does not wait for ever. Time passes without progress only if Redis is away or refuses, or if a consumer is missing
// or stuck; after a while it gives up and says which. Nothing that it handed to Redis is lost by that, but only
// increments with an idempotency key, and adopted batches, may be delivered a second time.

import Glibc
import RedisQueue
public import ServiceKit
public import TallyCore

/// A blocking producer. Owned by one thread.
public final class Courier {
    /// How long nothing may move before a wait is given up.
    public struct Patience: Hashable, Sendable {
        /// While every partition that is waited for has a consumer.
        public var stalledMilliseconds: UInt64 = 60_000
        /// While one has none, or Redis takes nothing.
        public var unattendedMilliseconds: UInt64 = 10_000

        public init() {}
    }

    /// What a tool's producer holds at most, in bytes.
    public static let outboxBytes = 64 << 20
    /// How often due heartbeats and retries are looked for.
    private static let tickMilliseconds: UInt64 = 10
    /// How often the queues are looked at, and `whileWaiting` is called, during a wait.
    private static let lookMilliseconds: UInt64 = 1_000

    /// Called about once a second while something is waited for.
    public var whileWaiting: (() throws(Failure) -> Void)?
    private let access: RedisAccess
    private let patience: Patience
    private let outboxBytes: Int
    private let watch: QueueWatch
    private var producer: Producer
    private var queue: ProducerQueue?
    private var isFlying = false
    /// When Redis has been silent for too long, during a flight.
    private var silenceEnds = UInt64.max
    private var connectAt: UInt64 = 0
    private var backoff = JitteredBackoff()
    private var random = SystemRandomNumberGenerator()
    /// Why there is no connection, or no topology.
    private var trouble: RedisError?

    /// - Parameter outboxBytes: what it holds at most; larger than any one delivery.
    public init(_ access: RedisAccess, patience: Patience = Patience(), outboxBytes: Int = Courier.outboxBytes) {
        self.access = access
        self.patience = patience
        self.outboxBytes = outboxBytes
        watch = QueueWatch(access)
        var configuration = Producer.Configuration()
        configuration.outboxBytes = outboxBytes
        var random = SystemRandomNumberGenerator()
        producer = Producer(
            id: .random(using: &random), configuration: configuration,
            clock: RedisClock(guess: UInt64(WallClock.milliseconds()), at: MonotonicClock.milliseconds()))
    }

    // MARK: What a tool does

    /// Takes over increments; waits while there is no room for them.
    ///
    /// - Parameter idempotencyKey: 1...`Limits.idempotencyKeyBytesMax` bytes: (key, idempotency key) counts once.
    /// - Returns: what `takeStored` returns once all of them are stored; nil if there are none.
    /// - Throws: 69 if Redis is away or nothing is stored for too long, 78 if Redis is another cluster's or has no
    ///   topology, 65 if increments of one idempotency key add up to more than Int64.
    public func deliver(
        _ increments: borrowing IncrementBuffer, idempotencyKey: [UInt8]? = nil
    ) throws(Failure) -> Ticket? {
        try turn(waitingMilliseconds: 0)
        var wait = Wait()
        while true {
            let refusal: Refusal
            do throws(Refusal) {
                let now = MonotonicClock.milliseconds()
                return try producer.admit(increments, level: .stored, idempotencyKey: idempotencyKey, now: now)
            } catch { refusal = error }
            precondition(refusal != .outboxFull || heldBytes > 0, "more increments at once than a courier can hold")
            if case .sumOutOfRange = refusal {
                throw Failure(
                    .corrupt, "increments that belong together add up to more than a counter can hold",
                    advice: "Deliver them in smaller pieces.")
            }
            try goOn(&wait, because: refusal)
        }
    }

    /// Takes over a batch that another producer made, under its first identity: whatever of it is counted already, or
    /// is delivered again, counts once. Waits while there is no room for it.
    ///
    /// - Returns: what is wrong with the bytes; nil if they were taken.
    /// - Throws: as `deliver`.
    public func adopt(_ bytes: [UInt8]) throws(Failure) -> BatchError? {
        try turn(waitingMilliseconds: 0)
        var wait = Wait()
        while true {
            let now = MonotonicClock.milliseconds()
            if let refusal = producer.closedReason(now: now) {
                try goOn(&wait, because: refusal)
            } else if producer.heldBytes > 0, producer.heldBytes + bytes.count > outboxBytes {
                try goOn(&wait, because: .outboxFull)
            } else {
                do throws(BatchError) {
                    // Nobody waits for this ticket alone: it makes the machine look for `stored` soon.
                    _ = try producer.adopt(bytes, level: .stored)
                    return nil
                } catch { return error }
            }
        }
    }

    /// The tickets whose increments have all been stored since the last call.
    public func takeStored() -> [Ticket] {
        var acknowledged: [Acknowledgement] = []
        producer.takeAcknowledged(into: &acknowledged)
        return acknowledged.map(\.ticket)
    }

    /// Waits until everything handed over is stored.
    ///
    /// - Parameter progress: called now and then with what is under way.
    /// - Throws: as `deliver`.
    public func settle(_ progress: (Producer.Delivery) -> Void = { _ in }) throws(Failure) {
        var wait = Wait()
        while producer.heldBytes > 0 {
            try goOn(&wait, because: nil)
            progress(producer.delivery)
        }
    }

    /// Of its producer.
    var id: ProducerID { producer.id }

    /// Bytes that no shard has confirmed.
    public var heldBytes: Int { producer.heldBytes }

    // MARK: Waiting

    /// One wait: since when nothing has moved.
    private struct Wait {
        var movedAt = MonotonicClock.milliseconds()
        var lookAt = MonotonicClock.milliseconds() + Courier.lookMilliseconds
        var delivery: Producer.Delivery?
        var unattended: [PartitionID] = []
    }

    /// One turn of a wait, or its end.
    ///
    /// - Parameter refusal: why what is to be handed over is not taken; nil if all is handed over.
    private func goOn(_ wait: inout Wait, because refusal: Refusal?) throws(Failure) {
        if case .otherCluster(let other) = refusal ?? producer.closedReason(now: MonotonicClock.milliseconds()) {
            throw .foreignRedis(other, at: "\(access.link.url)")
        }
        try turn(waitingMilliseconds: Self.tickMilliseconds)
        let now = MonotonicClock.milliseconds()
        let delivery = producer.delivery
        if wait.delivery.map({ $0 != delivery }) ?? true { wait.movedAt = now }
        wait.delivery = delivery
        if now >= wait.lookAt {
            try whileWaiting?()
            let seen = watch.look(delivery.waiting)
            if seen.hasMoved { wait.movedAt = now }
            wait.unattended = seen.unattended
            wait.lookAt = MonotonicClock.milliseconds() + Self.lookMilliseconds
        }
        let obstacle = obstacle(refusal, wait)
        let bound = obstacle == nil ? patience.stalledMilliseconds : patience.unattendedMilliseconds
        if now >= wait.movedAt + bound { throw obstacle ?? stalled(delivery) }
    }

    /// What makes it pointless to wait as long as for a slow consumer.
    private func obstacle(_ refusal: Refusal?, _ wait: Wait) -> Failure? {
        let now = MonotonicClock.milliseconds()
        let obstacles = [producer.closedReason(now: now), refusal].compactMap(\.self) + producer.delivery.obstacles
        for obstacle in obstacles {
            switch obstacle {
            case .redisUnreachable: return .unreachable(trouble, silent: access.link)
            case .noTopology: return .noTopology(trouble, at: access.names.topology)
            case .repairDue(let partition): return .repairDue(partition: partition)
            case .redisRefuses(let text), .redisUnfit(let text):
                return Failure(.configuration, text, at: "\(access.link.url)")
            case .shardBehind(let partition, let missing):
                return .shardBehind(partition: partition.number, missing: missing, of: producer.id)
            case .identityInUse:
                return Failure(
                    .failure, "another process uses the identity of this one, producer \(producer.id)",
                    advice: "Was its machine cloned or put back while it ran? Run this again.")
            case .otherCluster, .draining, .outboxFull, .queueFull, .sumOutOfRange: break
            }
        }
        return wait.unattended.isEmpty ? nil : .unattended(wait.unattended, owners)
    }

    /// Who consumes what, as of the last look.
    private var owners: String {
        watch.owners.map { "partition \($0.partition.number) is consumed by \($0.owner)" }.joined(separator: ", ")
    }

    private func stalled(_ delivery: Producer.Delivery) -> Failure {
        let time = Humanized.duration(milliseconds: Int(patience.stalledMilliseconds))
        return Failure(
            .unavailable,
            "nothing was stored for \(time), \(Humanized.batches(delivery.frozen - delivery.stored)) left",
            advice: owners.isEmpty ? nil : "Look at the logs of the consumers: \(owners).")
    }
}

// The connection.
extension Courier {
    /// Sends what is due and takes in what has arrived.
    ///
    /// - Parameter milliseconds: how long it may wait for something to happen.
    private func turn(waitingMilliseconds milliseconds: UInt64) throws(Failure) {
        let now = MonotonicClock.milliseconds()
        guard let queue = connected(now) else {
            _ = poll(nil, 0, Int32(min(milliseconds, connectAt - min(now, connectAt))))  // nothing to watch: a pause
            return
        }
        if !isFlying {
            let commands = producer.nextFlight(now: now)
            if !commands.isEmpty {
                isFlying = true
                silenceEnds = now + access.link.commandMilliseconds
                handle(queue.send(commands, isChecked: commands.readsTopology))
            }
        }
        guard self.queue === queue else { return }
        let interest = Int16(queue.isWriting ? POLLIN | POLLOUT : POLLIN)
        var entry = pollfd(fd: queue.descriptor, events: interest, revents: 0)
        let count = poll(&entry, 1, Int32(milliseconds))
        if count < 0, errno != EINTR { throw Failure(cannot: "wait for Redis", errno: errno, code: .failure) }
        let later = MonotonicClock.milliseconds()
        if count > 0 {
            // Something moves: only silence counts, however long a large flight takes.
            if isFlying { silenceEnds = later + access.link.commandMilliseconds }
            if entry.revents & Int16(POLLOUT) != 0 { handle(queue.write()) }
            if self.queue === queue, entry.revents & ~Int16(POLLOUT) != 0 { handle(queue.read()) }
        } else if later >= silenceEnds {
            handle(queue.giveUp(afterMilliseconds: access.link.commandMilliseconds))
        }
    }

    private func connected(_ now: UInt64) -> ProducerQueue? {
        if let queue { return queue }
        guard now >= connectAt else { return nil }
        do throws(RedisError) {
            let made = try ProducerQueue(connection: try RedisConnection(toFit: access.link), names: access.names)
            queue = made
            producer.connection(isUp: true, now: MonotonicClock.milliseconds())
            return made
        } catch {
            trouble = error
            connectAt = MonotonicClock.milliseconds() + backoff.next(using: &random)
            return nil
        }
    }

    private func handle(_ landed: ProducerQueue.Landed?) {
        guard let landed else { return }
        let now = MonotonicClock.milliseconds()
        if queue?.isConnected != true {
            queue = nil
            producer.connection(isUp: false, now: now)
            connectAt = now + backoff.next(using: &random)
        } else if landed.commands.haveWork {
            // Not before: a connection that comes about and fails at once must not be made again and again.
            backoff.reset()
        }
        trouble = landed.failure
        isFlying = false
        silenceEnds = .max
        for (command, answer) in zip(landed.commands, landed.answers) {
            producer.received(answer, to: command, now: now)
        }
        producer.flightEnded()
    }
}

extension Failure {
    /// Redis belongs to another cluster than before.
    ///
    /// - Parameter own: the cluster of the folder.
    static func foreignRedis(_ other: ClusterID, at url: String, own: ClusterID? = nil) -> Failure {
        Failure(
            .configuration, "this Redis belongs to another cluster, \(other)", at: url,
            advice: own.map { Surroundings.way(from: other, to: $0) } ?? "Check --redis and --namespace.",
            mayBeMisplaced: true)
    }

    fileprivate static func unreachable(_ trouble: RedisError?, silent link: RedisLink) -> Failure {
        let error = trouble ?? .timedOut(milliseconds: link.commandMilliseconds)
        return Failure(.unavailable, error.description, at: "\(link.url)", advice: error.hint.map { "\($0)." })
    }

    fileprivate static func noTopology(_ trouble: RedisError?, at key: String) -> Failure {
        if let trouble { return Failure(.configuration, trouble.description, advice: trouble.hint.map { "\($0)." }) }
        return Failure(
            .configuration, "Redis publishes no topology", at: key, advice: "`tallymill repair` publishes it again.",
            mayBeMisplaced: true)
    }

    fileprivate static func shardBehind(
        partition: UInt32, missing: ClosedRange<UInt64>, of producer: ProducerID
    ) -> Failure {
        Failure(
            .unavailable,
            "the shard of partition \(partition) lacks batches \(missing.lowerBound)-\(missing.upperBound) of producer"
                + " \(producer), which it had: it is older than what was counted, or its consumer is stopped",
            advice: "Start its consumer; if this stays, `tallymill verify` says what is missing.")
    }

    fileprivate static func repairDue(partition: UInt32) -> Failure {
        Failure(
            .configuration, "partition \(partition) is closed or has no keys in Redis, and there is no newer epoch",
            advice: "`tallymill repair` mends that.")
    }

    fileprivate static func unattended(_ partitions: [PartitionID], _ owners: String) -> Failure {
        let numbers = PartitionList.text(partitions.map(\.number))
        let names = partitions.count == 1 ? "partition \(numbers)" : "partitions \(numbers)"
        return Failure(
            .unavailable,
            "nobody consumes \(names)\(owners.isEmpty ? "" : " (\(owners))"), so what waits there is not stored",
            advice: "Start `tallymill consume --partitions \(numbers)` or `tallymill up`, then run this again.")
    }
}
