// The web role: a listener, one producer per event loop, and the order in which they stop.
//
// Stopping: /readyz fails and no connection is accepted; every loop connects to Redis anew and delivers what it has
// admitted, and waits a little for the shards; the connections get their last answers; the delivery threads end. A
// second signal cuts this short. Either way it says what no shard has confirmed.

public import HTTPFront
public import Logging
public import RedisQueue
public import ServiceKit
import Synchronization
public import TallyCore
public import Tokens

/// A running web node.
public final class WebNode: Sendable {
    public struct Configuration: Sendable {
        public var address: Endpoint
        /// From 1.
        public var eventLoops: Int
        public var http: HTTPLimits
        /// For the whole node; each event loop gets its share of the outbox.
        public var producer: Producer.Configuration
        public var link: RedisLink
        public var names: KeyNames
        /// Whose tokens requests must bring; nil for none, on loopback only.
        public var access: Access?
        /// Without `access`: names under which requests may ask beside those of this machine.
        public var allowedHosts: [String] = []
        /// What commands in answers and in the log are completed with.
        public var given = GivenOptions.none

        public init(
            address: Endpoint, eventLoops: Int, http: HTTPLimits, producer: Producer.Configuration,
            link: RedisLink, names: KeyNames, access: Access? = nil
        ) {
            self.address = address
            self.eventLoops = eventLoops
            self.http = http
            self.producer = producer
            self.link = link
            self.names = names
            self.access = access
        }
    }

    struct Part: Sendable {
        let loop: LoopHandle
        let node: NodeLoop
        let delivery: Delivery
    }

    private let server: HTTPServer
    let parts: [Part]
    /// Loops that have not read a topology yet.
    private let unready: Atomic<Int>
    /// Loops that still deliver, after `drain`.
    private let undrained: Atomic<Int>
    private let foreignStream = Mutex<StreamID?>(nil)

    /// Where it listens, with the port that the system chose if 0 was asked for.
    public var address: Endpoint { server.address }
    /// All addresses that are bound.
    public var boundAddresses: [Endpoint] { server.boundAddresses }
    /// The address, and what is bound where that is something else.
    public var listening: String { server.listening }

    private init(server: HTTPServer, parts: [Part]) {
        self.server = server
        self.parts = parts
        unready = Atomic(parts.count)
        undrained = Atomic(parts.count)
    }

    /// Listens and serves. Redis may still be away: requests get 503 until it is there.
    ///
    /// - Throws: 69 if the address cannot be had, 78 if it is not a loopback one and no tokens are demanded.
    public static func start(_ configuration: Configuration, logger: Logger) throws(Failure) -> WebNode {
        let parts = Mutex<[Part]>([])
        var share = configuration.producer
        share.outboxBytes = max(share.batchBytes, share.outboxBytes / configuration.eventLoops)
        let producerConfiguration = share
        let loops = configuration.eventLoops
        let refusals = LoopRefusals(loops: loops)
        let rollbacks = RollbackEvents()
        let makeService: @Sendable (LoopHandle) -> any HTTPService = { loop in
            var random = SystemRandomNumberGenerator()
            let clock = RedisClock(guess: UInt64(WallClock.milliseconds()), at: loop.loop.now)
            let producer = Producer(
                id: .random(using: &random), configuration: producerConfiguration, clock: clock)
            var logger = logger
            logger[metadataKey: "loop"] = "\(loop.index)"
            let delivery = Delivery(loop: loop.loop, link: configuration.link, names: configuration.names)
            let refuser = Refuser(
                producer: producer.id, place: configuration.link.place(of: configuration.names),
                given: configuration.given)
            let node = NodeLoop(
                loop: loop, of: loops, producer: producer, refuser: refuser, refusals: refusals, delivery: delivery,
                rollbacks: rollbacks, logger: logger)
            parts.withLock { $0.append(Part(loop: loop, node: node, delivery: delivery)) }
            return node
        }
        let server = try HTTPServer(
            on: configuration.address, eventLoops: configuration.eventLoops, limits: configuration.http,
            access: configuration.access, allowedHosts: configuration.allowedHosts, makeService: makeService)
        let node = WebNode(server: server, parts: parts.withLock { $0 }.sorted { $0.loop.index < $1.loop.index })
        for part in node.parts {
            part.loop.loop.execute {
                part.node.start {
                    node.unready.subtract(1, ordering: .releasing)
                } conflicting: { stream in
                    node.halt(stream)
                }
            }
        }
        return node
    }

    /// A look at every loop, in their order. It waits for each: whoever calls it proves that they turn. Not after
    /// `finish`.
    public func report() -> [LoopReport] {
        parts.map { part in part.loop.loop.perform { part.node.report() } }
    }

    /// Changes the bounds of what waits, for the whole node; what is over them already is kept.
    public func setBounds(outboxBytes: Int, queueBytes: Int) {
        for part in parts {
            let share = outboxBytes / parts.count
            part.loop.loop.execute { part.node.setBounds(outboxBytes: share, queueBytes: queueBytes) }
        }
    }

    /// The stream that another process writes to under the same identity; this one has stopped counting and has to end.
    public var conflict: StreamID? { foreignStream.withLock { $0 } }

    /// If one loop was cloned, all were.
    private func halt(_ stream: StreamID) {
        for part in parts { part.loop.loop.execute { part.node.halt() } }
        foreignStream.withLock { $0 = $0 ?? stream }
    }

    /// Whether every loop has begun to admit requests.
    public var isReady: Bool { unready.load(ordering: .acquiring) == 0 }

    /// Accepts no connection and admits no request from now on, and delivers what was admitted.
    public func drain() {
        server.stopAccepting()
        for part in parts {
            part.loop.loop.execute { part.node.drain { self.undrained.subtract(1, ordering: .releasing) } }
        }
    }

    /// Whether everything admitted is in Redis, after `drain`, and the shards have it or had some time for it.
    public var isDrained: Bool { undrained.load(ordering: .acquiring) == 0 }

    /// What no shard has confirmed. Not after `finish`.
    public var leftover: Leftover {
        parts.reduce(into: Leftover()) { all, part in all += part.loop.loop.perform { part.node.leftover } }
    }

    /// Ends the connections of clients without an answer, after a `conflict`. What connects to Redis meanwhile ends
    /// with the process.
    public func abandon() {
        server.shutdown()
    }

    /// Gives the connections their last answers and ends the threads.
    ///
    /// - Returns: what no shard has confirmed: all of it is in Redis if `isDrained`.
    public func finish() -> Leftover {
        let leftover = leftover
        // Who does not read the answer in time does not get it.
        _ = server.drain(withinMilliseconds: 5_000)
        for part in parts { part.loop.loop.perform { part.node.stop() } }
        for part in parts { part.delivery.join() }
        server.shutdown()
        return leftover
    }
}
