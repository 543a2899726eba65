// What lies between the machines and Redis: messages that wait for delivery in any order, and a limbo of commands that
// will be executed much later, after their senders have given them up.

import TallyCore

/// A command on its way to Redis; its sender recognises the answer.
enum Command {
    case node(SimulatedNode, flight: Int, position: Int, QueueCommand)
    case consumer(SimulatedConsumer, tag: Int, ConsumerCommand)
    case tool(Tool, tag: Int, ToolCommand)
}

/// What a tool sends: a step of a change of epoch that Redis performs, or what a consumer would send.
enum ToolCommand {
    case step(EpochChange.Step)
    case queue(PartitionID, ConsumerCommand)
}

enum ToolReply {
    case done
    case queue(ConsumerReply)
}

enum ConsumerCommand {
    case claim
    case peek(skip: Int, bytesMax: Int, batchesMax: Int)
    case trim(TrimRequest, upTo: Int)
    case renew(token: UInt64)
    /// Only a drain seals.
    case seal
}

enum ConsumerReply {
    case claim(ClaimReply, newestEpoch: UInt32)
    /// - position: batches ever popped and those skipped, for the canary `offset-trim`.
    case peek(PeekReply, position: Int)
    case trim(TrimReply)
    case renew(isFenced: Bool)
    case seal(SealReply)
}

struct Network {
    enum Message {
        case command(Command)
        case nodeAnswer(SimulatedNode, flight: Int, position: Int, QueueCommand, QueueAnswer)
        case consumerAnswer(SimulatedConsumer, tag: Int, ConsumerReply)
        case toolAnswer(Tool, tag: Int, ToolCommand, ToolReply)
    }

    private(set) var messages: [Message] = []
    /// Commands that are executed much later.
    private(set) var limbo: [Command] = []

    var count: Int { messages.count }

    mutating func add(_ message: Message) { messages.append(message) }

    mutating func addToLimbo(_ command: Command) { limbo.append(command) }

    /// Whatever is under way is lost.
    mutating func cut() {
        messages = []
        limbo = []
    }

    mutating func take(_ random: inout SplitMix64) -> Message? {
        if messages.isEmpty { return nil }
        let index = random.below(messages.count)
        messages.swapAt(index, messages.count - 1)
        return messages.popLast()
    }

    mutating func takeFromLimbo(_ random: inout SplitMix64) -> Command? {
        if limbo.isEmpty { return nil }
        return limbo.remove(at: random.below(limbo.count))
    }
}

extension World {
    private var isLossy: Bool { isLive && mix.faults.contains(.network) }

    func send(_ command: Command) {
        if isLossy {
            if random.chance(0.05) { return }
            if random.chance(0.07) {
                network.addToLimbo(command)
                return
            }
        }
        network.add(.command(command))
    }

    func deliver() {
        if !network.limbo.isEmpty, random.chance(isLive ? 0.02 : 0.2) {
            guard let command = network.takeFromLimbo(&random) else { return }
            log("late:")
            let answer = execute(command)
            if random.chance(0.3) { network.add(answer) }
            return
        }
        switch network.take(&random) {
        case nil: return
        case .command(let command):
            let answer = execute(command)
            if isLossy, random.chance(0.1) { return }
            network.add(answer)
        case .nodeAnswer(let node, let flight, let position, let command, let answer):
            node.receive(answer, to: command, flight: flight, position: position, in: self)
        case .consumerAnswer(let consumer, let tag, let reply):
            consumer.receive(reply, tag: tag, in: self)
        case .toolAnswer(let tool, let tag, let command, let reply):
            tool.receive(reply, to: command, tag: tag, in: self)
        }
    }

    // MARK: Execution

    /// What Redis does with a command.
    private func execute(_ command: Command) -> Network.Message {
        switch command {
        case .node(let node, let flight, let position, let command):
            let answer = execute(command, of: node)
            log("n\(node.number) \(Trace.text(command)) -> \(Trace.text(answer))")
            note(UInt64(node.number) << 32 ^ Trace.number(answer))
            return .nodeAnswer(node, flight: flight, position: position, command, answer)
        case .consumer(let consumer, let tag, let command):
            let reply = execute(command, consumer.file.partition, host: consumer.host, shard: consumer.file.uuid)
            log("c\(consumer.number) \(consumer.file.partition) \(Trace.text(command)) -> \(Trace.text(reply))")
            note(UInt64(consumer.number) << 32 ^ Trace.number(reply))
            checkHolder(consumer.file, reply)
            return .consumerAnswer(consumer, tag: tag, reply)
        case .tool(let tool, let tag, let command):
            return .toolAnswer(tool, tag: tag, command, execute(command))
        }
    }

    /// Whoever trims has the lease that was granted last: a token never comes again.
    private func checkHolder(_ file: ModelShard, _ reply: ConsumerReply) {
        switch reply {
        case .claim(.granted, _): holders[file.partition] = file
        case .trim(.trimmed(let batches)):
            guard batches > 0, redis.enforcesLeases, let holder = holders[file.partition], holder !== file else {
                return
            }
            bad("\(file.partition) was trimmed by a file that lost its lease")
        default: break
        }
    }

    private func execute(_ command: ToolCommand) -> ToolReply {
        switch command {
        case .step(let step):
            perform(step)
            return .done
        case .queue(let partition, let command):
            let reply = execute(command, partition, host: "a")
            if case .claim(.granted, _) = reply { holders[partition] = nil }
            log("tool \(partition) \(Trace.text(command)) -> \(Trace.text(reply))")
            note(29 << 32 ^ Trace.number(reply))
            return .queue(reply)
        }
    }

    /// A step of a change of epoch that one call of Redis performs.
    private func perform(_ step: EpochChange.Step) {
        log("redis \(step)")
        switch step {
        case .create(let partition): create(partition)
        case .publish(let topology): note(9 << 48 ^ UInt64(redis.publish(topology).epoch))
        case .seal(let partition): note(redis.seal(partition) ? 10 : 11)
        case .collect(let partition): note(redis.collect(partition) ? 12 : 13)
        case .open, .drain, .build, .place, .ready: bad("Redis knows nothing of \(step)")
        }
    }

    private func newToken() -> UInt64 { .random(in: 1...Limits.sequenceMax, using: &random) }

    func create(_ partition: PartitionID) { create(partition, files[partition]) }

    func create(_ partition: PartitionID, _ file: ModelShard?) {
        let isNew = redis.create(
            partition, shard: file?.uuid ?? shardUUID(of: partition), owner: owner(of: partition),
            applied: file?.watermarks ?? [:])
        note(isNew ? 7 : 8)
    }

    private func execute(_ command: QueueCommand, of node: SimulatedNode) -> QueueAnswer {
        switch command {
        case .readTopology: .topology(redis.topology)
        case .readTime: .time(redisTime)
        case .heartbeat(let stream, let floor, let topology):
            .heartbeat(
                redis.heartbeat(node.forgery.real(stream), floor: floor, owner: ModelRedis.Owner(topology)))
        case .compare(let floors, let partition, let topology):
            .compared(
                redis.compare(
                    node.forgery.real(floors), in: node.forgery.real(partition), owner: ModelRedis.Owner(topology)))
        case .noteEpoch(let topology): noteEpoch(topology)
        case .push(let batch, let floor, let limitBytes, let topology):
            .push(
                push(batch, floor: floor, limitBytes: limitBytes, owner: ModelRedis.Owner(topology), of: node))
        }
    }

    private func noteEpoch(_ topology: Topology) -> QueueAnswer {
        redis.noteEpoch(topology)
        return .epochNoted
    }

    /// As whoever creates or claims a group knows it.
    private func owner(of partition: PartitionID) -> ModelRedis.Owner {
        let old = cluster.earlier.first { $0.epoch == partition.epoch }
        return ModelRedis.Owner(
            Topology(cluster: clusterID, epoch: partition.epoch, partitions: old?.partitions ?? topology.partitions))
    }

    private func push(
        _ batch: Batch, floor: UInt64, limitBytes: Int, owner: ModelRedis.Owner, of node: SimulatedNode
    ) -> PushReply {
        let reply = node.forgery.push(batch, floor: floor, limitBytes: limitBytes, owner: owner, into: &redis)
        if case .ok = reply { remember(batch) }
        return reply
    }

    private func execute(
        _ command: ConsumerCommand, _ partition: PartitionID, host: String, shard: ShardUUID? = nil
    ) -> ConsumerReply {
        switch command {
        case .claim:
            let reply = redis.claim(
                partition, holder: host, leaseMilliseconds: Limits.leaseMilliseconds, token: newToken(),
                owner: owner(of: partition), shard: shard, now: now)
            return .claim(reply, newestEpoch: redis.topology?.epoch ?? 0)
        case .peek(let skip, let bytesMax, let batchesMax):
            let reply = redis.peek(
                partition, skip: skip, bytesMax: bytesMax, batchesMax: batchesMax, time: redisTime)
            return .peek(reply, position: (redis.groups[partition]?.popped ?? 0) + skip)
        case .trim(let request, let upTo):
            return .trim(redis.trim(partition, request, upTo: upTo))
        case .renew(let token):
            return .renew(
                isFenced: redis.renew(
                    partition, token: token, leaseMilliseconds: Limits.leaseMilliseconds, now: now))
        case .seal: return .seal(redis.seal(partition) ? .sealed : .noTopology)
        }
    }
}
