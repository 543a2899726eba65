// A producer with a clock in the test's hand and short words for what its shell does. Answers are scripted by the
// test: what Redis would really say is the simulator's business.

import Testing

@testable import TallyCore

struct ProducerDriver {
    typealias Fixture = CoreFixture

    /// Redis' time at the monotonic time 0.
    static let epoch: UInt64 = 1_700_000_000_000

    var producer: Producer
    var now: UInt64 = 10_000
    let partitions: Int

    /// A connected producer that has read a topology of epoch 1.
    init(partitions: Int = 2, _ configure: (inout Producer.Configuration) -> Void = { _ in }) {
        var configuration = Producer.Configuration()
        configure(&configuration)
        producer = Producer(
            id: Fixture.producer(1), configuration: configuration, clock: RedisClock(guess: Self.epoch + now, at: now))
        self.partitions = partitions
        producer.connection(isUp: true, now: now)
        #expect(flight() == [.readTopology, .readTime])
        answerTopology(epoch: 1, partitions: partitions)
    }

    static func topology(epoch: UInt32, partitions: Int, cluster: ClusterID = CoreFixture.cluster) -> Topology {
        Topology(cluster: cluster, epoch: epoch, partitions: partitions)
    }

    /// A key of `partition` in epoch 1.
    func key(_ partition: Int, _ number: Int = 0) -> String {
        Fixture.keys(in: partition, of: partitions, count: number + 1)[number]
    }

    mutating func admit(
        _ list: [(String, Int64)], level: Level = .queued, idempotencyKey: String? = nil
    ) throws(Refusal) -> Ticket? {
        try producer.admit(
            Fixture.increments(list), level: level, idempotencyKey: idempotencyKey.map { Array($0.utf8) }, now: now)
    }

    /// What admission of one increment of `key` would be refused with, without trying.
    func refusal(_ key: String) -> Refusal? {
        var copy = self
        do throws(Refusal) {
            _ = try copy.admit([(key, 1)])  // only whether it is admitted
            return nil
        } catch {
            return error
        }
    }

    mutating func flight() -> [QueueCommand] {
        producer.nextFlight(now: now)
    }

    /// The next flight, which must consist of pushes, and of comparisons after a move.
    mutating func pushes() -> [Batch] {
        flight().compactMap { command in
            if case .compare = command { return nil }
            guard case .push(let batch, _, _, _) = command else {
                Issue.record("\(command) is no push")
                return nil
            }
            return batch
        }
    }

    mutating func answer(_ batch: Batch, _ reply: PushReply) {
        received(.push(reply), to: Self.push(batch))
    }

    static func push(_ batch: Batch, limitBytes: Int = 0) -> QueueCommand {
        .push(
            batch, floor: 0, limitBytes: limitBytes,
            topology: topology(epoch: batch.id.stream.partition.epoch, partitions: 1, cluster: Fixture.cluster))
    }

    /// As the producer asks for a partition of its epoch now.
    func heartbeat(_ number: UInt32) -> QueueCommand { heartbeat(of: producer.channels[Int(number)].stream) }

    func heartbeat(of stream: StreamID) -> QueueCommand {
        guard let topology = producer.topology else { preconditionFailure("no producer asks before its topology") }
        let channel = producer.channels[Int(stream.partition.number)]
        return .heartbeat(channel.stream, floor: channel.floor, topology: topology)
    }

    mutating func answer(_ batches: [Batch], _ reply: PushReply) {
        for batch in batches { answer(batch, reply) }
    }

    mutating func received(_ answer: QueueAnswer, to command: QueueCommand) {
        producer.received(answer, to: command, now: now)
    }

    mutating func answerTopology(epoch: UInt32, partitions: Int, cluster: ClusterID = CoreFixture.cluster) {
        received(
            .topology(Self.topology(epoch: epoch, partitions: partitions, cluster: cluster)), to: .readTopology)
    }

    func stream(_ partition: UInt32) -> StreamID { Fixture.stream(1, epoch: 1, partition: partition) }

    mutating func acknowledged() -> [Acknowledgement] {
        var list: [Acknowledgement] = []
        producer.takeAcknowledged(into: &list)
        return list
    }

    /// Admits one increment of `key`, and has its batch confirmed.
    mutating func deliver(_ key: String, applied: UInt64 = 0) throws {
        _ = try admit([(key, 1)])  // nobody waits
        let batches = pushes()
        #expect(batches.count == 1)
        answer(batches, .ok(applied: applied))
        #expect(acknowledged().count == 1)
    }
}
