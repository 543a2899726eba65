// What operators do beside changes of epoch, and when: imports, purges, replays of dead letters, accepted losses. And
// how a run ends: whatever was wrong is put right.

import TallyCore

/// What the operators know and intend.
struct Operators {
    /// Steps for which no client comes: an import finds an empty cluster.
    var quietSteps = 0
    /// Imports, by their request.
    var imports: [Int] = []
    /// Files that a consumer has refused, with what they lack.
    var refused: [(file: ModelShard, missing: [Consumer.MissingRange])] = []
    /// Redis was in the wrong hands.
    var isRepairDue = false
}

extension World {
    /// Imports into an empty cluster come before clients, and now and then before consumers.
    func beginQuietly() {
        if random.chance(0.7) { operators.quietSteps = 100 + random.below(300) }
        if random.chance(0.6) {
            let steps = 20 + random.below(150)
            for consumer in consumers { consumer.frozenSteps = steps }
        }
    }

    /// What else may happen in a step.
    func disturbMore() {
        disturbClocks()
        disturbFolders()
        disturbSettings()
        disturbCluster()
        disturbMemory()
        disturbHost()
        disturbLists()
    }

    /// What an operator may begin, at any moment.
    func chooseErrand() -> Tool.Kind? {
        guard isReady else { return nil }
        let faults = mix.faults
        if isLossDue, random.chance(0.03) { return .acceptLoss }
        if faults.contains(.imports), random.chance(0.03) { return chooseImport() }
        if faults.contains(.purge), cluster.earlier.contains(where: { !$0.isPurged }), random.chance(0.02) {
            return .purge
        }
        if faults.contains(.letters), random.chance(0.02) { return .replayLetter }
        return nil
    }

    private func chooseImport() -> Tool.Kind? {
        if operators.imports.isEmpty || operators.imports.count < 2 && random.chance(0.2) {
            let request = oracle.addImport(ownKeys: 3 + random.below(4))
            operators.imports.append(request)
        }
        let request = random.pick(operators.imports)
        return random.chance(0.5) ? .importDirectly(request) : .importQueued(request)
    }

    // MARK: The end

    /// No fault is left that only an operator can end.
    func heal() {
        leaveFolder()
        endForeignCluster()
        endUnfitSettings()
    }

    /// What an operator has to do before a run can settle.
    func dueTool() -> Tool? {
        if isReady, isEpochNoted { return Tool(.rebalance(partitions: topology.partitions)) }
        // A consumer that refuses its file takes nothing that a repair sends it.
        if isLossDue { return Tool(.acceptLoss) }
        return isOutOfOrder || operators.isRepairDue ? Tool(.repair) : nil
    }
}
