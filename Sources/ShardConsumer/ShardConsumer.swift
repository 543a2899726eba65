// The consumer role: one thread a partition, and what happens when one of them cannot go on.
//
// Partitions are independent, but a process has one exit code: the first consumer that fails stops the others in order
// and names the code. What supervises it restarts it, or does not if that cannot help.

public import Logging
public import RedisQueue
public import ServiceKit
public import ShardStore
import Synchronization
import TallyCore

/// The consumers of one process.
public final class ShardConsumer: Sendable {
    public struct Configuration: Sendable {
        public var link: RedisLink
        public var names: KeyNames
        /// The same for all processes of this machine.
        public var host: String
        /// Names this process for people.
        public var owner: String
        public var idempotencyRetentionMilliseconds: UInt64

        public init(
            link: RedisLink, names: KeyNames, host: String, owner: String, idempotencyRetentionMilliseconds: UInt64
        ) {
            self.link = link
            self.names = names
            self.host = host
            self.owner = owner
            self.idempotencyRetentionMilliseconds = idempotencyRetentionMilliseconds
        }
    }

    private let stopRequest = StopRequest()
    private let threads: Mutex<[ServiceThread]>
    private let failure = Mutex<Failure?>(nil)
    private let running: Atomic<Int>

    /// Starts to consume; every file is locked by this process before.
    public init(_ configuration: Configuration, openers: [@Sendable () throws(Failure) -> ShardFile], logger: Logger) {
        threads = Mutex([])
        running = Atomic(openers.count)
        let started = openers.map { open in
            ServiceThread(name: "consumer") { [self] in
                run(configuration, open, logger)
                running.subtract(1, ordering: .releasing)
            }
        }
        threads.withLock { $0 = started }
    }
}
