// A producer that uses the id of a web node's, as a clone of its machine would: it reads the topology and pushes.

public import RedisQueue
public import TallyCore

/// One producer under somebody's id. Owned by one thread.
public final class CloneNode {
    private var producer: Producer
    private let queue: ProducerQueue
    private var now: UInt64 = 1_000

    /// Connects and reads the topology.
    public init(_ id: ProducerID, _ link: RedisLink, _ names: KeyNames) throws {
        producer = Producer(
            id: id, configuration: Producer.Configuration(), clock: RedisClock(guess: 1_700_000_000_000, at: now))
        queue = try ProducerQueue(connection: try RedisConnection(link), names: names)
        producer.connection(isUp: true, now: now)
        fly()
    }

    /// Whether somebody else has written to its stream.
    public var isInConflict: Bool { producer.conflict != nil }

    /// Pushes an increment of 1 of `key` as a batch of its own; whether Redis has taken everything.
    public func push(_ key: String) throws -> Bool {
        var buffer = IncrementBuffer()
        guard Array(key.utf8).withUnsafeBytes({ buffer.append(key: $0, delta: 1) }) == nil else { return false }
        _ = try producer.admit(buffer, level: .memory, idempotencyKey: nil, now: now)  // nobody waits for it
        fly()
        return producer.isFlushed
    }

    private func fly() {
        now += 10_000
        let commands = producer.nextFlight(now: now)
        if commands.isEmpty { return }
        var landed = queue.send(commands)
        // The socket does not block: asked again until the bound.
        _ = waitUntil { () -> Bool in
            if landed == nil { landed = queue.isWriting ? queue.write() : nil }
            if landed == nil { landed = queue.read() }
            return landed != nil
        }
        guard let landed else { return }
        for (command, answer) in zip(landed.commands, landed.answers) {
            producer.received(answer, to: command, now: now)
        }
        producer.flightEnded()
    }
}
