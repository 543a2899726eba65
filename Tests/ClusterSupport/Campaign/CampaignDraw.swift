// How a sequence is drawn: at random, though not blindly. Something that is dead is soon started again, or every
// sequence would end in a cluster that does nothing; a copy is made before it is put back.

/// Draws sequences.
public struct CampaignDraw {
    private var random: SeededRandom
    private var isRedisUp = true
    private var nodesUp = [true, true]
    private var consumersUp = true
    private var copies: Set<CampaignStep> = []
    private let canStepClocks: Bool
    private var hasShortRetention = false
    /// Whether older copies of files come back: what may be lost then weakens what the rest of a sequence shows.
    private var hasOldFiles = false
    /// Whether Redis goes back in time.
    private var hasOldRedis = false

    /// - Parameter canStepClocks: whether libfaketime is there.
    public init(seed: UInt64, canStepClocks: Bool) {
        random = SeededRandom(seed: seed, part: 77)
        self.canStepClocks = canStepClocks
    }

    public mutating func sequence(steps count: Int) -> CampaignSequence {
        let partitions = Int.random(in: 1...4, using: &random)
        hasShortRetention = random.once(in: 6)
        hasOldFiles = random.once(in: 3)
        hasOldRedis = random.once(in: 2)
        let emptySteps = random.once(in: 4) ? Int.random(in: 2...5, using: &random) : 0
        var steps: [CampaignStep] = []
        while steps.count < count {
            let step = steps.count < emptySteps ? nextWhileEmpty() : next()
            if steps.last == step { continue }
            steps.append(step)
            follow(step)
        }
        return CampaignSequence(
            partitions: partitions, steps: steps, hasShortRetention: hasShortRetention, emptySteps: emptySteps,
            losesNewest: random.once(in: 2))
    }

    /// What a cluster that has counted nothing yet is there for.
    private mutating func nextWhileEmpty() -> CampaignStep {
        switch Int.random(in: 0..<10, using: &random) {
        case 0..<6: return lines()
        case 6..<8: return consumersUp ? .terminateConsumers : consumersAgain()
        case 8: return epoch()
        default: return .makeLetter
        }
    }

    private mutating func next() -> CampaignStep {
        if hasShortRetention, random.once(in: 12) { return .letTimePass }
        if !isRedisUp, !random.once(in: 5) { return redisAgain() }
        if !nodesUp.contains(true), !random.once(in: 3) { return .startNode(0, clock()) }
        if !consumersUp, random.once(in: 3) { return consumersAgain() }
        switch Int.random(in: 0..<100, using: &random) {
        case 0..<4: return .work
        case 4..<7: return .settle
        case 7..<12: return copies.contains(.ask) ? .askAgain : .ask
        case 12..<24: return node()
        case 24..<36: return consumers()
        case 36..<48: return redis()
        case 48..<64: return epoch()
        case 64..<74: return lines()
        case 74..<82: return letters()
        case 82..<96: return hasOldFiles ? copies(of: Int.random(in: 0..<4, using: &random)) : epoch()
        default: return [.prove, .export, .newToken, .initialize].randomElement(using: &random) ?? .prove
        }
    }

    private mutating func clock() -> CampaignStep.Clock {
        guard canStepClocks, random.once(in: 4) else { return .right }
        return random.once(in: 3) ? .behind : .ahead
    }

    private mutating func redisAgain() -> CampaignStep {
        let all = CampaignStep.RedisSettings.allCases.filter { hasOldRedis || $0 != .volatile }
        let settings = all.randomElement(using: &random) ?? .durable
        return .startRedis(random.once(in: 4) ? settings : .durable)
    }

    private mutating func consumersAgain() -> CampaignStep { random.once(in: 4) ? .startUp : .startConsumers(clock()) }

    private mutating func node() -> CampaignStep {
        let node = Int.random(in: 0...1, using: &random)
        if !nodesUp[node] { return .startNode(node, clock()) }
        let steps: [CampaignStep] = [.killNode(node), .terminateNode(node), .freezeNode(node), .thawNode(node)]
        return steps.randomElement(using: &random) ?? .killNode(node)
    }

    private mutating func consumers() -> CampaignStep {
        if !consumersUp { return consumersAgain() }
        let steps: [CampaignStep] = [
            .killConsumers, .killUp, .terminateConsumers, .freezeConsumers, .thawConsumers, .startUp,
        ]
        return steps.randomElement(using: &random) ?? .killConsumers
    }

    private mutating func redis() -> CampaignStep {
        switch Int.random(in: 0..<8, using: &random) {
        case 0...1: return .killRedis
        case 2: return redisAgain()
        case 3 where hasOldRedis: return .flushRedis
        case 4...7 where hasOldRedis: return copies.contains(.copyRedis) ? .putBackRedis : .copyRedis
        default: return .repair
        }
    }

    private mutating func epoch() -> CampaignStep {
        let partitions = Int.random(in: 1...4, using: &random)
        let step = Int.random(in: 1...20, using: &random)
        let after = Int.random(in: 20..<120, using: &random)
        let steps: [CampaignStep] = [
            .rebalance(to: partitions), .rebalance(to: partitions), .rebalanceKilled(to: partitions, before: step),
            .resume, .resumeKilled(before: step), .purge, .purge, .purgeKilled(afterMilliseconds: after), .repair,
            .repairKilled(afterMilliseconds: after), .collect,
        ]
        return steps.randomElement(using: &random) ?? .repair
    }

    private mutating func lines() -> CampaignStep {
        // Repeated later than keys are kept, queued lines count again, as documented.
        if hasShortRetention { return .settle }
        let file = Int.random(in: 0...1, using: &random)
        let isQueued = random.once(in: 2)
        if random.once(in: 2) { return .importLines(file, isQueued: isQueued) }
        return .importKilled(file, isQueued: isQueued, before: Int.random(in: 1...20, using: &random))
    }

    private mutating func letters() -> CampaignStep {
        let steps: [CampaignStep] = [.replayLetters, .replayLetters, .dropLetters]
        if copies.contains(.makeLetter), !random.once(in: 3) { return steps.randomElement(using: &random) ?? .work }
        return .makeLetter
    }

    private mutating func copies(of kind: Int) -> CampaignStep {
        switch kind {
        case 0: return copies.contains(.backup) ? .restore : .backup
        case 1: return copies.contains(.copyHost) ? .putBackHost : .copyHost
        default:
            guard copies.contains(.copyFiles) else { return .copyFiles }
            let steps: [CampaignStep] = [.putBackFiles, .staleInit, .staleRepair, .staleConsume, .staleConsume]
            return steps.randomElement(using: &random) ?? .staleInit
        }
    }

    /// What is up after a step, as far as a drawing needs to know.
    private mutating func follow(_ step: CampaignStep) {
        switch step {
        case .startNode(let node, _): nodesUp[node] = true
        case .killNode(let node), .terminateNode(let node): nodesUp[node] = false
        case .startConsumers, .startUp: consumersUp = true
        case .killConsumers, .terminateConsumers, .rebalance, .rebalanceKilled, .resume, .resumeKilled, .restore,
            .putBackFiles, .putBackHost:
            consumersUp = false
        case .importLines(_, isQueued: false), .importKilled(_, isQueued: false, _): consumersUp = false
        case .killRedis: isRedisUp = false
        case .startRedis, .putBackRedis: isRedisUp = true
        case .copyRedis, .backup, .copyHost, .copyFiles, .makeLetter, .ask: copies.insert(step)
        case .askAgain: copies.remove(.ask)
        default: break
        }
    }
}
