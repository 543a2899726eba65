// The sweep, a part of repair: what lies in the lists of earlier epochs is taken over by a producer of the tool's own,
// and removed from the old list only when it is stored in the new epoch.
//
//     for each list: seal ──> peek ──> adopt ──> stored? ──> claim ──> trim ──> again, until a peek is sealed and empty
//                                                  │ publish now and then, for Redis may go back

import TallyCore

struct ListSweep {
    enum Outcome {
        case goOn
        case send(ToolCommand)
        case publishAgain
    }

    private enum State {
        case sealing
        case peeking
        case adopting([[UInt8]])
        case storing([BatchID])
        case claiming([BatchID])
        case trimming([BatchID], token: UInt64)
    }

    /// What is left to be swept, the next one last.
    private var partitions: [PartitionID]
    private let epoch: UInt32
    /// The canary `no-seal`.
    private let isSealless: Bool
    private var state = State.sealing
    private var waited = 0
    private(set) var sweeper: SimulatedNode?

    /// All lists of the epochs before the one of `cluster`.
    init(of cluster: ClusterFile, _ mutation: Mutation?) {
        isSealless = mutation == .noSeal
        partitions = cluster.earlier.flatMap(\.partitionIDs).reversed()
        epoch = cluster.topology.epoch
    }

    var isDone: Bool { partitions.isEmpty }

    /// What a kill interrupts.
    var point: String {
        switch state {
        case _ where isDone: "end"
        case .sealing: "sweep: seal"
        case .peeking: "sweep: peek"
        case .adopting: "sweep: adopt"
        case .storing: "sweep: store"
        case .claiming: "sweep: claim"
        case .trimming: "sweep: trim"
        }
    }

    mutating func act(in world: World) -> Outcome {
        guard let partition = partitions.last else { return .goOn }
        switch state {
        case .sealing:
            if world.mutation == .earlyPop { forgetSweeper() }
            return .send(.step(.seal(partition)))
        case .peeking:
            return .send(.queue(partition, .peek(skip: 0, bytesMax: 2_000, batchesMax: 1 + world.random.below(6))))
        case .adopting(let batches):
            let sweeper = sweeper ?? world.newNode()
            self.sweeper = sweeper
            // A sweeper that has read an older topology waits for the right one.
            guard sweeper.topology?.epoch == epoch else { return waitOn() }
            let committed = batches.compactMap { sweeper.adopt($0, in: world) }
            state = .storing(committed)
            world.counts.swept += batches.count
        case .storing(let committed):
            if sweeper?.isAdopting != false, world.mutation != .earlyPop { return waitOn() }
            state = .claiming(committed)
        case .claiming: return .send(.queue(partition, .claim))
        case .trimming(let committed, let token):
            // No file of the old epoch has these, so it says nothing about watermarks.
            let request = TrimRequest(token: token, committed: committed, applied: [:])
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
        if case .sealing = state { state = .peeking }
    }

    mutating func received(_ reply: ConsumerReply) {
        switch (reply, state) {
        case (.peek(.batches(let peeked), _), .peeking) where !peeked.batches.isEmpty:
            state = .adopting(peeked.batches)
        case (.peek(.batches(let peeked), _), .peeking) where !peeked.sealed && !isSealless:
            // Redis went back since it was sealed.
            state = .sealing
        case (.peek, .peeking):
            partitions.removeLast()
            state = .sealing
        case (.claim(.granted(let claim), _), .claiming(let committed)):
            state = .trimming(committed, token: claim.token)
        case (.claim(.held, _), .claiming): break
        case (.claim(.noTopology, _), .claiming), (.trim, .trimming):
            // Whatever came of it, the next peek shows what is left.
            state = .sealing
        default: preconditionFailure("\(reply) answers nothing that was asked in \(state)")
        }
    }
}
