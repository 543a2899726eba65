// The consumer role: one thread a partition, and what happens when one of them cannot go on.
//
// Partitions are independent, but a process has one exit code: the first consumer that fails stops the others in order
// and names the code. What supervises the process restarts it, or does not if that cannot help.

public import Logging
public import RedisQueue
public import ServiceKit
import Synchronization
import TallyCore

/// The running consumers of one process.
public final class ShardConsumer: Sendable {
    public struct Configuration: Sendable {
        public var link: RedisLink
        public var names: KeyNames
        /// The same for all processes of this machine.
        public var host: String
        /// Names this process for people.
        public var owner: String
        public var idempotencyRetention: IdempotencyRetention

        public init(
            link: RedisLink, names: KeyNames, host: String, owner: String, idempotencyRetention: IdempotencyRetention
        ) {
            self.link = link
            self.names = names
            self.host = host
            self.owner = owner
            self.idempotencyRetention = idempotencyRetention
        }
    }

    private let stopRequests: [StopRequest]
    private let progress: [PartitionProgress]
    private let threads: Mutex<[ServiceThread]>
    private let state: State

    /// What the threads leave behind.
    private final class State: Sendable {
        let failure = Mutex<Failure?>(nil)
        let running: Atomic<Int>

        init(running: Int) {
            self.running = Atomic(running)
        }
    }

    /// Consumes the partitions of `shards`, which are opened on their threads and locked while these run.
    public init(_ configuration: Configuration, shards: [ShardLocation], logger: Logger) {
        let stopRequests = shards.map { _ in StopRequest() }
        let progress = shards.map { PartitionProgress($0.partition) }
        let state = State(running: shards.count)
        self.stopRequests = stopRequests
        self.progress = progress
        self.state = state
        let started = shards.indices.map { index in
            let (shard, stopRequest, progress) = (shards[index], stopRequests[index], progress[index])
            return ServiceThread(name: "consumer \(shard.partition.number)") {
                var logger = logger
                logger[metadataKey: "partition"] = "\(shard.partition.number)"
                do throws(Failure) {
                    let consumer = PartitionConsumer(
                        configuration: configuration, file: try shard.open(), stopRequest: stopRequest,
                        progress: progress, logger: logger)
                    try consumer.run()
                } catch {
                    // The first failure names the code; the others are told to finish.
                    let isFirst = state.failure.withLock { failure in
                        defer { failure = failure ?? error }
                        return failure == nil
                    }
                    if !isFirst { logger.error("stopped", metadata: error.metadata) }
                    for other in stopRequests { other.set() }
                }
                state.running.subtract(1, ordering: .releasing)
            }
        }
        threads = Mutex(started)
    }

    /// Whether any consumer still runs, and none has failed.
    public var isRunning: Bool {
        state.running.load(ordering: .acquiring) > 0 && state.failure.withLock { $0 == nil }
    }

    /// A look at every consumer, in the order of their shards.
    public func report() -> [PartitionReport] { progress.map(\.current) }

    /// Lets every consumer finish its transaction and waits for them. Returns the failure that stopped one before.
    public func stop() -> Failure? {
        for request in stopRequests { request.set() }
        let threads = threads.withLock { threads in
            defer { threads = [] }
            return threads
        }
        for thread in threads { thread.join() }
        return state.failure.withLock { $0 }
    }
}
