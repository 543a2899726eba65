// The shell of one real `Producer`: one flight at a time, over a connection that may break. Answers may come late, from
// an earlier flight, or never.

import TallyCore

final class SimulatedNode {
    let number: Int
    var producer: Producer
    var forgery: Forgery
    var isDead = false
    /// Steps for which it does not move; answers wait.
    var stalledSteps = 0
    private var flightNumber = 0
    private var flight: Flight?
    private var inbox: [(answer: QueueAnswer, command: QueueCommand, flight: Int, position: Int)] = []
    private var isConnected = true
    private(set) var waiting: [Waiting] = []
    /// It was asked to stop: admits nothing, and ends when it may.
    private var isStopping = false
    /// Until when it waits for the shards; nil before Redis has everything.
    private var stopDeadline: UInt64?
    /// It goes on from an earlier state: clients of that time are gone.
    private var isResumed = false
    /// Batches that a tool's producer took over and that are not stored yet.
    private var adopted: Set<Ticket> = []
    private var buffer = IncrementBuffer()
    private var acknowledged: [Acknowledgement] = []

    private struct Flight {
        let commands: [QueueCommand]
        var isAnswered: [Bool]
        var missing: Int
    }

    /// A client that waits for an answer.
    struct Waiting {
        let ticket: Ticket
        let request: Int
        let level: Level
        let since: UInt64
    }

    init(
        number: Int, id: ProducerID, configuration: Producer.Configuration, clock: RedisClock, mutation: Mutation?
    ) {
        self.number = number
        producer = Producer(id: id, configuration: configuration, clock: clock)
        forgery = Forgery(mutation)
    }

    // MARK: Clients

    func submit(_ request: Int, level: Level, in world: World) {
        buffer.removeAll()
        for increment in world.oracle.requests[request].increments {
            let error = increment.key.withUnsafeBytes { buffer.append(key: $0, delta: increment.delta) }
            precondition(error == nil, "the simulator made a key that is none")
        }
        let isIdempotent = world.oracle.requests[request].isIdempotent
        let idempotencyKey = isIdempotent ? Array("id\(request)".utf8) : nil
        do {
            let ticket = try producer.admit(buffer, level: level, idempotencyKey: idempotencyKey, now: world.now)
            world.oracle.admitted(request, by: number, now: world.now)
            world.log("n\(number) admits r\(request) \(level)")
            world.note(UInt64(request) << 8 ^ 1)
            if let ticket {
                waiting.append(Waiting(ticket: ticket, request: request, level: level, since: world.now))
            }
        } catch {
            world.oracle[request].wasRefused = true
            world.oracle.refusals += 1
            world.log("n\(number) refuses r\(request): \(error)")
            world.note(UInt64(request) << 8 ^ 2)
        }
    }

    private func acknowledge(in world: World) {
        producer.takeAcknowledged(into: &acknowledged)
        for reached in acknowledged {
            if adopted.remove(reached.ticket) != nil { continue }
            guard let index = waiting.firstIndex(where: { $0.ticket == reached.ticket }) else {
                if isResumed { continue }
                world.bad("n\(number) acknowledges a ticket that nobody holds")
                continue
            }
            let client = waiting.remove(at: index)
            if reached.level < client.level { world.bad("r\(client.request) was answered below its level") }
            world.oracle.acknowledge(client.request, reached.level)
            if reached.level == .stored { world.checkStored(client.request) }
            world.log("n\(number) acknowledges r\(client.request) \(reached.level)")
            world.note(UInt64(client.request) << 8 ^ 3)
        }
    }

    /// A client's patience ends: it is told the level reached so far.
    private func cutShort(in world: World) {
        let patience = 300 + UInt64(world.random.below(Int(Limits.waitMilliseconds)))
        guard let index = waiting.firstIndex(where: { world.now > $0.since + patience }) else { return }
        let client = waiting.remove(at: index)
        guard let level = producer.abandon(client.ticket) else {
            world.bad("r\(client.request) had been acknowledged, and nobody was told")
            return
        }
        world.counts.cutShort += 1
        world.oracle.acknowledge(client.request, level)
        world.log("n\(number) r\(client.request) has waited long enough, reached \(level)")
    }

    // MARK: A tool's producer

    /// Where it is, in Redis' words.
    var topology: Topology? { forgery.real(producer.topology) }

    var isAdopting: Bool { !adopted.isEmpty }

    /// Takes over what lies in an old list; its identity there.
    func adopt(_ batch: [UInt8], in world: World) -> BatchID? {
        do {
            if let ticket = try producer.adopt(batch) { adopted.insert(ticket) }
            let id = try batch.withUnsafeBytes { try BatchHeader(reading: $0) }.id
            world.log("n\(number) adopts \(id.stream.partition) #\(id.sequence)")
            return id
        } catch {
            world.bad("an old list holds what is no batch: \(error)")
            return nil
        }
    }

    /// A tool's increments, under its claim; false if they are refused for now.
    func load(_ increments: [Oracle.Increment], as idempotencyKey: [UInt8], in world: World) -> Bool {
        buffer.removeAll()
        for increment in increments {
            let error = increment.key.withUnsafeBytes { buffer.append(key: $0, delta: increment.delta) }
            precondition(error == nil, "the simulator made a key that is none")
        }
        do {
            let ticket = try producer.admit(buffer, level: .stored, idempotencyKey: idempotencyKey, now: world.now)
            if let ticket { adopted.insert(ticket) }
            return true
        } catch {
            world.log("n\(number) refuses a tool: \(error)")
            return false
        }
    }

    // MARK: Memory

    /// What a snapshot of the machine holds of it.
    func snapshot() -> SimulatedNode { copy(number: number, now: nil) }

    /// A process that goes on from this state; its connections and clients are gone.
    func copy(number: Int, now: UInt64?) -> SimulatedNode {
        let copy = SimulatedNode(number: number, producer: producer, forgery: forgery)
        copy.isResumed = true
        copy.flight = flight
        if let now { copy.abandonFlight(now: now) }
        return copy
    }

    private init(number: Int, producer: Producer, forgery: Forgery) {
        self.number = number
        self.producer = producer
        self.forgery = forgery
    }

    // MARK: Connection

    /// A new connection begins with a look at Redis' settings.
    func connect(in world: World) {
        isConnected = world.unfitReason == nil
        producer.connection(isUp: isConnected, unfit: world.unfitReason, now: world.now)
    }

    /// The server is gone, and everything under way with it.
    func cut(in world: World) {
        abandonFlight(now: world.now)
        acknowledge(in: world)
    }

    private func abandonFlight(now: UInt64) {
        inbox.removeAll()
        if let open = flight {
            flight = nil
            for (position, command) in open.commands.enumerated() where !open.isAnswered[position] {
                producer.received(.unknown, to: command, now: now)
            }
            producer.flightEnded()
        }
        isConnected = false
        producer.connection(isUp: false, now: now)
    }

    // MARK: Flights

    func act(in world: World) {
        if isDead { return }
        if producer.conflict != nil {
            world.conflicted(self)
            return
        }
        if stalledSteps > 0 {
            stalledSteps -= 1
            return
        }
        let answers = inbox
        inbox.removeAll()
        for late in answers {
            receive(late.answer, to: late.command, flight: late.flight, position: late.position, in: world)
        }
        if world.mix.faults.contains(.impatient), world.random.chance(0.2) { cutShort(in: world) }
        if flight != nil {
            if world.random.chance(0.12) { giveUp(in: world) }
            return
        }
        if !isConnected {
            if world.random.chance(0.5) { connect(in: world) }
            return
        }
        launch(in: world)
        if isStopping, flight == nil { finishStopping(in: world) }
    }

    // MARK: Stopping

    /// SIGTERM. What the present connection has confirmed may go with the Redis that it reaches: a new one is asked.
    func stop(in world: World) {
        if isStopping || isDead { return }
        isStopping = true
        producer.drain()
        if world.mutation != .hastyStop { cut(in: world) }
        world.log("STOP n\(number)")
    }

    /// It ends when the shards have everything, or after some time for it; then it says what they lack.
    private func finishStopping(in world: World) {
        guard producer.isFlushed, isConnected else { return }
        if world.mutation == .hastyStop { return world.stopped(self, lacksNothing: true) }
        if producer.heldBytes > 0 || !producer.areFloorsTold {
            let deadline = stopDeadline ?? world.now + Limits.stopStoredMilliseconds
            stopDeadline = deadline
            if world.now < deadline { return }
        }
        world.stopped(self, lacksNothing: producer.heldBytes == 0)
    }

    private func launch(in world: World) {
        var commands = producer.nextFlight(now: world.now)
        commands = forgery.filter(commands) { answer, command in
            producer.received(answer, to: command, now: world.now)
        }
        for identity in forgery.takeExcused() { world.oracle.excuse(key: identity) }
        acknowledge(in: world)
        if commands.isEmpty {
            producer.flightEnded()
            return
        }
        flightNumber += 1
        flight = Flight(
            commands: commands, isAnswered: Array(repeating: false, count: commands.count), missing: commands.count)
        for (position, command) in commands.enumerated() {
            world.send(.node(self, flight: flightNumber, position: position, command))
        }
    }

    /// The connection is dead, or seems to be: nobody knows what became of the commands.
    private func giveUp(in world: World) {
        guard let open = flight else { return }
        flight = nil
        for (position, command) in open.commands.enumerated() where !open.isAnswered[position] {
            producer.received(.unknown, to: command, now: world.now)
        }
        producer.flightEnded()
        if world.random.chance(0.3) {
            isConnected = false
            producer.connection(isUp: false, now: world.now)
        }
        acknowledge(in: world)
    }

    func receive(
        _ answer: QueueAnswer, to command: QueueCommand, flight number: Int, position: Int, in world: World
    ) {
        if isDead { return }
        if stalledSteps > 0 {
            inbox.append((answer, command, number, position))
            return
        }
        let answer = forgery.answer(answer, to: command)
        producer.received(answer, to: command, now: world.now)
        if number == flightNumber, var open = flight, !open.isAnswered[position] {
            open.isAnswered[position] = true
            open.missing -= 1
            flight = open.missing == 0 ? nil : open
            if open.missing == 0 { producer.flightEnded() }
        }
        acknowledge(in: world)
    }

    /// Whether it knows the topology, admits requests and waits for nothing.
    func isSettled(_ topology: Topology, _ now: UInt64) -> Bool {
        self.topology == topology && producer.heldBytes == 0 && producer.closedReason(now: now) == nil
            && producer.closedPartitions.isEmpty && stalledSteps == 0 && inbox.isEmpty && waiting.isEmpty
    }
}
