// The operator's tools: `rebalance` drives a real `EpochChange`, `resume` and `repair` go on with one, and `repair`
// sweeps the lists of earlier epochs.
//
// One tool runs at a time, as the lock on the cluster file has it. An action is one step, or one command to Redis,
// which may be lost, answered late or executed much later; between any two of them the tool may be killed, and the
// producer of its sweep with it. What is on disk by then is the cluster file, the staging folder and the shards.

import TallyCore

final class Tool {
    enum Kind: Hashable {
        case rebalance(partitions: Int)
        case resume
        case repair
        case purge
        /// An import, by its request: with a change of epoch if nothing is there yet, else not at all.
        case importDirectly(Int)
        /// An import through the queues.
        case importQueued(Int)
        case replayLetter
        case acceptLoss
    }

    let kind: Kind
    private(set) var isDone = false
    private var isStarted = false
    /// What Redis has to show before anything else; the next step last.
    private var publishing: [EpochChange.Step] = []
    private var change: EpochChange?
    private var drain: Drain?
    private var sweep: ListSweep?
    private var errand: (any Errand)?
    /// Whether this change deletes the key groups that it leaves behind.
    private var isCollecting = false
    /// Counts commands: a reply to an earlier one is of no interest.
    private var tag = 0
    private var isAwaiting = false

    init(_ kind: Kind) {
        self.kind = kind
    }

    /// The producer of the sweep, which acts beside the tool.
    var sweeper: SimulatedNode? { sweep?.sweeper ?? errand?.node }

    /// Killed: nothing is left of it but what is on disk.
    func kill() {
        isDone = true
        sweeper?.isDead = true
    }

    /// Whether it is about something that a kill hardly ever meets.
    var isErrand: Bool { errand != nil }

    /// Where a kill meets it: what it would do next, or whose answer it waits for.
    var point: String {
        if let step = publishing.last ?? change?.next { return drain?.point ?? step.name }
        return sweep?.point ?? errand?.point ?? "end"
    }

    /// Whether it is about to begin something, not waiting.
    var isAtEdge: Bool { isStarted && !isDone && !isAwaiting && point != "end" }

    // MARK: Steps

    func act(in world: World) {
        if isDone { return }
        if isAwaiting {
            // A drain that gives up backs off: in quiet times it rather waits for its answer.
            if world.random.chance(world.isLive ? 0.12 : 0.02) {
                isAwaiting = false
                drain?.commandFailed(now: world.now)
            }
            return
        }
        if !isStarted { start(in: world) }
        if let step = publishing.last ?? change?.next {
            perform(step, in: world)
        } else if sweep?.isDone == false {
            act(on: &sweep, in: world)
        } else if errand?.act(in: world) != false {
            end(in: world)
        }
    }

    private func end(in world: World) {
        // What the queues had brought some of goes through the queues.
        if case .importDirectly(let request) = kind, change != nil, world.isReady, errand == nil,
            let id = world.oracle[request].importID, !world.isImported(id)
        {
            errand = QueuedImport(request)
            return
        }
        isDone = true
    }

    private func start(in world: World) {
        isStarted = true
        let cluster = world.cluster
        isCollecting = world.mix.faults.contains(.collect) && world.random.chance(0.5)
        switch (kind, cluster.state) {
        case (.rebalance(let partitions), .ready):
            change = EpochChange(
                from: cluster, to: partitions, id: .random(using: &world.random), noted: world.notedEpoch)
        case (.resume, .ready): break
        case (.rebalance, .building), (.resume, .building), (.repair, .building):
            change = EpochChange(resuming: cluster)
        case (.repair, .ready): publishing = EpochChange.publishing(cluster.topology).reversed()
        case (.purge, .ready): errand = Purge()
        case (.importQueued(let request), .ready): errand = QueuedImport(request)
        case (.importDirectly(let request), .ready): change = directImport(of: request, in: world)
        case (.replayLetter, .ready): errand = LetterReplay()
        case (.acceptLoss, .ready): world.acceptLosses()
        case (.purge, .building), (.importQueued, .building), (.importDirectly, .building),
            (.replayLetter, .building), (.acceptLoss, .building):
            break
        }
        if kind == .repair { world.compareEpochs() }
        // The lists of the epoch that a resumed change drains are among them: something may have come back.
        if kind == .repair, world.mutation != .noSweep { sweep = ListSweep(of: cluster, world.mutation) }
    }

    private func directImport(of request: Int, in world: World) -> EpochChange? {
        guard let id = world.oracle[request].importID else { return nil }
        if world.isImported(id) {
            world.complete(request)
            return nil
        }
        guard world.isEmpty(for: id) else { return nil }
        return EpochChange(
            from: world.cluster, to: world.topology.partitions, id: .random(using: &world.random), importing: id,
            noted: world.notedEpoch)
    }

    private func perform(_ step: EpochChange.Step, in world: World) {
        switch step {
        case .open(let file):
            // The canary `no-plan-file` knows of the new epoch as long as it lives, and nobody else does.
            if world.mutation != .noPlanFile { world.cluster = file }
            finish(step, in: world)
        case .collect where !isCollecting: finish(step, in: world)
        case .create, .publish, .seal, .collect: send(.step(step), in: world)
        case .drain(let partition): drain(partition, in: world)
        case .build:
            leaveOutImport(in: world)
            if let building = change?.building { world.build(building) }
            finish(step, in: world)
        case .place:
            world.place()
            finish(step, in: world)
        case .ready(let file):
            if world.cluster.state == .building || world.mutation == .noPlanFile { world.counts.rebalances += 1 }
            world.cluster = file
            for id in file.imports { world.oracle.importRequest(id).map { world.complete($0) } }
            finish(step, in: world)
        }
    }

    /// What the drain brought may be the import itself.
    private func leaveOutImport(in world: World) {
        guard let id = change?.building.importing, let old = change?.building.earlier.last else { return }
        world.oracle.importRequest(id).map { world.oracle.attempt($0) }
        if world.hasArrived(id, from: old) {
            change?.leaveOutImport()
            change.map { world.cluster = $0.building }
            world.log("LEAVE OUT the import")
        }
    }

    private func finish(_ step: EpochChange.Step, in world: World) {
        world.log("tool \(step)")
        world.note(30 << 48 ^ UInt64(tag))
        if publishing.isEmpty { change?.done(step) } else { publishing.removeLast() }
    }

    /// Publishes once more: Redis may go back while a tool waits.
    func publishAgain(_ topology: Topology) {
        publishing = EpochChange.publishing(topology).reversed()
    }

    // MARK: Drain

    private func drain(_ partition: PartitionID, in world: World) {
        let step = EpochChange.Step.drain(partition)
        guard let file = world.files[partition], !file.tables.isClosed else {
            drain = nil
            return finish(step, in: world)
        }
        // Another file may have been put in its place meanwhile.
        var current = drain.flatMap { $0.file === file ? $0 : nil } ?? Drain(file)
        let outcome = current.act(in: world)
        drain = current
        switch outcome {
        case .goOn: break
        case .send(let command): send(.queue(partition, command), in: world)
        case .drained:
            if world.mutation != .noRetire { file.retire() }
            drain = nil
            finish(step, in: world)
        case .startAgain: drain = nil
        }
    }

    // MARK: Sweep

    private func act(on sweep: inout ListSweep?, in world: World) {
        switch sweep?.act(in: world) {
        case .goOn, nil: break
        case .send(let command): send(command, in: world)
        case .publishAgain: publishAgain(world.topology)
        }
    }

    // MARK: Commands

    private func send(_ command: ToolCommand, in world: World) {
        tag += 1
        isAwaiting = true
        world.send(.tool(self, tag: tag, command))
    }

    func receive(_ reply: ToolReply, to command: ToolCommand, tag: Int, in world: World) {
        guard !isDone, isAwaiting, tag == self.tag else { return }
        isAwaiting = false
        switch (command, reply) {
        case (.step(let step), _):
            if step == publishing.last || publishing.isEmpty && step == change?.next {
                finish(step, in: world)
            } else {
                sweep?.sealed()
            }
        case (.queue, .queue(let reply)):
            if drain == nil { sweep?.received(reply) } else { drain?.received(reply, in: world) }
        case (.queue, .done): world.bad("a reply of the wrong kind")
        }
    }
}

extension EpochChange.Step {
    /// Without what it is done to.
    fileprivate var name: String {
        switch self {
        case .open: "open"
        case .create: "create"
        case .publish: "publish"
        case .seal: "seal"
        case .drain: "drain"
        case .build: "build"
        case .place: "place"
        case .ready: "ready"
        case .collect: "collect"
        }
    }
}
