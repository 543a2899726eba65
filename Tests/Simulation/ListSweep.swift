// The sweep, a part of repair: what lies in the lists of earlier epochs is taken over by a producer of the tool's own,
// and removed from the old list only when it is stored in the new epoch.
//
//     for each list: seal ──> claim ──> peek ──> adopt ──> stored? ──> trim ──> again, until a peek is empty
//                                                            │ publish now and then, for Redis may go back

import TallyCore

struct ListSweep {
    enum Outcome {
        case goOn
        case send(ToolCommand)
        case publishAgain
    }

    private enum State {
        case sealing
        case claiming
        case peeking(token: UInt64)
        case adopting([[UInt8]], token: UInt64)
        case storing(TrimRequest)
        case trimming(TrimRequest)
    }

    /// What is left to be swept, the next one last.
    private var partitions: [PartitionID]
    private let epoch: UInt32
    private var state = State.sealing
    private var waited = 0
    private(set) var sweeper: SimulatedNode?

    /// All lists of the epochs before the one of `cluster`.
    init(of cluster: ClusterFile) {
        partitions = cluster.earlier.flatMap(\.partitionIDs).reversed()
        epoch = cluster.topology.epoch
    }

    var isDone: Bool { partitions.isEmpty }

    /// What a kill interrupts.
    var point: String {
        switch state {
        case _ where isDone: "end"
        case .sealing, .claiming: "sweep: seal"
        case .peeking: "sweep: peek"
        case .adopting: "sweep: adopt"
        case .storing: "sweep: store"
        case .trimming: "sweep: trim"
        }
    }

    mutating func act(in world: World) -> Outcome {
        guard let partition = partitions.last else { return .goOn }
        switch state {
        case .sealing:
            if world.mutation == .earlyPop { forgetSweeper() }
            return .send(.step(.seal(partition)))
        case .claiming: return .send(.queue(partition, .claim))
        case .peeking:
            return .send(.queue(partition, .peek(skip: 0, bytesMax: 2_000, batchesMax: 1 + world.random.below(6))))
        case .adopting(let batches, let token):
            let sweeper = sweeper ?? world.newNode()
            self.sweeper = sweeper
            // A sweeper that has read an older topology waits for the right one.
            guard sweeper.topology?.epoch == epoch else { return waitOn() }
            let committed = batches.compactMap { sweeper.adopt($0, in: world) }
            state = .storing(TrimRequest(token: token, committed: committed, applied: [:]))
            world.counts.swept += batches.count
        case .storing(let request):
            if sweeper?.isAdopting != false, world.mutation != .earlyPop { return waitOn() }
            state = .trimming(request)
        case .trimming(let request):
            return .send(.queue(partition, .trim(request, upTo: 0)))
        }
        return .goOn
    }

    /// The canary `early-pop`: no outbox outlives the removal.
    private mutating func forgetSweeper() {
        sweeper?.isDead = true
        sweeper = nil
    }

    private mutating func waitOn() -> Outcome {
        waited += 1
        return waited % 40 == 0 ? .publishAgain : .goOn
    }

    mutating func sealed() {
        if case .sealing = state { state = .claiming }
    }

    mutating func received(_ reply: ConsumerReply) {
        switch (reply, state) {
        case (.claim(.granted(let claim), _), .claiming): state = .peeking(token: claim.token)
        case (.claim(.held, _), .claiming): break
        case (.peek(.batches(let peeked), _), .peeking(let token)) where !peeked.batches.isEmpty:
            state = .adopting(peeked.batches, token: token)
        case (.trim, .trimming):
            state = .sealing
        case (.claim(.noTopology, _), .claiming), (.peek, .peeking):
            partitions.removeLast()
            state = .sealing
        default: preconditionFailure("\(reply) answers nothing that was asked in \(state)")
        }
    }
}
