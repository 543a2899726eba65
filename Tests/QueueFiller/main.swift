// Fills a partition's queue as busy web nodes do, without their HTTP: the real producer admits random increments,
// freezes batches and pushes them. What is under measurement then begins with a long queue.
//
//     queue-filler URL NAMESPACE all KEYS             one increment of 1 for every key, in random order
//     queue-filler URL NAMESPACE random KEYS N SEED   N increments by -10000...10000 of random keys out of KEYS
//
// Prints the increments that were pushed and their sum. Key number n is "page/" and the 16 hexadecimal digits of a mix
// of n, as in deploy/peers/upsert.c. A producer keeps its batches until they are in the shard, so a new one takes over
// after some of them, as if nodes came and went.

import Glibc
import RedisQueue
import TallyCore

/// The keys.
enum Keys {
    private static let prefix = Array("page/".utf8)
    private static let digits = Array("0123456789abcdef".utf8)

    /// Calls `body` with the key of `number`.
    static func withKey(_ number: UInt64, _ body: (UnsafeRawBufferPointer) -> Void) {
        var key = prefix
        let hash = SplitMix64.mix(number)
        for shift in stride(from: 60, through: 0, by: -4) { key.append(digits[Int(hash >> UInt64(shift) & 15)]) }
        key.withUnsafeBytes(body)
    }
}

func milliseconds(_ clock: clockid_t) -> UInt64 {
    var time = timespec()
    guard clock_gettime(clock, &time) == 0 else { preconditionFailure("clock_gettime failed") }
    return UInt64(time.tv_sec) * 1000 + UInt64(time.tv_nsec) / 1_000_000
}

func fail(_ text: String) -> Never {
    let line = Array("queue-filler: \(text)\n".utf8)
    _ = write(2, line, line.count)  // nobody is left to tell
    exit(69)
}

/// One producer after the other over one connection.
struct Filler {
    private let queue: ProducerQueue
    private var producer: Producer
    private var configuration = Producer.Configuration()
    private var identities = SystemRandomNumberGenerator()
    private(set) var increments: UInt64 = 0

    /// What one of a node's producers freezes at a time under a flood.
    private static let batchIncrements = 30_000
    private static let producerBytes = 32 << 20

    init(_ connection: RedisConnection, _ names: KeyNames) throws(RedisError) {
        queue = try ProducerQueue(connection: connection, names: names)
        configuration.queueBytes = 16 << 30
        configuration.batchBytes = 2 << 20
        producer = Self.fresh(configuration, &identities)
    }

    private static func fresh(
        _ configuration: Producer.Configuration, _ identities: inout SystemRandomNumberGenerator
    ) -> Producer {
        let id = ProducerID(Bytes16(high: identities.next(), low: identities.next()))
        let clock = RedisClock(guess: milliseconds(CLOCK_REALTIME), at: milliseconds(CLOCK_MONOTONIC))
        var producer = Producer(id: id, configuration: configuration, clock: clock)
        producer.connection(isUp: true, now: milliseconds(CLOCK_MONOTONIC))
        return producer
    }

    /// Pushes what `buffer` holds, as one batch, and empties it.
    mutating func push(_ buffer: inout IncrementBuffer) {
        if producer.heldBytes > Self.producerBytes { producer = Self.fresh(configuration, &identities) }
        while producer.topology == nil { fly() }
        do throws(Refusal) {
            // Nobody waits for the ticket.
            _ = try producer.admit(buffer, level: .queued, idempotencyKey: nil, now: milliseconds(CLOCK_MONOTONIC))
        } catch {
            fail("refused: \(error)")
        }
        increments += UInt64(buffer.count)
        buffer.removeAll(keepBytes: .max)
        while !producer.isFlushed { fly() }
    }

    private mutating func fly() {
        let commands = producer.nextFlight(now: milliseconds(CLOCK_MONOTONIC))
        if commands.isEmpty { fail("the partition takes nothing more") }
        let landed = deliver(commands)
        if let failure = landed.failure { fail("\(failure)") }
        for (command, answer) in zip(commands, landed.answers) {
            producer.received(
                answer, to: command, now: milliseconds(CLOCK_MONOTONIC))
        }
        producer.flightEnded()
    }

    private func deliver(_ commands: [QueueCommand]) -> ProducerQueue.Landed {
        var landed = queue.send(commands)
        while landed == nil {
            var watched = pollfd(
                fd: queue.descriptor, events: Int16(POLLIN) | (queue.isWriting ? Int16(POLLOUT) : 0), revents: 0)
            if poll(&watched, 1, 10_000) <= 0 { fail("Redis is silent") }
            if watched.revents & Int16(POLLOUT) != 0 { landed = queue.write() }
            if landed == nil, watched.revents & ~Int16(POLLOUT) != 0 { landed = queue.read() }
        }
        guard let landed else { preconditionFailure("the loop ends when the flight has landed") }
        return landed
    }

    /// Pushes `total` increments: key number and delta as `next` says for each index.
    mutating func fill(_ total: UInt64, _ next: (UInt64) -> (key: UInt64, delta: Int64)) -> Int64 {
        var buffer = IncrementBuffer()
        var sum: Int64 = 0
        for index in 0..<total {
            let (key, delta) = next(index)
            sum += delta
            Keys.withKey(key) { bytes in
                if let error = buffer.append(key: bytes, delta: delta) { fail("\(error)") }
            }
            if buffer.count == Self.batchIncrements { push(&buffer) }
        }
        if !buffer.isEmpty { push(&buffer) }
        return sum
    }
}

func run(_ arguments: [String]) throws {
    guard arguments.count >= 5, let keys = UInt64(arguments[4]), keys > 0 else { exit(64) }
    let link = RedisLink(url: try RedisURL(arguments[1]), clientName: "queue-filler")
    var filler = try Filler(try RedisConnection(link), try KeyNames(namespace: arguments[2]))
    var sum: Int64 = 0
    switch (arguments[3], arguments.count) {
    case ("all", 5):
        // The keys are a mix of their numbers: in the order of the numbers they are in random order.
        sum = filler.fill(keys) { (key: $0 + 1, delta: 1) }
    case ("random", 7):
        guard let count = UInt64(arguments[5]), let seed = UInt64(arguments[6]) else { exit(64) }
        var random = SplitMix64(seed: seed)
        sum = filler.fill(count) { _ in (key: random.next() % keys + 1, delta: Int64(random.next() % 20_001) - 10_000) }
    default: exit(64)
    }
    print("\(filler.increments) \(sum)")
}

do {
    try run(CommandLine.arguments)
} catch {
    fail("\(error)")
}
