// One run: real producers and consumers, models of Redis and of the shard files, and a seed that decides everything.
//
// A step advances the clock, lets a fault and a client happen, delivers some messages and lets one node, consumer or
// tool act. After some hundred steps with faults everything heals; then all that was admitted has to arrive, and the
// oracle compares every identity with what its client was told. No decision may depend on the order of a Set or a
// Dictionary, which differs from process to process.

import TallyCore

/// The state of one run.
public final class World {
    let mix: Mix
    let seed: UInt64
    let mutation: Mutation?
    var random: SplitMix64
    /// Monotonic milliseconds, and as many since 1970.
    var now: UInt64 = 1_000_000
    var redis = ModelRedis()
    /// Fsynced beside the shards, the authority.
    var cluster: ClusterFile
    let clusterID = ClusterID(Bytes16(high: 0x7461, low: 0x6c6c))
    var files: [PartitionID: ModelShard] = [:]
    /// Shards that are being made; no tool needs them whole.
    var staging: [ModelShard] = []
    var network = Network()
    var nodes: [SimulatedNode] = []
    var consumers: [SimulatedConsumer] = []
    var tool: Tool?
    var oracle = Oracle()
    var problems: [String] = []
    var snapshots: [ModelRedis] = []
    /// Faults still happen.
    var isLive = true
    /// Hash of everything that happened.
    private(set) var history: UInt64 = 0xcbf2_9ce4_8422_2325
    private let isTraced: Bool
    private(set) var trace: [String] = []

    var configuration = Producer.Configuration()
    let meanTickMilliseconds: Int
    let requestRate: Double
    let rollbackRate: Double
    private var nextNode = 0
    private var nextConsumer = 0
    /// The epoch whose consumers run.
    var startedEpoch: UInt32 = 0
    /// A backup that may take the place of the file some day.
    var backup: ModelShard?
    /// The newest file of a partition whose place a backup took.
    var replaced: [PartitionID: ModelShard] = [:]
    var retries: [Int] = []
    var clocks = Clocks()
    var operators = Operators()
    var folder: OtherFolder?
    var settings = Settings()
    var garbage = Garbage()
    /// When Redis was put back last, to an older or to a newer state.
    var wentBackAt: UInt64 = 0
    /// The file for which each lease was granted last, since then.
    var holders: [PartitionID: ModelShard] = [:]
    /// What the right cluster had in Redis while another one is there.
    var displaced: ModelRedis?
    /// An earlier state of the host on which Redis, the tools and the consumers run.
    var host: HostState?
    /// An earlier state of a node's memory.
    var memory: SimulatedNode?
    var counts = Counts()

    /// What happened how often.
    public struct Counts: Hashable, Sendable {
        public var rebalances = 0
        /// Batches that repair took over from lists of earlier epochs.
        public var swept = 0
        /// Tools that were killed, by what they were about.
        public var killedTools: [String: Int] = [:]
        /// How far the cluster came.
        public var epoch: UInt32 = 1
        public var refusedFiles = 0
        /// Waits that ended below the level asked for: 202.
        public var cutShort = 0
        public var deadLetters = 0
        /// Imports that were completed.
        public var imports = 0
        public var purges = 0
        /// Batches that were accepted as lost.
        public var lostBatches = 0
        /// Increments that nobody could decide about, visible in the dead letters.
        public var undecided = 0
        /// Claims that were forgotten.
        public var forgottenClaims = 0
        public var replayedLetters = 0
        /// Nodes that ended because another process used their id.
        public var conflicts = 0
        public var replays: UInt64 = 0
        public var gaps: UInt64 = 0
        public var duplicates: UInt64 = 0
    }

    init(mix: Mix, seed: UInt64, mutation: Mutation?, isTraced: Bool) {
        self.mix = mix
        self.seed = seed
        self.mutation = mutation
        self.isTraced = isTraced
        random = SplitMix64(seed: seed)
        let faults = mix.faults
        let topology = Topology(cluster: clusterID, epoch: 1, partitions: 1 + random.below(4))
        cluster = ClusterFile(topology: topology, state: .ready, earlier: [])
        meanTickMilliseconds = random.pick([2, 6, 15])
        requestRate = random.pick([0.1, 0.2, 0.4])
        rollbackRate = random.pick([0.002, 0.005, 0.012])
        configuration = World.bounds(faults, &random)
        redis.mutation = mutation
        redis.enforcesLeases = faults.contains(.leases)
        for partition in topology.partitionIDs {
            files[partition] = newFile(partition)
            create(partition)
        }
        note(9 << 48 ^ UInt64(redis.publish(topology).epoch))
        startConsumers()
        for _ in 0..<2 { nodes.append(newNode()) }
        if faults.contains(.imports) { beginQuietly() }
    }

    /// Bounds that a short run reaches.
    private static func bounds(_ faults: Faults, _ random: inout SplitMix64) -> Producer.Configuration {
        var bounds = Producer.Configuration()
        let isFull = faults.contains(.full)
        bounds.outboxBytes = (isFull ? 4_000 : 8_000) * (1 + random.below(4))
        bounds.batchBytes = random.pick([230, 300, 1 << 20])
        if isFull { bounds.queueBytes = 400 + random.below(1_600) }
        return bounds
    }

    /// What Redis' clock shows, in milliseconds since 1970.
    var redisTime: UInt64 { UInt64(clamping: Int64(clamping: now) + clocks.redisOffset) }

    /// What the cluster file says.
    var topology: Topology { cluster.topology }
    var epoch: UInt32 { cluster.topology.epoch }
    var isReady: Bool { cluster.state == .ready }

    func newFile(_ partition: PartitionID) -> ModelShard {
        let file = ModelShard(partition: partition, uuid: shardUUID(of: partition))
        file.tables.mutation = mutation
        return file
    }

    /// As the cluster file has it.
    func shardUUID(of partition: PartitionID) -> ShardUUID {
        let change = mutation == .derivedShard || partition.epoch != epoch ? nil : cluster.change
        return files[partition]?.uuid ?? ShardUUID(derivedFor: partition, of: clusterID, change: change)
    }

    func newNodeNumber() -> Int {
        nextNode += 1
        return nextNode
    }

    func newNode() -> SimulatedNode {
        let node = SimulatedNode(
            number: newNodeNumber(), id: .random(using: &random), configuration: configuration,
            clock: RedisClock(guess: redisTime, at: now), mutation: mutation)
        node.connect(in: self)
        return node
    }

    func newConsumer(_ partition: PartitionID, host: String) -> SimulatedConsumer? {
        files[partition].map { newConsumer(of: $0, host: host) }
    }

    func newConsumer(of file: ModelShard, host: String) -> SimulatedConsumer {
        nextConsumer += 1
        return SimulatedConsumer(number: nextConsumer, host: host, file: file)
    }

    /// Two consumers for each file, if nothing but the transaction is to keep them apart.
    func startConsumers() {
        startedEpoch = epoch
        for partition in topology.partitionIDs {
            for host in mix.faults.isDisjoint(with: [.restore, .copies, .clocks, .hostBack]) ? ["a", "b"] : ["a"] {
                if let consumer = newConsumer(partition, host: host) { consumers.append(consumer) }
            }
        }
    }

    // MARK: Steps

    func run(quiesceLimit: Int = 20_000) {
        for _ in 0..<random.pick([400, 600, 1200]) { step() }
        heal()
        log("QUIESCE")
        isLive = false
        settle(quiesceLimit)
        if problems.isEmpty { probe() }
        if problems.isEmpty { settle(quiesceLimit) }
        // A run that did not settle has lost nothing yet.
        if problems.isEmpty { check() }
    }

    private func settle(_ limit: Int) {
        for count in 0..<limit {
            step()
            if !problems.isEmpty { return }
            if tool == nil, count % 50 == 0 { tool = dueTool() }
            if count % 10 == 0 { tidyLists() }
            if count % 10 == 0, isSettled { return }
        }
        bad("wedged: \(describeUnsettled())")
    }

    private func step() {
        now += UInt64(random.below(2 * meanTickMilliseconds + 1)) * (isLive ? 1 : 3)
        if isReady, startedEpoch != epoch { startConsumers() }
        if isLive {
            injectFaults()
            letClientsAct()
        }
        // A backlog drains: the network is not a limit.
        for _ in 0..<((random.chance(0.6) ? 1 : 0) + network.count / 10) { deliver() }
        let chosen = random.below(tool == nil ? 70 : 100)
        if chosen < 30 {
            if !nodes.isEmpty { random.pick(nodes).act(in: self) }
        } else if chosen < 70 {
            if !consumers.isEmpty { random.pick(consumers).act(in: self) }
        } else if let tool {
            if let sweeper = tool.sweeper, random.chance(0.5) { sweeper.act(in: self) }
            for _ in 0..<2 where self.tool === tool {
                if !killAtEdge(tool) { tool.act(in: self) }
            }
            if tool.isDone, self.tool === tool {
                tool.kill()
                self.tool = nil
            }
        }
    }

    /// Whether `status` would ask for a repair.
    var isOutOfOrder: Bool {
        !isReady || redis.topology != topology || topology.partitionIDs.contains { redis.groups[$0] == nil }
            || isEpochNoted
            || mutation != .noSweep && redis.groups.contains { $0.key.epoch < epoch && !$0.value.queue.isEmpty }
    }

    private var isSettled: Bool {
        if tool != nil || !network.limbo.isEmpty || isOutOfOrder || isLossDue || operators.isRepairDue { return false }
        if topology.partitionIDs.contains(where: { redis.groups[$0]?.queue.isEmpty == false }) { return false }
        return nodes.allSatisfy { $0.isSettled(topology, now) }
    }

    private func describeUnsettled() -> String {
        let lists = topology.partitionIDs.map { "\($0): \(redis.groups[$0]?.queue.count ?? -1)" }
        let held = nodes.map { "n\($0.number): \($0.producer.heldBytes)" }
        return "lists \(lists), held \(held), limbo \(network.limbo.count), out of order \(isOutOfOrder)"
    }

    // MARK: Records

    func bad(_ problem: @autoclosure () -> String) {
        let text = problem()
        problems.append(text)
        log("PROBLEM \(text)")
    }

    func log(_ line: @autoclosure () -> String) {
        if isTraced { trace.append("\(now) \(line())") }
    }

    /// Mixes something that happened into the run's hash.
    func note(_ value: UInt64) {
        history = (history ^ value) &* 0x0000_0100_0000_01b3
        history ^= history >> 29
    }
}
